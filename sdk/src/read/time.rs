//! Dates and timestamps as jiff's types, which hold the years -9999 to 9999.

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{Nodes, OutOfRange, ReadValue, WrongShape};
use crate::column_type::{Days, Micros, Millis, Nanos, Natural, Seconds};

macro_rules! read_timestamps {
    ($($marker:ty, $from:expr, $unit:literal;)*) => {$(
        impl<'a> ReadValue<'a, $marker> for Timestamp {
            type Reader = &'a [i64];

            fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
                <i64 as ReadValue<'a>>::reader(nodes)
            }

            #[inline]
            fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
                $from(reader[row]).map_err(|_| outside(reader[row], $unit))
            }
        }
    )*};
}

read_timestamps! {
    Natural, Timestamp::from_millisecond, "ms";
    Seconds, Timestamp::from_second, "s";
    Millis, Timestamp::from_millisecond, "ms";
    Micros, Timestamp::from_microsecond, "us";
    Nanos, |value| Timestamp::from_nanosecond(i128::from(value)), "ns";
}

macro_rules! read_dates {
    ($($marker:ty),*) => {$(
        impl<'a> ReadValue<'a, $marker> for Date {
            type Reader = &'a [i32];

            fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
                <i32 as ReadValue<'a>>::reader(nodes)
            }

            #[inline]
            fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
                let days = i64::from(reader[row]);
                Date::constant(1970, 1, 1)
                    .checked_add(SignedDuration::from_hours(24 * days))
                    .map_err(|_| outside(days, "days"))
            }
        }
    )*};
}

read_dates!(Natural, Days);

#[cold]
fn outside(value: i64, unit: &str) -> OutOfRange {
    OutOfRange(format!("{value} {unit} since 1970 lies outside of the years -9999 to 9999"))
}
