//! Texts with a meaning: dates, timestamps, UUIDs. The timestamp reader is our own because event streams write time as
//! text and the library's general one costs several times as much; `jiff` is its oracle in the tests.

use millstream_sdk::TimeUnit;

use super::flaw::Reason;

/// `2024-02-29` as days since 1970-01-01; years 0000 to 9999 in the Gregorian calendar.
pub(super) fn date(text: &[u8]) -> Option<i32> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text else { return None };
    let year = i32::from(two(y0, y1)?) * 100 + i32::from(two(y2, y3)?);
    let month = two(m0, m1)?;
    let day = two(d0, d1)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=last).contains(&day).then(|| days_since_1970(year, i32::from(month), i32::from(day)))
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day is the last of its year.
fn days_since_1970(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn two(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

/// An RFC 3339 timestamp in units since 1970-01-01T00:00:00Z. Digits finer than the unit are cut off, towards the past.
pub(super) fn timestamp(text: &[u8], unit: TimeUnit) -> Result<i64, Reason> {
    let Some((head, mut rest)) = text.split_at_checked(19) else { return Err(Reason::BadTimestamp) };
    let day = date(&head[..10]).ok_or(Reason::BadTimestamp)?;
    let [b'T' | b't' | b' ', h0, h1, b':', m0, m1, b':', s0, s1] = head[10..] else {
        return Err(Reason::BadTimestamp);
    };
    let (Some(hour @ 0..24), Some(minute @ 0..60), Some(second @ 0..60)) = (two(h0, h1), two(m0, m1), two(s0, s1))
    else {
        return Err(Reason::BadTimestamp);
    };
    let mut nanoseconds = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(Reason::BadTimestamp);
        }
        let missing = 9_u32.saturating_sub(u32::try_from(digits).unwrap_or(9));
        nanoseconds = fraction[..digits.min(9)].iter().fold(0, |all, byte| all * 10 + i64::from(byte - b'0'))
            * 10_i64.pow(missing);
        rest = &fraction[digits..];
    }
    let ahead_minutes = match *rest {
        [] => return Err(Reason::MissingTimeZone),
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (Some(hours @ 0..24), Some(minutes @ 0..60)) = (two(h0, h1), two(m0, m1)) else {
                return Err(Reason::BadTimestamp);
            };
            let minutes = i64::from(hours) * 60 + i64::from(minutes);
            if sign == b'-' { -minutes } else { minutes }
        }
        _ => return Err(Reason::BadTimestamp),
    };
    let minutes = (i64::from(day) * 24 + i64::from(hour)) * 60 + i64::from(minute) - ahead_minutes;
    let seconds = minutes * 60 + i64::from(second);
    let per_second = unit.per_second();
    let fraction = nanoseconds / (1_000_000_000 / per_second);
    // Before 1970 the two have different signs: in one wide sum nothing overflows on the way.
    i64::try_from(i128::from(seconds) * i128::from(per_second) + i128::from(fraction)).map_err(|_| Reason::OutOfRange)
}

/// `6f1c0c1e-8c3b-4f7e-9d52-0a1b2c3d4e5f`, in either case, as the 16 bytes in that order.
pub(super) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|&at| text[at] != b'-') {
        return None;
    }
    let mut bytes = [0; 16];
    let starts = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (byte, start) in bytes.iter_mut().zip(starts) {
        *byte = hex(text[start])? << 4 | hex(text[start + 1])?;
    }
    Some(bytes)
}

/// The value of a hexadecimal digit.
pub(super) fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timestamp_without_a_zone_names_no_instant() {
        for text in ["2024-02-29T12:00:00", "2024-02-29 12:00:00.5"] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Millisecond), Err(Reason::MissingTimeZone), "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc_3339_is_refused() {
        for text in [
            "",
            "now",
            "2024-02-29",
            "2023-02-29T00:00:00Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T23:60:00Z",
            "2024-02-29T23:59:60Z",
            "2024-02-29T00:00Z",
            "2024-02-29T00:00:00.Z",
            "2024-02-29T00:00:00+0100",
            "2024-02-29T00:00:00+24:00",
            "2024-02-29T00:00:00Z ",
            "24-02-29T00:00:00Z",
            "2024-2-29T00:00:00Z",
            "2024-02-29T00:00:00,5Z",
            "2024-02-29T00:00:00[UTC]",
            "2024/02/29T00:00:00Z",
            "+002024-02-29T00:00:00Z",
        ] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Second), Err(Reason::BadTimestamp), "{text}");
        }
    }

    #[test]
    fn finer_digits_are_cut_off_towards_the_past() {
        for (text, value) in [
            ("1970-01-01T00:00:00.0019Z", 1),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("1970-01-01T00:00:00.123456789123Z", 123),
            ("1970-01-01t01:00:00.5+01:00", 500),
        ] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Millisecond), Ok(value), "{text}");
        }
    }

    #[test]
    fn nanoseconds_end_in_2262() {
        let read = |text: &str| timestamp(text.as_bytes(), TimeUnit::Nanosecond);
        assert_eq!(read("2262-04-11T23:47:16.854775807Z"), Ok(i64::MAX));
        assert_eq!(read("2262-04-11T23:47:16.854775808Z"), Err(Reason::OutOfRange));
        assert_eq!(read("1677-09-21T00:12:43.145224192Z"), Ok(i64::MIN));
    }

    #[test]
    fn uuids_are_read_in_either_case() {
        let bytes = uuid(b"6F1C0c1e-8c3b-4f7e-9d52-0a1b2c3d4e5f").expect("a uuid");
        assert_eq!(
            bytes,
            [0x6f, 0x1c, 0x0c, 0x1e, 0x8c, 0x3b, 0x4f, 0x7e, 0x9d, 0x52, 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f]
        );
        for text in [
            "6f1c0c1e8c3b4f7e9d520a1b2c3d4e5f",
            "{6f1c0c1e-8c3b-4f7e-9d52-0a1b2c3d4e5f}",
            "6f1c0c1e-8c3b-4f7e-9d52-0a1b2c3d4e5g",
        ] {
            assert_eq!(uuid(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_timestamp_is_the_one_that_jiff_reads(
            year in 0_u32..10_000, month in 1_u32..13, day in 1_u32..32, hour in 0_u32..24, minute in 0_u32..60,
            second in 0_u32..60, fraction in "(\\.[0-9]{1,9})?", zone in "Z|[+-](0[0-9]|1[0-4]):[0-5][0-9]",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
            let read = timestamp(text.as_bytes(), TimeUnit::Microsecond);
            match text.parse::<jiff::Timestamp>() {
                Ok(expected) => {
                    let expected = expected.as_nanosecond().div_euclid(1000);
                    prop_assert_eq!(read.map(i128::from), Ok(expected));
                }
                // jiff ends a little earlier than the year 9999 does.
                Err(_) if year == 9999 || year == 0 => {}
                Err(_) => prop_assert_eq!(read, Err(Reason::BadTimestamp)),
            }
        }

        #[test]
        fn a_date_is_the_one_that_jiff_reads(year in 0_i16..10_000, month in 0_i8..14, day in 0_i8..33) {
            let text = format!("{year:04}-{month:02}-{day:02}");
            let expected = jiff::civil::Date::new(year, month, day).ok().map(|date| {
                jiff::civil::date(1970, 1, 1).until((jiff::Unit::Day, date)).expect("in range").get_days()
            });
            prop_assert_eq!(date(text.as_bytes()), expected);
        }
    }
}
