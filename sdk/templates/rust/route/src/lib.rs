//! Orders to two outputs: large ones and all others.

use millstream_sdk::prelude::*;

/// The columns that the way of a row depends on. They are checked against the pipeline before anything starts.
#[derive(Input)]
pub struct Order {
    #[column(type = "decimal(12,2)")]
    amount: Decimal,
}

/// The outputs; the pipeline file reads them as `from = "my-plugin.large"`.
#[derive(Routes, Debug, Clone, Copy, PartialEq)]
pub enum To {
    /// As much as the config says, or more.
    Large,
    /// All others.
    Small,
}

/// The stage's `config` in the pipeline file; unknown keys are refused.
#[config]
pub struct Config {
    /// From this amount on an order is large.
    large_from: u32,
}

/// The stage.
pub struct MyPlugin {
    large_from: Decimal,
}

impl<'a> Route<'a> for MyPlugin {
    type Config = Config;
    type In = Order;
    type To = To;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.large_from == 0 {
            return Err(ConfigError::key("large_from", "from 0 on every order would be large"));
        }
        Ok(Self { large_from: Decimal::from(config.large_from) })
    }

    fn route(&mut self, order: Order) -> Result<Emit<To>, Reject> {
        if order.amount.is_sign_negative() {
            return Err(Reject::new("negative_amount", order.amount.to_string()));
        }
        Ok(Emit::one(if order.amount >= self.large_from { To::Large } else { To::Small }))
    }
}

millstream_sdk::export!(MyPlugin);

#[cfg(test)]
mod tests;
