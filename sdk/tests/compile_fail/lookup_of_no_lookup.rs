use millstream_sdk::prelude::*;

struct User {
    age: i32,
}

#[derive(Input)]
struct Click {
    #[lookup(table = "users", key = "user_id")]
    user: Option<User>,
}

fn main() {}
