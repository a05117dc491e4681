use millstream_sdk::prelude::*;

#[derive(Output)]
struct Enriched {
    initial: char,
}

fn main() {}
