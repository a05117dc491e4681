//! Dates and timestamps from jiff's types. Digits finer than the column's unit are cut off towards the past, so that the
//! order of instants is kept.

use jiff::{Timestamp, civil::Date};

use super::WriteValue;
use crate::column_type::{Days, Micros, Millis, Nanos, Natural, Seconds};
use crate::columns::Node;
use crate::read::OutOfRange;

/// Seconds, milliseconds or microseconds, towards the past: jiff's own are cut off towards 1970.
#[inline(always)]
fn floor(towards_1970: i64, instant: &Timestamp, nanos_a_unit: i32) -> i64 {
    towards_1970 - i64::from(instant.subsec_nanosecond() % nanos_a_unit < 0)
}

macro_rules! write_timestamps {
    ($($marker:ty, $instant:ident => $units:expr;)*) => {$(
        impl WriteValue<$marker> for Timestamp {
            type Builder = Vec<i64>;

            fn builder(rows: usize) -> Self::Builder {
                Vec::with_capacity(rows)
            }

            #[inline(always)]
            fn write(self, builder: &mut Self::Builder) {
                let $instant = &self;
                builder.push($units);
            }

            fn write_null(builder: &mut Self::Builder) {
                builder.push(0);
            }

            fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
                <i64 as WriteValue>::finish(builder, nodes);
            }
        }
    )*};
}

write_timestamps! {
    Natural, instant => floor(instant.as_millisecond(), instant, 1_000_000);
    Seconds, instant => floor(instant.as_second(), instant, 1_000_000_000);
    Millis, instant => floor(instant.as_millisecond(), instant, 1_000_000);
    Micros, instant => floor(instant.as_microsecond(), instant, 1_000);
}

impl WriteValue<Nanos> for Timestamp {
    type Builder = Vec<i64>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(rows)
    }

    fn check(&self) -> Result<(), OutOfRange> {
        match i64::try_from(self.as_nanosecond()) {
            Ok(_) => Ok(()),
            Err(_) => Err(OutOfRange(format!("{self} lies outside of the years 1678 to 2261 of timestamp(ns)"))),
        }
    }

    fn write(self, builder: &mut Self::Builder) {
        builder.push(i64::try_from(self.as_nanosecond()).unwrap_or_default());
    }

    fn write_null(builder: &mut Self::Builder) {
        builder.push(0);
    }

    fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
        <i64 as WriteValue>::finish(builder, nodes);
    }
}

macro_rules! write_dates {
    ($($marker:ty),*) => {$(
        impl WriteValue<$marker> for Date {
            type Builder = Vec<i32>;

            fn builder(rows: usize) -> Self::Builder {
                Vec::with_capacity(rows)
            }

            #[inline]
            fn write(self, builder: &mut Self::Builder) {
                // The years -9999 to 9999 are less than 2^22 days.
                let days = self.duration_since(Self::constant(1970, 1, 1)).as_hours() / 24;
                builder.push(days as i32);
            }

            fn write_null(builder: &mut Self::Builder) {
                builder.push(0);
            }

            fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
                <i32 as WriteValue>::finish(builder, nodes);
            }
        }
    )*};
}

write_dates!(Natural, Days);
