//! Numbers from their text, exactly: an integer or a decimal never passes through a float.

use super::flaw::Reason;

/// A number as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    /// The whole text.
    pub(super) text: &'a [u8],
    negative: bool,
    /// All digits as one integer; meaningless when there are more than `MANTISSA_DIGITS`.
    mantissa: u64,
    /// The number is mantissa x 10^exponent.
    exponent: i64,
    digits: usize,
}

/// As many digits as always fit into the mantissa.
const MANTISSA_DIGITS: usize = 19;
/// Exponents beyond are all the same: no column holds such a number, unless it is zero.
const MAX_EXPONENT: i64 = 1 << 40;

/// How a number may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// As in JSON (RFC 8259, section 6).
    Json,
    /// As in CSV files of all kinds: also a leading `+` and leading zeros.
    Csv,
}

/// Why a column cannot hold a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Too large or too small.
    OutOfRange,
    /// Too many digits behind the point.
    Inexact,
}

impl Misfit {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::OutOfRange => Reason::OutOfRange,
            Self::Inexact => Reason::Inexact,
        }
    }
}

/// A digit's value; anything above 9 is no digit.
#[inline(always)]
fn digit(byte: u8) -> u64 {
    u64::from(byte.wrapping_sub(b'0'))
}

/// Reads the digits from `at` on and appends them to `mantissa`; returns where they end. Eight at a time: with the first
/// digit in the lowest byte, neighbours are joined to pairs, pairs to fours, fours to eights.
#[inline(always)]
fn read_digits(bytes: &[u8], mut at: usize, mut mantissa: u64) -> (usize, u64) {
    const BYTES: u64 = 0x0101_0101_0101_0101;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let digits = u64::from_le_bytes(*chunk) ^ (BYTES * 0x30);
        // The high bit of every byte that is no digit. What the sum carries over spoils later bytes only.
        let others = (digits.wrapping_add(BYTES * 0x76) | digits) & (BYTES * 0x80);
        let count = others.trailing_zeros() / 8;
        if count == 0 {
            return (at, mantissa);
        }
        let mut value = digits << (64 - 8 * count);
        value = (value * 10 + (value >> 8)) & 0x00ff_00ff_00ff_00ff;
        value = (value * 100 + (value >> 16)) & 0x0000_ffff_0000_ffff;
        value = (value * 10_000 + (value >> 32)) & 0xffff_ffff;
        mantissa = mantissa.wrapping_mul(POWERS_U64[count as usize]).wrapping_add(value);
        at += count as usize;
        if count < 8 {
            return (at, mantissa);
        }
    }
    while let Some(&byte) = bytes.get(at)
        && digit(byte) < 10
    {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit(byte));
        at += 1;
    }
    (at, mantissa)
}

/// The integer at the start of `bytes` and its length, when it is written in at most 18 digits and without leading zeros,
/// point or exponent. None says nothing: see `Number::read`.
#[inline(always)]
pub(super) fn plain_integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (end, mantissa) = read_digits(bytes, start, 0);
    let digits = end - start;
    let is_plain = (1..MANTISSA_DIGITS).contains(&digits)
        && (digits == 1 || bytes[start] != b'0')
        && !matches!(bytes.get(end), Some(b'.' | b'e' | b'E'));
    let value = mantissa.cast_signed();
    is_plain.then_some((if negative { -value } else { value }, end))
}

const POWERS_U64: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

impl<'a> Number<'a> {
    /// Reads the number at the start of `bytes`; what follows it is the caller's to judge. None: there is no number.
    pub(super) fn read(bytes: &'a [u8], writing: Writing) -> Option<Self> {
        let mut at = 0;
        let negative = bytes.first() == Some(&b'-');
        if negative || (writing == Writing::Csv && bytes.first() == Some(&b'+')) {
            at = 1;
        }
        let start = at;
        let mut mantissa;
        (at, mantissa) = read_digits(bytes, at, 0);
        let mut digits = at - start;
        if digits == 0 || (digits > 1 && bytes[start] == b'0' && writing == Writing::Json) {
            return None;
        }
        let mut exponent = 0;
        if let Some(b'.' | b'e' | b'E') = bytes.get(at) {
            let tail = Tail::read(bytes, at, mantissa)?;
            (at, mantissa, exponent) = (tail.end, tail.mantissa, tail.exponent);
            digits += tail.digits;
        }
        Some(Self { text: &bytes[..at], negative, mantissa, exponent, digits })
    }

