use millstream_sdk::prelude::*;

#[derive(Input)]
struct Order {
    amount: Option<Decimal>,
}

fn main() {}
