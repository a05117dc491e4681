//! Flights to three outputs: on time, delayed, cancelled.

use millstream_sdk::prelude::*;

/// What a flight's way depends on.
#[derive(Input)]
pub struct Flight {
    departed_at: Option<Timestamp>,
    arr_delay: Option<i32>,
}

/// The outputs.
#[derive(Routes, Debug, Clone, Copy, PartialEq)]
pub enum To {
    /// Arrived early, in time, or nearly so.
    OnTime,
    /// Arrived late.
    Delayed,
    /// Never departed.
    Cancelled,
}

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// A flight that arrives so many minutes late is delayed.
    delayed_minutes: i32,
}

/// The stage.
pub struct RouteFlights {
    config: Config,
}

impl Route<'_> for RouteFlights {
    type Config = Config;
    type In = Flight;
    type To = To;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }

    fn route(&mut self, flight: Flight) -> Result<Emit<To>, Reject> {
        Ok(Emit::one(match (flight.departed_at, flight.arr_delay) {
            (None, _) => To::Cancelled,
            (_, Some(delay)) if delay >= self.config.delayed_minutes => To::Delayed,
            _ => To::OnTime,
        }))
    }
}

millstream_sdk::export!(RouteFlights);

#[cfg(test)]
mod tests {
    use millstream_sdk::{json, testing};

    use super::*;

    #[test]
    fn a_quarter_of_an_hour_is_late() {
        let mut plugin = testing::configure::<RouteFlights>(json!({ "delayed_minutes": 15 })).expect("configured");
        let departed = "2013-01-01T10:17:00Z";
        let outcome = plugin.process(json!([
            { "departed_at": departed, "arr_delay": 14 },
            { "departed_at": departed, "arr_delay": 15 },
            { "departed_at": departed, "arr_delay": -20 },
            {},
        ]));
        assert_eq!(outcome.outputs, ["on_time", "delayed", "on_time", "cancelled"]);
    }

    #[test]
    fn the_limit_has_to_be_given() {
        assert!(testing::configure::<RouteFlights>(json!({})).is_err());
    }
}