    /// Reads a text that is a number and nothing else.
    pub(super) fn whole(text: &'a [u8], writing: Writing) -> Option<Self> {
        Self::read(text, writing).filter(|number| number.text.len() == text.len())
    }

    /// The integer; `1.0` and `1e3` are integers too.
    #[inline]
    pub(super) fn int64(&self) -> Result<i64, Misfit> {
        if self.exponent == 0 && self.digits < MANTISSA_DIGITS {
            // At most 18 digits always fit.
            let value = self.mantissa.cast_signed();
            return Ok(if self.negative { -value } else { value });
        }
        i64::try_from(self.decimal(38, 0)?).map_err(|_| Misfit::OutOfRange)
    }

    /// The nearest float; refused where that would be infinite.
    #[inline]
    pub(super) fn float64(&self) -> Result<f64, Misfit> {
        // Clinger's fast path: both operands are exact, so that the one operation rounds correctly.
        if self.digits <= MANTISSA_DIGITS
            && self.mantissa < 1 << 53
            && self.exponent.unsigned_abs() < POWERS_F64.len() as u64
        {
            let power = POWERS_F64[self.exponent.unsigned_abs() as usize];
            let mantissa = self.mantissa as f64;
            let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
            return Ok(if self.negative { -value } else { value });
        }
        self.parsed().filter(|value: &f64| value.is_finite()).ok_or(Misfit::OutOfRange)
    }

    /// The nearest float of 32 bits; refused where that would be infinite.
    pub(super) fn float32(&self) -> Result<f32, Misfit> {
        self.parsed().filter(|value: &f32| value.is_finite()).ok_or(Misfit::OutOfRange)
    }

    fn parsed<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }

    /// The number x 10^scale as an integer of at most `precision` digits.
    pub(super) fn decimal(&self, precision: u8, scale: u8) -> Result<i128, Misfit> {
        let shift = self.exponent + i64::from(scale);
        if self.digits <= MANTISSA_DIGITS && (0..=18).contains(&shift) {
            let value = i128::from(self.mantissa) * 10_i128.pow(shift as u32);
            if value >= 10_i128.pow(u32::from(precision)) {
                return Err(Misfit::OutOfRange);
            }
            return Ok(if self.negative { -value } else { value });
        }
        self.long_decimal(precision, scale)
    }

    /// As `decimal`, for any number of digits and any exponent.
    #[cold]
    fn long_decimal(&self, precision: u8, scale: u8) -> Result<i128, Misfit> {
        let end = self.text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(self.text.len());
        let all = || self.text[..end].iter().filter(|byte| byte.is_ascii_digit());
        let leading = all().take_while(|byte| **byte == b'0').count();
        let trailing = all().rev().take_while(|byte| **byte == b'0').count();
        if leading == self.digits {
            return Ok(0);
        }
        let significant = self.digits - leading - trailing;
        // The number is the significant digits x 10^exponent.
        let exponent = self.exponent + trailing as i64;
        let integer_digits = significant as i64 + exponent;
        if integer_digits > i64::from(precision) - i64::from(scale) {
            return Err(Misfit::OutOfRange);
        }
        let shift = exponent + i64::from(scale);
        if shift < 0 {
            return Err(Misfit::Inexact);
        }
        // significant + shift = integer_digits + scale <= precision <= 38: no overflow.
        let value =
            all().skip(leading).take(significant).fold(0_i128, |value, byte| value * 10 + i128::from(digit(*byte)));
        let value = value * 10_i128.pow(shift as u32);
        Ok(if self.negative { -value } else { value })
    }
}

/// What follows a number's integer part.
struct Tail {
    end: usize,
    mantissa: u64,
    exponent: i64,
    digits: usize,
}

impl Tail {
    fn read(bytes: &[u8], mut at: usize, mut mantissa: u64) -> Option<Self> {
        let mut digits = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let start = at;
            (at, mantissa) = read_digits(bytes, at, mantissa);
            digits = at - start;
            if digits == 0 {
                return None;
            }
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            let negative = bytes.get(at) == Some(&b'-');
            if let Some(b'+' | b'-') = bytes.get(at) {
                at += 1;
            }
            let start = at;
            while let Some(&byte) = bytes.get(at)
                && digit(byte) < 10
            {
                exponent = (exponent * 10 + digit(byte).cast_signed()).min(MAX_EXPONENT);
                at += 1;
            }
            if at == start {
                return None;
            }
            if negative {
                exponent = -exponent;
            }
        }
        Some(Self { end: at, mantissa, exponent: exponent - digits as i64, digits })
    }
}

