use std::collections::HashMap;

use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click<'a> {
    url: &'a str,
    tags: HashMap<String, String>,
}

#[derive(Output)]
struct Enriched {
    initial: Option<char>,
}

fn main() {}
