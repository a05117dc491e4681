use millstream_sdk::prelude::*;

#[derive(Input)]
struct Order {
    #[column(type = "timestamp(us)")]
    amount: i32,
    #[column(type = "int64")]
    count: i64,
    #[column(type = "decimal(40,2)")]
    price: Decimal,
}

fn main() {}
