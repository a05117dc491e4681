//! Constants of an expression, read as the kind that the other side has.

use millstream_sdk::TimeUnit;
use millstream_sdk::jiff::civil::{Date, DateTime};
use millstream_sdk::jiff::{Timestamp, tz::TimeZone};

use crate::expression::{Kind, Scalar};

/// A number as it is written: `12`, `-1.50`, `1e3`.
pub fn number(text: &str) -> Result<(Scalar, Kind), String> {
    if let Ok(value) = text.parse::<i64>() {
        return Ok((Scalar::Int(value), Kind::Int));
    }
    if let Some((whole, fraction)) = text.split_once('.')
        && !text.contains(['e', 'E'])
        && let (Ok(scale), Ok(value)) = (u8::try_from(fraction.len()), format!("{whole}{fraction}").parse::<i128>())
        && scale <= 18
    {
        return Ok((Scalar::Decimal(value), Kind::Decimal(scale)));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((Scalar::Float(value), Kind::Float)),
        _ => Err(format!("`{text}` is no number that fits")),
    }
}

/// A text as a date or timestamp, which is what it is compared with.
pub fn instant(text: &str, kind: Kind) -> Result<Scalar, String> {
    match kind {
        Kind::Date => {
            let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
            let date = date.ok_or_else(|| format!("`{text}` is no date: write it as '2024-02-29'"))?;
            Ok(Scalar::Int(date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24))
        }
        Kind::Timestamp(unit) => {
            let help =
                || format!("`{text}` is no timestamp: write it as '2024-02-29T12:00:00Z'; without a zone it is UTC");
            let instant = timestamp(text).ok_or_else(help)?;
            let nanos = 1_000_000_000 / i128::from(unit.per_second());
            if instant.as_nanosecond() % nanos != 0 && unit != TimeUnit::Nanosecond {
                return Err(format!("`{text}` is finer than the column's unit, {}", unit.text()));
            }
            i64::try_from(instant.as_nanosecond().div_euclid(nanos)).map(Scalar::Int).map_err(|_| help())
        }
        other => Err(format!("`{text}` is text, and is compared with {other}")),
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(local)
}