const POWERS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Number<'_> {
        Number::whole(text.as_bytes(), Writing::Json).expect(text)
    }

    #[test]
    fn what_is_no_json_number_is_not_read() {
        for text in ["", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "NaN", "Infinity", "0x10", "1_000", "--1"] {
            assert!(Number::whole(text.as_bytes(), Writing::Json).is_none(), "{text}");
        }
        for (text, value) in [("+1", 1), ("007", 7), ("-007", -7)] {
            assert_eq!(Number::whole(text.as_bytes(), Writing::Csv).expect(text).int64(), Ok(value));
        }
    }

    proptest! {
        #[test]
        fn a_plain_integer_is_that_number(text in "-?[0-9]{0,22}([.eE,} ][0-9]{0,3})?") {
            let number = Number::read(text.as_bytes(), Writing::Json);
            if let Some((value, length)) = plain_integer(text.as_bytes()) {
                let number = number.expect("a number");
                prop_assert_eq!((number.int64(), number.text.len()), (Ok(value), length));
            } else {
                let digits = text.bytes().filter(u8::is_ascii_digit).count();
                prop_assert!(number.is_none() || digits > 18 || text.contains(['.', 'e', 'E']), "{text}");
            }
        }
    }

    #[test]
    fn integers_are_exact_or_refused() {
        for (text, value) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("1.0", Ok(1)),
            ("1e3", Ok(1000)),
            ("12.50e1", Ok(125)),
            ("1.5", Err(Misfit::Inexact)),
            ("1e-1", Err(Misfit::Inexact)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("9223372036854775808", Err(Misfit::OutOfRange)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("-9223372036854775809", Err(Misfit::OutOfRange)),
            ("9223372036854775807.0000000000000000000000000", Ok(i64::MAX)),
            ("0.00000000000000000000000000000000000000000000001e47", Ok(1)),
            ("0e99999999999999999999999999", Ok(0)),
            ("1e99999999999999999999999999", Err(Misfit::OutOfRange)),
            ("1e-99999999999999999999999999", Err(Misfit::Inexact)),
        ] {
            assert_eq!(json(text).int64(), value, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, value) in [
            ("0.1", Ok(10)),
            ("19.99", Ok(1999)),
            ("-19.990", Ok(-1999)),
            ("1e2", Ok(10000)),
            ("0.001", Err(Misfit::Inexact)),
            ("9999999999.99", Ok(999_999_999_999)),
            ("10000000000", Err(Misfit::OutOfRange)),
            ("10000000000.001", Err(Misfit::OutOfRange)),
        ] {
            assert_eq!(json(text).decimal(12, 2), value, "{text}");
        }
        assert_eq!(json("99999999999999999999999999999999999999").decimal(38, 0), Ok(10_i128.pow(38) - 1));
    }

    #[test]
    fn floats_beyond_the_largest_are_refused() {
        assert_eq!(json("1e309").float64(), Err(Misfit::OutOfRange));
        assert_eq!(json("1e39").float32(), Err(Misfit::OutOfRange));
        assert_eq!(json("1e-999").float64(), Ok(0.0));
        assert!(json("-0").float64().is_ok_and(f64::is_sign_negative));
    }

    proptest! {
        #[test]
        fn an_integer_reads_back(value: i64) {
            prop_assert_eq!(json(&value.to_string()).int64(), Ok(value));
        }

        #[test]
        fn a_float_is_the_one_that_the_standard_library_reads(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            let expected: f64 = text.parse().expect("a float");
            let read = json(&text).float64();
            if expected.is_finite() {
                prop_assert_eq!(read.map(f64::to_bits), Ok(expected.to_bits()));
            } else {
                prop_assert_eq!(read, Err(Misfit::OutOfRange));
            }
        }

        #[test]
        fn a_decimal_means_what_its_text_says(integer in 0_u64..1_000_000_000_000, fraction in 0_u32..100_000, exponent in -6_i32..6, negative: bool) {
            let sign = if negative { "-" } else { "" };
            let text = format!("{sign}{integer}.{fraction:05}e{exponent}");
            // In units of 10^-11, which hold every such number.
            let exact = (i128::from(integer) * 100_000 + i128::from(fraction)) * 10_i128.pow((exponent + 6) as u32);
            let exact = if negative { -exact } else { exact };
            let expected = if exact % 10_i128.pow(7) == 0 { Ok(exact / 10_i128.pow(7)) } else { Err(Misfit::Inexact) };
            prop_assert_eq!(json(&text).decimal(38, 4), expected);
        }
    }
}
