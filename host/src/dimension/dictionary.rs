//! Table-wide dictionaries: a text column with few distinct values is stored as codes, and handed out as an Arrow
//! dictionary whose values are shared by all batches of a generation.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use rustc_hash::FxHashMap;

use super::row::{RowLayout, Slot, write_end};
use crate::error::{Error, ErrorKind, Result};

/// Columns with more distinct values stay plain text: a dictionary as large as a batch's rows (4,096 by default) would
/// cost more to carry along with each batch than it saves.
pub(super) const MAX_DICTIONARY_VALUES: usize = 4096;

/// Columns whose distinct values take more bytes stay plain text.
pub(super) const MAX_DICTIONARY_BYTES: usize = 1 << 20;

/// The distinct values of a text column, as long as they are few; in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    values: FxHashMap<Box<str>, u32>,
    bytes: usize,
    many: bool,
}

impl Distinct {
    /// Takes a batch's values in.
    pub(super) fn observe(&mut self, column: &StringArray) {
        for value in column.iter().flatten() {
            if self.many {
                return;
            }
            if self.values.contains_key(value) {
                continue;
            }
            self.bytes += value.len();
            if self.values.len() == MAX_DICTIONARY_VALUES || self.bytes > MAX_DICTIONARY_BYTES {
                self.many = true;
                self.values = FxHashMap::default();
                return;
            }
            let code = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
            if let Entry::Vacant(place) = self.values.entry(value.into()) {
                place.insert(code);
            }
        }
    }

    /// The values by code; none when they are many, or when there are none at all.
    pub(super) fn values(&self) -> Option<Vec<String>> {
        if self.many || self.values.is_empty() {
            return None;
        }
        let mut values: Vec<(&str, u32)> = self.values.iter().map(|(value, code)| (value.as_ref(), *code)).collect();
        values.sort_unstable_by_key(|(_, code)| *code);
        Some(values.into_iter().map(|(value, _)| value.to_owned()).collect())
    }

    fn code(&self, value: &[u8]) -> Option<u32> {
        self.values.get(std::str::from_utf8(value).ok()?).copied()
    }
}

/// The values of a dictionary as the array that all batches share.
pub(super) fn dictionary_array(values: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Turns rows of the plain layout (all text in full) into rows of the layout with dictionaries.
#[derive(Debug)]
pub(super) struct Recode<'a> {
    /// The layout of the rows that come in.
    pub(super) plain: &'a RowLayout,
    /// The layout of the rows that go out; the same columns.
    pub(super) coded: &'a RowLayout,
    /// For each column its distinct values, when it is text.
    pub(super) distinct: &'a [Option<Distinct>],
}

impl Recode<'_> {
    /// Writes a row in place of what `out` holds.
    pub(super) fn row(&self, row: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.resize(self.coded.fixed_bytes(), 0);
        let (tail, nulls) = (out.len(), self.coded.null_bytes());
        out[..nulls].copy_from_slice(&row[..nulls]);
        for (index, (plain, coded)) in self.plain.columns().iter().zip(self.coded.columns()).enumerate() {
            match &coded.slot {
                Slot::Bool | Slot::Fixed { .. } => {
                    let width = coded.slot.width();
                    out[coded.at..coded.at + width].copy_from_slice(&row[plain.at..plain.at + width]);
                }
                Slot::Code { .. } if self.plain.is_null(row, index) => {}
                Slot::Code { width, .. } => {
                    let code = self.distinct[index]
                        .as_ref()
                        .and_then(|distinct| distinct.code(self.plain.tail_value(row, plain)));
                    let code =
                        code.ok_or_else(|| Error::new(ErrorKind::Internal, "a value is not in its dictionary"))?;
                    out[coded.at..coded.at + width].copy_from_slice(&code.to_le_bytes()[..*width]);
                }
                Slot::Text | Slot::Binary | Slot::Nested { .. } => {
                    out.extend_from_slice(self.plain.tail_value(row, plain));
                    write_end(out, coded.at, tail)?;
                }
            }
        }
        Ok(())
    }
}
