use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click<'a> {
    #[column(name = "user_agent")]
    agent: &'a str,
    #[column(dictionary)]
    country: &'a str,
}

fn main() {}
