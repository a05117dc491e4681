//! Text, looked at once per distinct value.

use super::take::NULL_ROW;
use crate::LogicalType;
use crate::bits::{self, Validity};
use crate::columns::{Column, Dictionary, Node, Values, Varlen};
use crate::outcome::Failure;

/// A column of text as *slots*: the places where its values lie. Of a plain column each row is a slot; of a dictionary each
/// distinct value is one, so that work on slots is done once per distinct value. [`spread`](Self::spread) takes its
/// result back to rows.
///
/// The slot of a null row of a plain column is there and means nothing: an empty text as a rule.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    codes: Option<&'a [u32]>,
    /// A dictionary with more values than there are rows: each row is a slot all the same.
    large: bool,
    offsets: &'a [u32],
    text: &'a str,
    validity: &'a [u8],
    rows: usize,
}

impl<'a> Texts<'a> {
    /// The text of a column of `rows` rows; fails when the column is none.
    pub fn of(column: &'a Column, rows: usize) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::fatal(format!("a column was read as utf8, but {what}"));
        let [node] = column.nodes.as_slice() else { return Err(wrong(format!("it has {} nodes", column.nodes.len()))) };
        let (codes, values) = match &node.values {
            Values::Varlen(values) => (None, values),
            Values::Dictionary(Dictionary { codes, values }) => (Some(codes.as_slice()), values),
            other => return Err(wrong(format!("its values are `{}`", other.layout()))),
        };
        let slots = values.offsets.len().saturating_sub(1);
        let found = codes.map_or(slots, <[u32]>::len);
        if found != rows || (!node.validity.is_empty() && node.validity.len() < rows.div_ceil(8)) {
            return Err(wrong(format!("it has {found} rows of {rows}")));
        }
        let text = std::str::from_utf8(&values.data).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        let large = codes.is_some() && slots > rows;
        Ok(Self { codes, large, offsets: &values.offsets, text, validity: &node.validity, rows })
    }

    /// How many slots there are.
    #[inline]
    pub fn slots(&self) -> usize {
        if self.codes.is_some() && !self.large { self.offsets.len().saturating_sub(1) } else { self.rows }
    }

    /// Whether each row is a slot of its own.
    #[inline]
    pub fn slots_are_rows(&self) -> bool {
        self.codes.is_none() || self.large
    }

    /// The text of a slot.
    ///
    /// # Panics
    /// Behind the last slot, or when the host sent an offset or a code that points nowhere.
    #[inline(always)]
    pub fn slot(&self, slot: usize) -> &'a str {
        match self.range(slot) {
            Some(range) => &self.text[range],
            None => "",
        }
    }

    /// The bytes of a slot's text: quicker, where whole texts are compared.
    ///
    /// # Panics
    /// As [`slot`](Self::slot).
    #[inline(always)]
    pub fn slot_bytes(&self, slot: usize) -> &'a [u8] {
        match self.range(slot) {
            Some(range) => &self.text.as_bytes()[range],
            None => b"",
        }
    }

    #[inline(always)]
    fn range(&self, slot: usize) -> Option<std::ops::Range<usize>> {
        let value = match self.codes {
            Some(_) if self.large && self.is_null(slot) => return None,
            Some(codes) if self.large => codes[slot] as usize,
            _ => slot,
        };
        Some(self.offsets[value] as usize..self.offsets[value + 1] as usize)
    }

    /// The slot of a row that is not null.
    #[inline(always)]
    pub fn slot_of(&self, row: usize) -> usize {
        match self.codes {
            Some(codes) if !self.large => codes[row] as usize,
            _ => row,
        }
    }

    /// Whether a row may be null.
    #[inline]
    pub fn has_nulls(&self) -> bool {
        !self.validity.is_empty()
    }

    /// Whether a row is null.
    #[inline(always)]
    pub fn is_null(&self, row: usize) -> bool {
        !self.validity.is_empty() && !bits::is_set(self.validity, row)
    }

    /// For each row its slot, [`NULL_ROW`] where it is null.
    pub fn rows(&self) -> Vec<u32> {
        let slot = |row: usize| if self.is_null(row) { NULL_ROW } else { self.slot_of(row) as u32 };
        (0..self.rows).map(slot).collect()
    }

    /// A flat column with a row for each slot as a column with a row for each row; null where this one is, too. Text
    /// becomes a dictionary when this is one.
    pub fn spread(&self, mut column: Column) -> Column {
        if self.slots_are_rows() {
            if let Some(node) = column.nodes.first_mut()
                && self.has_nulls()
            {
                node.validity = both(self.validity, &node.validity, self.rows);
            }
            return column;
        }
        let rows = self.rows();
        match column.nodes.as_mut_slice() {
            [Node { validity, values: values @ (Values::Varlen(_) | Values::Dictionary(_)) }] => {
                let valid =
                    |row: &u32| *row != NULL_ROW && (validity.is_empty() || bits::is_set(validity, *row as usize));
                let mut all = Validity::default();
                rows.iter().for_each(|row| if valid(row) { all.push_valid() } else { all.push_null() });
                let values = std::mem::replace(values, Values::None);
                Column { nodes: vec![Node { validity: all.finish(), values: dictionary(values, &rows) }] }
            }
            _ => column.take(&LogicalType::Bool, &rows),
        }
    }
}

/// Text of slots as a dictionary over rows.
fn dictionary(values: Values, rows: &[u32]) -> Values {
    // The code of a null means nothing.
    let code = |row: &u32| if *row == NULL_ROW { 0 } else { *row };
    match values {
        Values::Dictionary(Dictionary { codes, values }) => {
            let codes = rows.iter().map(|row| codes.get(code(row) as usize).copied().unwrap_or(0)).collect();
            Values::Dictionary(Dictionary { codes, values })
        }
        Values::Varlen(values) => Values::Dictionary(Dictionary { codes: rows.iter().map(code).collect(), values }),
        other => other,
    }
}

/// The rows that are valid in both bitmaps, of which the second may be empty: all valid.
fn both(one: &[u8], other: &[u8], rows: usize) -> Vec<u8> {
    let bytes = one.iter().take(rows.div_ceil(8)).enumerate();
    bytes.map(|(at, byte)| byte & other.get(at).copied().unwrap_or(if other.is_empty() { 0xff } else { 0 })).collect()
}

impl Varlen {
    /// No value yet, with room for some.
    pub fn with_capacity(values: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(values + 1);
        offsets.push(0);
        Self { offsets, data: Vec::with_capacity(bytes) }
    }

    /// Adds a value.
    ///
    /// # Panics
    /// Beyond 4 GiB, which a batch never comes near: the host bounds it by the memory of the stage.
    #[inline(always)]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        match u32::try_from(self.data.len()) {
            Ok(end) => self.offsets.push(end),
            Err(_) => panic!("a column of one batch grew beyond 4 GiB"),
        }
    }
}
