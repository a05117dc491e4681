//! Why a record is refused: a reason that rejects are counted by, and a detail for the person who looks.

use std::fmt::Write as _;

use crate::record::Refusal;

/// A reason's word never changes and never gets another meaning: dashboards and replays count on it.
macro_rules! reasons {
    ($($variant:ident $word:literal $meaning:literal,)*) => {
        /// The reasons for which the decoder refuses a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// All of them, in the order in which `docs/decoding.md` lists them.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// The word that rejects are counted by.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

reasons! {
    Tombstone "tombstone" "The record has a key and no value, which in Kafka deletes the key",
    EmptyValue "empty_value" "The value has no bytes",
    BadUtf8 "bad_utf8" "The value is not UTF-8",
    BadJson "bad_json" "The value is not JSON (RFC 8259), wherever in the record the fault lies",
    TooDeep "too_deep" "Objects and arrays are nested deeper than 127 levels",
    NotAnObject "not_an_object" "The value is JSON, but not an object",
    DuplicateKey "duplicate_key" "A declared field stands twice in the same object",
    UnknownField "unknown_field" "A field that no column names, in a source with `unknown = \"reject\"`",
    MissingField "missing_field" "A column that may not be null has no field in the record",
    NullValue "null_value" "The field is null and its column may not be",
    WrongType "wrong_type" "The value is of another kind than the column",
    OutOfRange "out_of_range" "The value is larger or smaller than the column can hold",
    Inexact "inexact" "The value has digits behind the point that the column cannot hold",
    BadDecimal "bad_decimal" "The text is not a decimal number",
    BadTimestamp "bad_timestamp" "The text is not an RFC 3339 timestamp",
    MissingTimeZone "missing_time_zone" "The timestamp's text has neither `Z` nor an offset, so it names no instant",
    BadDate "bad_date" "The text is not a date like 2024-02-29",
    BadUuid "bad_uuid" "The text is not a UUID in its 36-character form",
    BadBase64 "bad_base64" "The text is not base64 with padding (RFC 4648, section 4)",
    BadCsv "bad_csv" "The record's quotes are not those of CSV (RFC 4180)",
    WrongFieldCount "wrong_field_count" "The CSV record has more or fewer fields than the header",
}

/// What is wrong with one record. Boxed wherever it is returned, so that the way without one stays narrow.
#[derive(Debug, PartialEq)]
pub(super) struct Flaw {
    pub(super) reason: Reason,
    /// The column and the way into it, such as `items[3].sku`; built from the inside out, empty for the whole record.
    place: String,
    what: String,
}

/// A value, or why the record is refused.
pub(super) type Checked<T> = Result<T, Box<Flaw>>;

impl Flaw {
    #[cold]
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason, place: String::new(), what: what.into() })
    }

    /// `EXPECTED expected, found FOUND`, the found text shortened.
    #[cold]
    pub(super) fn found(reason: Reason, expected: impl std::fmt::Display, found: &[u8]) -> Box<Self> {
        Self::new(reason, format!("{expected} expected, found {}", shortened(found)))
    }

    /// Puts the name of the value that holds the faulty one in front of the place.
    #[cold]
    pub(super) fn within(mut self: Box<Self>, outer: &str) -> Box<Self> {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{outer}{dot}{}", self.place);
        self
    }

    /// The refusal of the record with this index.
    pub(super) fn refusal(&self, record: u32) -> Refusal {
        let detail =
            if self.place.is_empty() { self.what.clone() } else { format!("column {}: {}", self.place, self.what) };
        Refusal { row: record, reason: self.reason.word().to_owned(), detail }
    }
}

const MAX_SHOWN_CHARS: usize = 80;

/// At most 80 characters of a value on one line, with how long it was when it was longer.
pub(super) fn shortened(value: &[u8]) -> String {
    // A character is at most 4 bytes; more than these are never needed, however long the value is.
    let head = String::from_utf8_lossy(&value[..value.len().min(MAX_SHOWN_CHARS * 4)]);
    let mut shown = String::new();
    for c in head.chars().take(MAX_SHOWN_CHARS) {
        if c.is_control() {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if value.len() > MAX_SHOWN_CHARS && head.chars().count() > MAX_SHOWN_CHARS {
        let _ = write!(shown, "... ({} bytes)", value.len());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_shortened_and_stays_on_one_line() {
        assert_eq!(shortened("a\nb".as_bytes()), "a\\nb");
        assert_eq!(shortened(&[b'x'; 80]), "x".repeat(80));
        assert_eq!(shortened(&[b'x'; 1000]), format!("{}... (1000 bytes)", "x".repeat(80)));
        assert_eq!(shortened("ä".repeat(81).as_bytes()), format!("{}... (162 bytes)", "ä".repeat(80)));
    }

    #[test]
    fn the_place_is_read_from_the_outside_in() {
        let flaw = Flaw::new(Reason::WrongType, "int32 expected, found 1").within("sku").within("[3]").within("items");
        assert_eq!(flaw.refusal(7).detail, "column items[3].sku: int32 expected, found 1");
    }

    #[test]
    fn every_reason_has_its_own_word() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
