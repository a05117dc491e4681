use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click<'a>(&'a str);

#[derive(Output)]
struct Generic<T> {
    value: T,
}

#[derive(Routes)]
enum To {
    Views(u8),
}

fn main() {}
