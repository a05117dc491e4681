use std::collections::HashMap;

use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click<'a> {
    url: &'a str,
    tags: HashMap<String, String>,
}

fn main() {}
