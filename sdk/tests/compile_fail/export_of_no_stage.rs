struct Nothing;

millstream_sdk::export!(Nothing);

fn main() {}
