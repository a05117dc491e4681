//! When a flight arrived, how fast it was, and which plane flew it: from two tables that the host looks up.

use millstream_sdk::jiff::SignedDuration;
use millstream_sdk::prelude::*;

/// A flight, with the airport that it goes to and the plane; either may be missing from its table.
#[derive(Input)]
pub struct Flight<'a> {
    year: i32,
    departed_at: Option<Timestamp>,
    arr_time: Option<i32>, // 830 is 8:30 at the destination
    air_time: Option<i32>, // minutes
    distance: i32,         // miles
    #[lookup(table = "airports", key = "dest")]
    destination: Option<Airport>,
    #[lookup(table = "planes", key = "tailnum")]
    plane: Option<Plane<'a>>,
}

/// Hours that the airport's clocks are ahead of UTC; in January there is no summer time.
#[derive(Lookup)]
pub struct Airport {
    tz: i32,
}

/// A plane; the year in which it was built is not always known.
#[derive(Lookup)]
pub struct Plane<'a> {
    year: Option<i32>,
    manufacturer: &'a str,
}

/// What speed is measured in: miles, or what `make demo` swaps in while the stream runs.
const METRES: i32 = if cfg!(feature = "kilometres") { 1_000 } else { 1_609 };

/// What the flight gains.
#[derive(Output, Debug, PartialEq)]
pub struct Enriched<'a> {
    arrived_at: Option<Timestamp>,
    speed: Option<i32>, // miles an hour
    #[column(dictionary)]
    manufacturer: Option<&'a str>,
    plane_age: Option<i32>,
}

/// The stage.
pub struct EnrichFlights;

impl<'a> Transform<'a> for EnrichFlights {
    type Config = ();
    type In = Flight<'a>;
    type Out = Enriched<'a>;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, flight: Flight<'a>) -> Result<Emit<Enriched<'a>>, Reject> {
        let (plane, metres) = (flight.plane.as_ref(), flight.distance * 1_609);
        Ok(Emit::one(Enriched {
            arrived_at: arrival(&flight),
            speed: flight.air_time.filter(|minutes| *minutes > 0).map(|minutes| metres * 60 / METRES / minutes),
            manufacturer: plane.map(|plane| plane.manufacturer),
            plane_age: plane.and_then(|plane| plane.year).map(|built| flight.year - built),
        }))
    }
}

/// The first moment after departure at which the destination's clocks show the recorded time.
fn arrival(flight: &Flight<'_>) -> Option<Timestamp> {
    let (departed_at, time, airport) = (flight.departed_at?, flight.arr_time?, flight.destination.as_ref()?);
    let arrival = i64::from(time / 100 * 60 + time % 100 - airport.tz * 60);
    let underway = (arrival - departed_at.as_second() / 60).rem_euclid(24 * 60);
    departed_at.checked_add(SignedDuration::from_mins(underway)).ok()
}

millstream_sdk::export!(EnrichFlights);

#[cfg(test)]
mod tests;
