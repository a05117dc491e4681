//! libFuzzer's way into `millstream_fuzz::component`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millstream_fuzz::component::check(data));
