use std::num::NonZeroI64;

use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click {
    weight: Option<NonZeroI64>,
}

#[derive(Output)]
struct Weighed {
    weight: NonZeroI64,
}

fn main() {}
