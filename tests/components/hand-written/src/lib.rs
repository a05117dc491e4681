//! What people would write in the place of the ready-made plugins: rows as structs, the same libraries, no config but the
//! key. `tests/examples/ready_made.rs` measures the plugins against them.

mod mask;
mod rows;

use millstream_sdk::prelude::*;
use millstream_sdk::{AnyStage, Process};

/// Which stage it is.
#[config]
pub struct Config {
    /// `clean`, `url`, `mask`, `route` or `explode`.
    stage: String,
}

/// One of the stages: a component has one.
pub struct HandWritten(Box<dyn Process>);

impl Stage for HandWritten {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        let (contract, stage) = match config.stage.as_str() {
            "clean" => <rows::Clean as AnyStage<_>>::configure((), given)?,
            "url" => <rows::Url as AnyStage<_>>::configure((), given)?,
            "mask" => <mask::Mask as AnyStage<_>>::configure((), given)?,
            "route" => <rows::RouteOrders as AnyStage<_>>::configure((), given)?,
            "explode" => <rows::Explode as AnyStage<_>>::configure((), given)?,
            other => return Err(ConfigError::key("stage", format!("there is no stage `{other}`"))),
        };
        Ok((Self(stage), contract))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        self.0.process(batch)
    }
}

millstream_sdk::export!(HandWritten);
