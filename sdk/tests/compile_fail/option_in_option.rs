use millstream_sdk::prelude::*;

#[derive(Input)]
struct Click {
    agent: Option<Option<i32>>,
}

struct Keep;

impl Transform<'_> for Keep {
    type Config = ();
    type In = Click;
    type Out = ();

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, _: Click) -> Result<Emit<()>, Reject> {
        Ok(Emit::one(()))
    }
}
millstream_sdk::export!(Keep);

fn main() {}
