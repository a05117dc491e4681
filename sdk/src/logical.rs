//! Logical types in their one text form, as they stand in pipeline files, in contracts and in `docs/types.md`:
//! `bool`, `int8`, `int16`, `int32`, `int64`, `float32`, `float64`, `decimal(12,2)`, `utf8`, `binary`, `uuid`, `date`,
//! `timestamp(ms)`, `list<utf8>`, `struct<sku: utf8, quantity: int32?>`. A `?` behind a nested type makes it nullable.

use std::{fmt, str::FromStr};

/// The unit that a timestamp counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// `s`
    Second,
    /// `ms`
    Millisecond,
    /// `us`
    Microsecond,
    /// `ns`
    Nanosecond,
}

impl TimeUnit {
    /// How many of the unit make one second.
    pub const fn per_second(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Millisecond => 1_000,
            Self::Microsecond => 1_000_000,
            Self::Nanosecond => 1_000_000_000,
        }
    }

    /// The unit's text: `s`, `ms`, `us` or `ns`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Millisecond => "ms",
            Self::Microsecond => "us",
            Self::Nanosecond => "ns",
        }
    }
}

/// What the values of a column mean, apart from how they lie in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogicalType {
    /// True or false.
    Bool,
    /// 8 bits, signed.
    Int8,
    /// 16 bits, signed.
    Int16,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// IEEE 754, 32 bits.
    Float32,
    /// IEEE 754, 64 bits.
    Float64,
    /// A decimal number of at most `precision` (1 to 38) digits, `scale` of them behind the point.
    Decimal {
        /// All digits.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// UTF-8 text.
    Utf8,
    /// Bytes.
    Binary,
    /// 16 bytes in the order of the text form.
    Uuid,
    /// Days since 1970-01-01.
    Date,
    /// An instant: units since 1970-01-01T00:00:00Z.
    Timestamp(TimeUnit),
    /// A list of values of one type.
    List(Box<Nested>),
    /// Named values.
    Struct(Vec<(String, Nested)>),
}

/// A type inside a list or a struct, with whether it may be null.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nested {
    /// The type.
    pub logical: LogicalType,
    /// Whether a value may be missing.
    pub nullable: bool,
}

impl fmt::Display for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.logical, if self.nullable { "?" } else { "" })
    }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int8 => f.write_str("int8"),
            Self::Int16 => f.write_str("int16"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Utf8 => f.write_str("utf8"),
            Self::Binary => f.write_str("binary"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Timestamp(unit) => write!(f, "timestamp({})", unit.text()),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, (name, nested)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {nested}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(">")
            }
        }
    }
}

/// A text that names no logical type: what is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeError {
    /// The byte in the text at which reading stopped.
    pub at: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TypeError {}

const KNOWN: &str = "bool, int8, int16, int32, int64, float32, float64, decimal(p,s), utf8, binary, uuid, date, timestamp(s|ms|us|ns), list<..>, struct<name: ..>";

/// Structs and lists deeper than this are refused: nothing that is written by a person needs them.
const MAX_DEPTH: usize = 16;

impl FromStr for LogicalType {
    type Err = TypeError;

    /// Reads a type without a `?` at its end.
    fn from_str(text: &str) -> Result<Self, TypeError> {
        let nested: Nested = text.parse()?;
        if nested.nullable {
            return Err(TypeError { at: text.len() - 1, message: "a `?` is not allowed here".to_owned() });
        }
        Ok(nested.logical)
    }
}

impl FromStr for Nested {
    type Err = TypeError;

    /// Reads a type, nullable when it ends in `?`.
    fn from_str(text: &str) -> Result<Self, TypeError> {
        let mut reader = Reader { text, at: 0 };
        let nested = reader.nested(0)?;
        reader.skip_blanks();
        if reader.at < text.len() {
            return Err(reader.error(format!("`{}` behind the type", &text[reader.at..])));
        }
        Ok(nested)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> TypeError {
        TypeError { at: self.at, message: message.into() }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(mark);
        if found {
            self.at += mark.len_utf8();
        }
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), TypeError> {
        if self.take(mark) { Ok(()) } else { Err(self.error(format!("`{mark}` expected"))) }
    }

    fn word(&mut self) -> &str {
        self.skip_blanks();
        let start = self.at;
        let length = self.rest().find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest().len());
        self.at += length;
        &self.text[start..self.at]
    }

