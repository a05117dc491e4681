//! libFuzzer's way into `millstream_fuzz::patch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::patch::check(data));
