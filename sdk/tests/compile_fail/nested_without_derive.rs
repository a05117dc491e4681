use millstream_sdk::prelude::*;

struct Item {
    quantity: i32,
}

#[derive(Input)]
struct Order {
    items: Vec<Item>,
}

#[derive(Output)]
struct Ordered {
    first: Option<Item>,
}

#[derive(Struct)]
struct Basket {
    items: Vec<Item>,
}

fn main() {}
