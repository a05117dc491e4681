//! libFuzzer's way into `millstream_fuzz::contract`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::contract::check(data));