    fn number(&mut self, most: u8) -> Result<u8, TypeError> {
        let word = self.word().to_owned();
        match word.parse::<u8>() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(self.error(format!("`{word}` is not a whole number up to {most}"))),
        }
    }

    fn nested(&mut self, depth: usize) -> Result<Nested, TypeError> {
        let logical = self.logical(depth)?;
        Ok(Nested { logical, nullable: self.take('?') })
    }

    fn logical(&mut self, depth: usize) -> Result<LogicalType, TypeError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("a type nested deeper than {MAX_DEPTH}")));
        }
        self.skip_blanks();
        let start = self.at;
        let word = self.word().to_owned();
        Ok(match word.as_str() {
            "bool" => LogicalType::Bool,
            "int8" => LogicalType::Int8,
            "int16" => LogicalType::Int16,
            "int32" => LogicalType::Int32,
            "int64" => LogicalType::Int64,
            "float32" => LogicalType::Float32,
            "float64" => LogicalType::Float64,
            "utf8" => LogicalType::Utf8,
            "binary" => LogicalType::Binary,
            "uuid" => LogicalType::Uuid,
            "date" => LogicalType::Date,
            "decimal" => {
                self.expect('(')?;
                let precision = self.number(38)?;
                self.expect(',')?;
                let scale = self.number(precision)?;
                self.expect(')')?;
                if precision == 0 {
                    return Err(self.error("a decimal has at least 1 digit"));
                }
                LogicalType::Decimal { precision, scale }
            }
            "timestamp" => {
                self.expect('(')?;
                let unit = match self.word() {
                    "s" => TimeUnit::Second,
                    "ms" => TimeUnit::Millisecond,
                    "us" => TimeUnit::Microsecond,
                    "ns" => TimeUnit::Nanosecond,
                    other => {
                        let message = format!("`{other}` is not a time unit: s, ms, us or ns");
                        return Err(self.error(message));
                    }
                };
                self.expect(')')?;
                LogicalType::Timestamp(unit)
            }
            "list" => {
                self.expect('<')?;
                let item = self.nested(depth + 1)?;
                self.expect('>')?;
                LogicalType::List(Box::new(item))
            }
            "struct" => {
                self.expect('<')?;
                let mut fields: Vec<(String, Nested)> = Vec::new();
                loop {
                    let name = self.word().to_owned();
                    if name.is_empty() {
                        return Err(self.error("a field's name expected"));
                    }
                    if fields.iter().any(|(other, _)| *other == name) {
                        return Err(self.error(format!("field `{name}` stands twice in the struct")));
                    }
                    self.expect(':')?;
                    fields.push((name, self.nested(depth + 1)?));
                    if !self.take(',') {
                        break;
                    }
                }
                self.expect('>')?;
                LogicalType::Struct(fields)
            }
            _ => {
                self.at = start;
                return Err(self.error(format!("`{word}` is not a type; the types are {KNOWN}")));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_as_it_was_written() {
        for text in [
            "bool",
            "int64",
            "decimal(12,2)",
            "timestamp(ms)",
            "list<utf8>",
            "list<utf8?>",
            "struct<sku: utf8, quantity: int32?>",
            "list<struct<a: list<int8?>?, b: uuid>?>",
        ] {
            let logical: LogicalType = text.parse().expect(text);
            assert_eq!(logical.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_type_says_what_is_wrong() {
        for (text, message) in [
            ("decimal(39,2)", "`39` is not a whole number up to 38"),
            ("decimal(4,5)", "`5` is not a whole number up to 4"),
            ("timestamp(min)", "`min` is not a time unit: s, ms, us or ns"),
            ("list<utf8", "`>` expected"),
            ("int64 x", "`x` behind the type"),
            ("int64?", "a `?` is not allowed here"),
            ("struct<a: utf8, a: utf8>", "field `a` stands twice in the struct"),
        ] {
            assert_eq!(text.parse::<LogicalType>().expect_err(text).message, message);
        }
        assert!("text".parse::<LogicalType>().expect_err("text").message.starts_with("`text` is not a type"));
    }
}
