//! Sizes, times, shares and the few small words with an argument that pipeline files are written with. An error names
//! the part of the text that is wrong, so that the caret can point into the string.

use std::ops::Range;
use std::time::Duration;

use super::{Compression, PartitionTransform, RejectedShare};

/// What is wrong inside a text, where, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Bytes of the text.
    pub at: Range<usize>,
    /// What is wrong there.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Mistake {
    pub fn new(at: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: help.into() }
    }
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const SIZE_HELP: &str = "a size is a number and B, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB (powers of 1000), such as \"128 MiB\"";

const TIME_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const TIME_HELP: &str = "a time is a number and ms, s, m (or min), h or d, such as \"60s\", \"1.5 h\" or \"1m 30s\"";

const SHARE_HELP: &str = "a share is a number from 0 to 100 and %, such as \"5%\"";
const OVER_HELP: &str = "it is a share and a time, such as \"5% over 1m\"";
const COMPRESSION_HELP: &str = "compression is \"zstd(1)\" to \"zstd(22)\", \"snappy\", \"lz4\" or \"none\"";
const TRANSFORM_HELP: &str = "a partition is \"day(column)\", \"hour(column)\" or \"column\"";

/// `128 MiB` in bytes.
pub(super) fn size_bytes(text: &str) -> Result<u64, Mistake> {
    match quantities(text, &SIZE_UNITS, "size", SIZE_HELP)?.as_slice() {
        [bytes] => Ok(*bytes),
        _ => Err(Mistake::new(0..text.len(), "more than one size", SIZE_HELP)),
    }
}

/// `60s`, `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, Mistake> {
    quantities(text, &TIME_UNITS, "time", TIME_HELP)?
        .into_iter()
        .try_fold(0_u64, |sum, ms| sum.checked_add(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| Mistake::new(0..text.len(), "the time is too long", TIME_HELP))
}

/// A size outside of a pipeline file; the error says what is wrong and what to write.
pub(crate) fn plain_size_bytes(text: &str) -> Result<u64, String> {
    size_bytes(text).map_err(|mistake| format!("{}: {}", mistake.message, mistake.help))
}

/// A time outside of a pipeline file; the error says what is wrong and what to write.
pub(crate) fn plain_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|mistake| format!("{}: {}", mistake.message, mistake.help))
}

/// `5%` as 0.05.
pub(super) fn share(text: &str) -> Result<f64, Mistake> {
    let trimmed = text.trim_end();
    let Some(number) = trimmed.strip_suffix('%') else {
        return Err(Mistake::new(0..text.len(), "`%` is missing", SHARE_HELP));
    };
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Ok(_) => Err(Mistake::new(0..text.len(), "not between 0% and 100%", SHARE_HELP)),
        Err(_) => Err(Mistake::new(0..text.len(), format!("`{}` is not a number", number.trim()), SHARE_HELP)),
    }
}

/// `5% over 1m`
pub(super) fn share_over(text: &str) -> Result<RejectedShare, Mistake> {
    let Some(at) = text.find("over") else {
        return Err(Mistake::new(0..text.len(), "`over` and a time are missing", OVER_HELP));
    };
    let share = share(&text[..at]).map_err(|mistake| Mistake { help: OVER_HELP.to_owned(), ..mistake })?;
    let behind = at + "over".len();
    let over = duration(&text[behind..])
        .map_err(|mistake| Mistake { at: mistake.at.start + behind..mistake.at.end + behind, ..mistake })?;
    if over.is_zero() {
        return Err(Mistake::new(behind..text.len(), "the time is 0", OVER_HELP));
    }
    Ok(RejectedShare { share, over })
}

/// `zstd(1)`
pub(super) fn compression(text: &str) -> Result<Compression, Mistake> {
    match text {
        "none" => return Ok(Compression::None),
        "snappy" => return Ok(Compression::Snappy),
        "lz4" => return Ok(Compression::Lz4),
        "zstd" => return Err(Mistake::new(0..text.len(), "the level is missing", "write \"zstd(1)\"")),
        _ => {}
    }
    let Some(level) = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')')) else {
        return Err(Mistake::new(0..text.len(), format!("`{text}` is not a compression"), COMPRESSION_HELP));
    };
    match level.trim().parse::<i32>() {
        Ok(level @ 1..=22) => Ok(Compression::Zstd(level)),
        _ => Err(Mistake::new(5..text.len() - 1, format!("`{level}` is not a level from 1 to 22"), COMPRESSION_HELP)),
    }
}

/// `day(ts)`: the transform, and where the column's name lies in the text.
pub(super) fn partition(text: &str) -> Result<(PartitionTransform, Range<usize>), Mistake> {
    let Some(open) = text.find('(') else {
        return Ok((PartitionTransform::Value, 0..text.len()));
    };
    let transform = match &text[..open] {
        "day" => PartitionTransform::Day,
        "hour" => PartitionTransform::Hour,
        other => return Err(Mistake::new(0..open, format!("`{other}` is not a partition transform"), TRANSFORM_HELP)),
    };
    if !text.ends_with(')') || text.len() == open + 2 {
        return Err(Mistake::new(open..text.len(), "a column in ( and ) is expected", TRANSFORM_HELP));
    }
    Ok((transform, open + 1..text.len() - 1))
}

