//! Dates and timestamps from text and back.

use millstream_sdk::jiff::civil::{Date, DateTime};
use millstream_sdk::jiff::fmt::strtime;
use millstream_sdk::jiff::{SignedDuration, Timestamp, tz::TimeZone};
use millstream_sdk::{LogicalType, TimeUnit};

const DAY_S: i64 = 86_400;

/// Whether a format can be read at all: a text written by it must be.
pub fn check_format(format: &str) -> Result<(), String> {
    let noon =
        DateTime::constant(2024, 2, 29, 12, 34, 56, 0).to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let help = "letters are those of strftime: \"%d.%m.%Y %H:%M:%S\"";
    let written = strtime::format(format, &noon).map_err(|error| format!("{error}; {help}"))?;
    let read = strtime::parse(format, &written).map_err(|error| format!("{error}; {help}"))?;
    read.to_date().map(drop).map_err(|error| format!("it names no day: {error}; {help}"))
}

/// Days since 1970.
pub fn date(text: &str, format: Option<&str>) -> Option<i64> {
    let date = match format {
        None if text.len() == 10 => text.parse::<Date>().ok()?,
        None => return None,
        Some(format) => strtime::parse(format, text).ok()?.to_date().ok()?,
    };
    Some(date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24)
}

/// Units since 1970. A format without an offset counts as UTC; one without a time is the day's begin.
pub fn timestamp(text: &str, unit: TimeUnit, format: Option<&str>) -> Option<i64> {
    let instant = match format {
        None => text.parse::<Timestamp>().ok()?,
        Some(format) => {
            let read = strtime::parse(format, text).ok()?;
            if read.offset().is_some() {
                read.to_timestamp().ok()?
            } else {
                let local = read.to_datetime().or_else(|_| read.to_date().map(DateTime::from)).ok()?;
                local.to_zoned(TimeZone::UTC).ok()?.timestamp()
            }
        }
    };
    i64::try_from(instant.as_nanosecond().div_euclid(nanos(unit))).ok()
}

fn nanos(unit: TimeUnit) -> i128 {
    1_000_000_000 / i128::from(unit.per_second())
}

/// A timestamp in another unit; finer digits are cut off towards the past.
pub fn in_unit(value: i64, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    i64::try_from((i128::from(value) * nanos(from)).div_euclid(nanos(to))).ok()
}

/// The day of a timestamp, in UTC; a day that a date column cannot hold is none.
pub fn day_of(value: i64, from: &LogicalType) -> Option<i64> {
    let LogicalType::Timestamp(unit) = from else { return None };
    let day = value.div_euclid(DAY_S.checked_mul(unit.per_second())?);
    i32::try_from(day).ok().map(i64::from)
}

/// An integer, a date or a timestamp as text.
pub fn text(value: i64, logical: &LogicalType) -> String {
    let shown = match logical {
        LogicalType::Date => value.checked_mul(24).and_then(|hours| {
            let date = Date::constant(1970, 1, 1).checked_add(SignedDuration::from_hours(hours));
            date.ok().map(|date| date.to_string())
        }),
        LogicalType::Timestamp(unit) => {
            let instant = Timestamp::from_nanosecond(i128::from(value) * nanos(*unit));
            instant.ok().map(|instant| instant.to_string())
        }
        _ => None,
    };
    // Beyond the years -9999 to 9999 there is no text but the number.
    shown.unwrap_or_else(|| value.to_string())
}
