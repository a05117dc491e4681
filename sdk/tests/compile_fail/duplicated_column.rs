use millstream_sdk::prelude::*;

#[derive(Output)]
struct Enriched {
    host: String,
    #[column("host")]
    domain: String,
}

fn main() {}
