use millstream_sdk::prelude::*;

#[derive(Lookup)]
struct User {
    age: i32,
}

#[derive(Input)]
struct Click {
    #[lookup(table = "users")]
    user: Option<User>,
}

fn main() {}
