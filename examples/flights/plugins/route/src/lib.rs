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
mod tests;
