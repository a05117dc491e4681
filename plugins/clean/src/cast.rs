//! From one type to another, without losing anything unseen: a value that the new type cannot hold is a bad cast.

use millstream_sdk::prelude::*;
use millstream_sdk::{LogicalType, TimeUnit};

use crate::data::{Data, Fault, One};
use crate::rule::{Case, note};
use crate::time;

/// What error messages say about casts.
pub const POSSIBLE: &str = "text becomes any number, bool, date, timestamp or uuid and back, a number another number, \
                            an integer or date a timestamp and back, a bool an integer";

/// Whether a cast exists.
pub fn is_possible(from: &LogicalType, to: &LogicalType) -> bool {
    use LogicalType::{Bool, Date, Timestamp, Utf8};
    match (from, to) {
        (from, to) if from == to => true,
        (Utf8, other) | (other, Utf8) => Data::can_hold(other),
        (Date, Timestamp(_)) | (Timestamp(_), Date) | (Timestamp(_), Timestamp(_)) => true,
        (Timestamp(_), to) => is_integer(to),
        (from, Timestamp(_)) => is_integer(from),
        (Bool, to) => is_integer(to),
        (from, to) => is_number(from) && is_number(to),
    }
}

fn is_integer(logical: &LogicalType) -> bool {
    bounds(logical).is_some() && *logical != LogicalType::Date
}

fn is_number(logical: &LogicalType) -> bool {
    is_integer(logical) || matches!(logical, LogicalType::Float32 | LogicalType::Float64 | LogicalType::Decimal { .. })
}

