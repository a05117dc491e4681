use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click {
    url: &str,
}

fn main() {}
