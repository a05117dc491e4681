use millstream_sdk::prelude::*;

#[derive(Output)]
struct Enriched {
    host: Option<&str>,
}

fn main() {}
