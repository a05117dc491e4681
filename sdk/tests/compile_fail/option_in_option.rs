use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click {
    agent: Option<Option<i32>>,
    place: (f64, f64),
}

fn main() {}
