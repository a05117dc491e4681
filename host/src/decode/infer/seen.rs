//! What was seen of a field: how often, and which kinds of values.

use rustc_hash::FxHashMap;
use serde_json::{Number as JsonNumber, Value};

use crate::decode::csv::split;
use crate::decode::flaw::{Reason, shortened};
use crate::decode::number::{Number, Writing};
use crate::decode::text;

/// An object with more different keys than these is data, not a record: they are not columns.
const MAX_FIELDS: usize = 500;

/// What was seen at one path.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How often the field was there, nulls included.
    pub(super) present: u64,
    pub(super) nulls: u64,
    pub(super) bools: u64,
    pub(super) numbers: Numbers,
    pub(super) texts: Texts,
    pub(super) lists: u64,
    pub(super) items: Option<Box<Seen>>,
    pub(super) objects: u64,
    fields: Vec<(String, Seen)>,
    index: FxHashMap<String, usize>,
    overflowed: bool,
}

/// The numbers among the values.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) with_fraction: u64,
    pub(super) beyond_int64: u64,
    pub(super) with_exponent: u64,
    pub(super) smallest: Option<i64>,
    pub(super) largest: Option<i64>,
    pub(super) integer_digits: usize,
    pub(super) fraction_digits: usize,
}

/// The texts among the values, by what all of them might be.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) count: u64,
    pub(super) timestamps: u64,
    pub(super) zoneless: u64,
    pub(super) fraction_digits: usize,
    pub(super) dates: u64,
    pub(super) uuids: u64,
    pub(super) decimals: Numbers,
    pub(super) leading_zeros: u64,
    /// `NA`, `NULL` and the like.
    pub(super) missing: u64,
    /// The first one.
    pub(super) example: String,
}

impl Seen {
    /// How often there was a value that is not null.
    pub(super) fn values(&self) -> u64 {
        self.present - self.nulls
    }

    pub(super) fn fields(&self) -> &[(String, Seen)] {
        &self.fields
    }

    /// Whether the objects' keys are data.
    pub(super) fn is_map(&self) -> bool {
        self.overflowed
    }

    fn field(&mut self, name: &str) -> Option<&mut Seen> {
        let index = match self.index.get(name) {
            Some(index) => *index,
            None if self.fields.len() == MAX_FIELDS => {
                self.overflowed = true;
                return None;
            }
            None => {
                self.index.insert(name.to_owned(), self.fields.len());
                self.fields.push((name.to_owned(), Seen::default()));
                self.fields.len() - 1
            }
        };
        Some(&mut self.fields[index].1)
    }

    fn see(&mut self, value: &Value) {
        self.present += 1;
        match value {
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.bools += 1,
            Value::Number(number) => self.numbers.see_json(number),
            Value::String(text) => self.texts.see(text),
            Value::Array(items) => {
                self.lists += 1;
                let seen = self.items.get_or_insert_default();
                items.iter().for_each(|item| seen.see(item));
            }
            Value::Object(fields) => {
                self.objects += 1;
                for (name, value) in fields {
                    if let Some(field) = self.field(name) {
                        field.see(value);
                    }
                }
            }
        }
    }

    fn see_csv_text(&mut self, text: &str) {
        match (text, Number::whole(text.as_bytes(), Writing::Csv)) {
            ("true" | "True" | "TRUE" | "false" | "False" | "FALSE", _) => self.bools += 1,
            (_, Some(number)) if !has_leading_zero(text) => self.numbers.see(text, number.int64().ok()),
            _ => self.texts.see(text),
        }
    }
}

impl Numbers {
    fn see_json(&mut self, number: &JsonNumber) {
        self.see(&number.to_string(), number.as_i64());
    }

    fn see(&mut self, text: &str, integer: Option<i64>) {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        self.count += 1;
        self.with_exponent += u64::from(!exponent.is_empty());
        self.with_fraction += u64::from(mantissa.contains('.'));
        self.integer_digits = self.integer_digits.max(whole.trim_start_matches(['-', '+']).len());
        self.fraction_digits = self.fraction_digits.max(if fraction == "0" { 0 } else { fraction.len() });
        match integer {
            Some(integer) => {
                self.smallest = Some(self.smallest.map_or(integer, |smallest| smallest.min(integer)));
                self.largest = Some(self.largest.map_or(integer, |largest| largest.max(integer)));
            }
            None if !mantissa.contains('.') => self.beyond_int64 += 1,
            None => {}
        }
    }
}

impl Texts {
    fn see(&mut self, text: &str) {
        if self.count == 0 {
            self.example = shortened(text.as_bytes());
        }
        self.count += 1;
        match text::timestamp(text.as_bytes(), millstream_sdk::TimeUnit::Microsecond) {
            Ok(_) => {
                self.timestamps += 1;
                let fraction = text.get(20..).filter(|_| text.as_bytes()[19] == b'.').unwrap_or_default();
                let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
                self.fraction_digits = self.fraction_digits.max(digits);
            }
            Err(Reason::MissingTimeZone) => self.zoneless += 1,
            Err(_) => {}
        }
        self.dates += u64::from(text::date(text.as_bytes()).is_some());
        self.uuids += u64::from(text::uuid(text.as_bytes()).is_some());
        self.missing += u64::from(matches!(text, "NA" | "N/A" | "NaN" | "nan" | "NULL" | "null" | "None" | "\\N"));
        if let Some(number) = Number::whole(text.as_bytes(), Writing::Csv) {
            self.leading_zeros += u64::from(has_leading_zero(text));
            self.decimals.see(text, number.int64().ok());
        }
    }
}

/// `007`: more likely a code than a number.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']).as_bytes();
    digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit()
}

/// Looks at a JSON record.
pub(super) fn see_json(seen: &mut Seen, record: &[u8]) {
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(record) {
        seen.see(&value);
    }
}

/// Looks at a CSV record.
pub(super) fn see_csv(seen: &mut Seen, header: &[String], record: &[u8]) {
    let Ok(fields) = split(record) else { return };
    if fields.len() != header.len() {
        return;
    }
    seen.present += 1;
    seen.objects += 1;
    for (name, value) in header.iter().zip(fields) {
        let Some(field) = seen.field(name) else { continue };
        field.present += 1;
        match value {
            None => field.nulls += 1,
            Some(value) => field.see_csv_text(&String::from_utf8_lossy(&value)),
        }
    }
}