/// One or several numbers, each with its unit, as multiples of the smallest unit.
fn quantities(text: &str, units: &[(&str, u64)], kind: &str, help: &str) -> Result<Vec<u64>, Mistake> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at += blanks(&text[at..]);
        if at == text.len() {
            break;
        }
        let digits = length_of(&text[at..], |c| c.is_ascii_digit() || c == '.' || c == '_');
        if digits == 0 {
            return Err(Mistake::new(at..text.len(), "a number is expected", help));
        }
        let number = at..at + digits;
        let unit_start = number.end + blanks(&text[number.end..]);
        let unit = unit_start..unit_start + length_of(&text[unit_start..], |c| !c.is_ascii_digit() && c != ' ');
        if unit.is_empty() {
            return Err(Mistake::new(number, "the unit is missing", help));
        }
        let Some((_, factor)) = units.iter().find(|(name, _)| *name == &text[unit.clone()]) else {
            let word = &text[unit.clone()];
            let near = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            let near = near.map(|(name, _)| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(Mistake::new(unit, format!("`{word}` is not a unit of {kind}{near}"), help));
        };
        let amount = multiply(&text[number.clone()], *factor);
        found.push(amount.map_err(|message| Mistake::new(number, message, help))?);
        at = unit.end;
    }
    if found.is_empty() { Err(Mistake::new(0..text.len(), format!("the {kind} is empty"), help)) } else { Ok(found) }
}

/// A decimal number times a factor, rounded down.
fn multiply(number: &str, factor: u64) -> Result<u64, String> {
    let plain = number.replace('_', "");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let not_a_number = || format!("`{number}` is not a number");
    let whole: u64 = whole.parse().map_err(|_| not_a_number())?;
    let too_large = || format!("`{number}` is too large");
    let mut amount = whole.checked_mul(factor).ok_or_else(too_large)?;
    if plain.contains('.') {
        if fraction.is_empty() || fraction.len() > 6 || fraction.contains('.') {
            return Err(not_a_number());
        }
        let scale = fraction.chars().fold(1_u128, |scale, _| scale * 10);
        let fraction: u64 = fraction.parse().map_err(|_| not_a_number())?;
        let part = u128::from(fraction) * u128::from(factor) / scale;
        let part = u64::try_from(part).map_err(|_| too_large())?;
        amount = amount.checked_add(part).ok_or_else(too_large)?;
    }
    Ok(amount)
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn length_of(text: &str, inside: impl Fn(char) -> bool) -> usize {
    text.find(|c| !inside(c)).unwrap_or(text.len())
}

/// A size as it would be written, for messages.
pub(super) fn size_text(bytes: u64) -> String {
    let (unit, factor) =
        SIZE_UNITS[..5].iter().rev().find(|(_, f)| bytes >= *f && bytes.is_multiple_of(*f)).unwrap_or(&("B", 1));
    format!("{} {unit}", bytes / factor)
}

/// A time as it would be written, for messages.
pub(super) fn duration_text(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let (unit, factor) = units.into_iter().find(|(_, f)| ms >= *f && ms.is_multiple_of(*f)).unwrap_or(("ms", 1));
    format!("{} {unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(size_bytes("128 MiB"), Ok(128 << 20));
        assert_eq!(size_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(size_bytes("1_000 kB"), Ok(1_000_000));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(share("0.5%"), Ok(0.005));
        assert_eq!(share_over("5% over 1m"), Ok(RejectedShare { share: 0.05, over: Duration::from_secs(60) }));
        assert_eq!(compression("zstd(19)"), Ok(Compression::Zstd(19)));
        assert_eq!(partition("hour(ts)"), Ok((PartitionTransform::Hour, 5..7)));
    }

    #[test]
    fn a_wrong_unit_is_named_where_it_stands() {
        for (text, at, message) in [
            ("128 mib", 4..7, "`mib` is not a unit of size; did you mean `MiB`?"),
            ("128", 0..3, "the unit is missing"),
            ("MiB", 0..3, "a number is expected"),
            ("99999999999 TiB", 0..11, "`99999999999` is too large"),
            ("1..2 GiB", 0..4, "`1..2` is not a number"),
            ("", 0..0, "the size is empty"),
        ] {
            let mistake = size_bytes(text).expect_err(text);
            assert_eq!((mistake.at, mistake.message.as_str()), (at, message), "{text}");
        }
        for (text, at, message) in [
            ("60 sec", 3..6, "`sec` is not a unit of time"),
            ("1m 30", 3..5, "the unit is missing"),
            ("-1s", 0..3, "a number is expected"),
        ] {
            let mistake = duration(text).expect_err(text);
            assert_eq!((mistake.at, mistake.message.as_str()), (at, message), "{text}");
        }
        assert_eq!(share_over("5% over 1 minute").expect_err("minute").at, 10..16);
        assert_eq!(compression("zstd(23)").expect_err("23").at, 5..7);
        assert_eq!(partition("week(ts)").expect_err("week").at, 0..4);
    }

    proptest! {
        #[test]
        fn a_size_reads_back(bytes in any::<u64>()) {
            prop_assert_eq!(size_bytes(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn a_time_reads_back(ms in any::<u64>()) {
            let time = Duration::from_millis(ms);
            prop_assert_eq!(duration(&duration_text(time)), Ok(time));
        }

        #[test]
        fn no_text_panics_and_mistakes_lie_in_it(text in ".{0,20}|[0-9a-zA-Z%(). ]{0,12}") {
            let mistakes = [
                size_bytes(&text).err(), duration(&text).err(), share(&text).err(), share_over(&text).err(),
                compression(&text).err(), partition(&text).err(),
            ];
            for mistake in mistakes.into_iter().flatten() {
                prop_assert!(text.get(mistake.at.clone()).is_some(), "{:?} in {:?}", mistake, text);
            }
        }
    }
}