/// The least and greatest value of the types that are counted in integers, but for timestamps.
fn bounds(logical: &LogicalType) -> Option<(i64, i64)> {
    Some(match logical {
        LogicalType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        LogicalType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        LogicalType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        LogicalType::Int64 => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

/// Digits behind the point.
pub fn scale(logical: &LogicalType) -> u8 {
    if let LogicalType::Decimal { scale, .. } = logical { *scale } else { 0 }
}

/// A value of the pipeline file.
pub fn one(text: &str, to: &LogicalType) -> Option<One> {
    let mut data = Data::with_capacity(to, 1);
    if !push(text, to, None, &mut data) {
        return None;
    }
    Some(match data {
        Data::Text(_) => One::Text(text.to_owned()),
        Data::Int(values) => One::Int(values[0]),
        Data::Float(values) => One::Float(values[0]),
        Data::Decimal(values) => One::Decimal(values[0]),
        Data::Bool(values) => One::Bool(values[0]),
        Data::Uuid(values) => One::Uuid(values[0]),
    })
}

/// Reads a text as a type and adds the value; when it is none, adds a filler and is false.
#[inline]
pub fn push(text: &str, to: &LogicalType, format: Option<&str>, data: &mut Data) -> bool {
    let pushed = match data {
        Data::Text(values) => {
            values.push(text.as_bytes());
            Some(())
        }
        Data::Int(values) => integer(text, to, format).map(|value| values.push(value)),
        Data::Float(values) => {
            let single = *to == LogicalType::Float32;
            let read = text.parse::<f64>().ok().filter(|value| is_finite(*value, single));
            read.map(|value| values.push(value))
        }
        Data::Decimal(values) => decimal(text, to).map(|value| values.push(value)),
        Data::Bool(values) => boolean(text).map(|value| values.push(value)),
        Data::Uuid(values) => text.parse::<Uuid>().ok().map(|value| values.push(value.into_bytes())),
    };
    if pushed.is_none() {
        data.push_filler();
    }
    pushed.is_some()
}

fn is_finite(value: f64, single: bool) -> bool {
    if single { (value as f32).is_finite() } else { value.is_finite() }
}

fn integer(text: &str, to: &LogicalType, format: Option<&str>) -> Option<i64> {
    match to {
        LogicalType::Date => time::date(text, format),
        LogicalType::Timestamp(unit) => time::timestamp(text, *unit, format),
        to => {
            let (least, greatest) = bounds(to)?;
            text.parse().ok().filter(|value| (least..=greatest).contains(value))
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text == "1" || is(["true", "t", "yes", "y"]) {
        Some(true)
    } else if text == "0" || is(["false", "f", "no", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// `-12.50`, exactly: digits that the scale has no place for must be zeros.
fn decimal(text: &str, to: &LogicalType) -> Option<i128> {
    let LogicalType::Decimal { precision, scale } = *to else { return None };
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (mut value, mut any, mut behind) = (0_i128, false, None);
    for byte in digits {
        match byte {
            b'.' if behind.is_none() => behind = Some(0),
            b'0'..=b'9' => {
                any = true;
                match &mut behind {
                    Some(places) if *places == scale => {
                        if *byte != b'0' {
                            return None;
                        }
                        continue;
                    }
                    Some(places) => *places += 1,
                    None => {}
                }
                value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
            }
            _ => return None,
        }
    }
    let missing = scale - behind.unwrap_or(0);
    let value = value.checked_mul(10_i128.checked_pow(missing.into())?)?;
    (any && fits(value, precision)).then_some(if negative { -value } else { value })
}

/// Whether an unscaled decimal has at most `precision` digits.
fn fits(unscaled: i128, precision: u8) -> bool {
    10_u128.checked_pow(precision.into()).is_none_or(|limit| unscaled.unsigned_abs() < limit)
}

/// `-12.50`
pub fn decimal_text(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The text in that case; in `scratch`, when it differs.
#[inline]
pub fn to_case<'t>(text: &'t str, case: Case, scratch: &'t mut String) -> &'t str {
    let stays = match case {
        Case::Lower => text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()),
        Case::Upper => text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_lowercase()),
    };
    if stays {
        return text;
    }
    scratch.clear();
    match case {
        Case::Lower if text.is_ascii() => {
            scratch.push_str(text);
            scratch.make_ascii_lowercase();
        }
        Case::Upper if text.is_ascii() => {
            scratch.push_str(text);
            scratch.make_ascii_uppercase();
        }
        Case::Lower => *scratch = text.to_lowercase(),
        Case::Upper => *scratch = text.to_uppercase(),
    }
    scratch
}

/// Values of one type as another.
pub fn convert(data: &Data, from: &LogicalType, to: &LogicalType, faults: &mut Vec<Fault>) -> Data {
    let mut converted = Data::with_capacity(to, data.len());
    for slot in 0..data.len() {
        let value = match &mut converted {
            Data::Text(values) => {
                values.push(data.text(slot, from).as_bytes());
                continue;
            }
            _ => convert_one(data, slot, from, to),
        };
        match value {
            Some(value) => converted.push(&value),
            None => {
                converted.push_filler();
                note(faults, data.len(), slot, Fault::BadCast);
            }
        }
    }
    converted
}

fn convert_one(data: &Data, slot: usize, from: &LogicalType, to: &LogicalType) -> Option<One> {
    match (data, to) {
        (Data::Int(values), LogicalType::Timestamp(unit)) => to_timestamp(values[slot], from, *unit).map(One::Int),
        (Data::Int(values), LogicalType::Date) => time::day_of(values[slot], from).map(One::Int),
        (Data::Int(values), LogicalType::Float32 | LogicalType::Float64) => Some(One::Float(values[slot] as f64)),
        (Data::Int(values), LogicalType::Decimal { .. }) => rescale(values[slot].into(), 0, to).map(One::Decimal),
        (Data::Int(values), to) => within(values[slot].into(), to).map(One::Int),
        (Data::Bool(values), to) => within(values[slot].into(), to).map(One::Int),
        (Data::Float(values), LogicalType::Float32) => is_finite(values[slot], true).then(|| One::Float(values[slot])),
        (Data::Float(values), LogicalType::Float64) => Some(One::Float(values[slot])),
        (Data::Float(values), LogicalType::Decimal { precision, scale }) => {
            // The nearest decimal: a float is seldom exactly what was meant.
            let scaled = (values[slot] * 10_f64.powi((*scale).into())).round();
            let is_small = scaled.abs() < 1e38;
            is_small.then_some(scaled as i128).filter(|value| fits(*value, *precision)).map(One::Decimal)
        }
        (Data::Float(values), to) => {
            let value = values[slot];
            let is_whole = value.fract() == 0.0 && value.abs() < 1e19;
            is_whole.then_some(value as i128).and_then(|value| within(value, to)).map(One::Int)
        }
        (Data::Decimal(values), LogicalType::Decimal { .. }) => {
            rescale(values[slot], scale(from), to).map(One::Decimal)
        }
        (Data::Decimal(values), LogicalType::Float32 | LogicalType::Float64) => {
            decimal_text(values[slot], scale(from)).parse().ok().map(One::Float)
        }
        (Data::Decimal(values), to) => {
            let whole = LogicalType::Decimal { precision: 38, scale: 0 };
            within(rescale(values[slot], scale(from), &whole)?, to).map(One::Int)
        }
        (Data::Text(_) | Data::Uuid(_), _) => None,
    }
}

fn within(value: i128, to: &LogicalType) -> Option<i64> {
    let (least, greatest) = bounds(to)?;
    i64::try_from(value).ok().filter(|value| (least..=greatest).contains(value))
}

/// Another scale, when no digit is lost.
fn rescale(unscaled: i128, scale: u8, to: &LogicalType) -> Option<i128> {
    let LogicalType::Decimal { precision, scale: wanted } = *to else { return None };
    let power = 10_i128.checked_pow(wanted.abs_diff(scale).into())?;
    let value = if wanted >= scale {
        unscaled.checked_mul(power)?
    } else if unscaled % power == 0 {
        unscaled / power
    } else {
        return None;
    };
    fits(value, precision).then_some(value)
}

fn to_timestamp(value: i64, from: &LogicalType, unit: TimeUnit) -> Option<i64> {
    match from {
        LogicalType::Date => value.checked_mul(86_400)?.checked_mul(unit.per_second()),
        LogicalType::Timestamp(before) => time::in_unit(value, *before, unit),
        _ => Some(value),
    }
}
