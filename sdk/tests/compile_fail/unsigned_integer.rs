use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click {
    user_id: u64,
    sizes: Vec<Option<u32>>,
}

fn main() {}
