use millstream_sdk::prelude::*;

struct Click;


struct Keep;

impl Transform<'_> for Keep {
    type Config = Settings;
    type In = Click;
    type Out = Click;

    fn new(_: Settings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, _: Click) -> Result<Emit<Click>, Reject> {
        Ok(Emit::none("never"))
    }
}

struct Settings;

fn main() {}
