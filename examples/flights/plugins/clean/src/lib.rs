//! Makes instants of the times of day that the flights table has, and lets go of what is no complete flight.

use millstream_sdk::jiff::SignedDuration;
use millstream_sdk::prelude::*;

/// A flight as it was recorded. Times of day are whole numbers: 517 is 5:17, and 2400 is midnight.
#[derive(Input)]
pub struct Flight {
    time_hour: Timestamp, // the hour of the scheduled departure, in UTC
    sched_dep_time: i32,
    dep_time: Option<i32>,
    dep_delay: Option<i32>,
    arr_time: Option<i32>,
    arr_delay: Option<i32>,
}

/// The same flight with instants; a cancelled one never departed.
#[derive(Output, Debug, PartialEq)]
pub struct Cleaned {
    scheduled_at: Timestamp,
    departed_at: Option<Timestamp>,
}

/// The stage.
pub struct CleanFlights;

impl Transform<'_> for CleanFlights {
    type Config = ();
    type In = Flight;
    type Out = Cleaned;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, flight: Flight) -> Result<Emit<Cleaned>, Reject> {
        let past_the_hour = SignedDuration::from_mins((flight.sched_dep_time % 100).into());
        let scheduled_at = flight.time_hour.checked_add(past_the_hour)?;
        let (Some(dep_time), Some(delay)) = (flight.dep_time, flight.dep_delay) else {
            return Ok(Emit::one(Cleaned { scheduled_at, departed_at: None })); // cancelled
        };
        if (minutes(flight.sched_dep_time) + delay - minutes(dep_time)) % (24 * 60) != 0 {
            let detail = format!("{} and {delay} minutes are not {dep_time}", flight.sched_dep_time);
            return Err(Reject::new("clock_mismatch", detail));
        }
        if flight.arr_time.is_none() {
            return Err(Reject::new("no_arrival", format!("departed at {dep_time} and never arrived")));
        }
        if flight.arr_delay.is_none() {
            return Ok(Emit::none("diverted"));
        }
        let departed_at = scheduled_at.checked_add(SignedDuration::from_mins(delay.into()))?;
        Ok(Emit::one(Cleaned { scheduled_at, departed_at: Some(departed_at) }))
    }
}

fn minutes(time_of_day: i32) -> i32 {
    time_of_day / 100 * 60 + time_of_day % 100
}

millstream_sdk::export!(CleanFlights);

#[cfg(test)]
mod tests;
