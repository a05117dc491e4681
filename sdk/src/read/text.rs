//! Text and bytes, borrowed from the batch.
//!
//! A buffer of text is checked to be UTF-8 once a batch, as one string; a row is a checked slice of it. The host has
//! checked it before, but a wrong host must not make undefined behaviour of safe code, and the check is cheap: in a
//! component 0.1 ns a byte of ASCII and 1.1 ns a byte of text full of umlauts, of 100 ns and more that a row costs.

use std::borrow::Cow;

use super::{Nodes, OutOfRange, ReadValue, WrongShape, check_rows, wrong_layout};
use crate::columns::{Dictionary, Node, Values, Varlen};

/// A column of text: plain, or a dictionary.
#[derive(Clone, Copy, Debug)]
pub struct TextReader<'a> {
    slots: Slots<'a>,
    text: &'a str,
}

/// A column of bytes.
#[derive(Clone, Copy, Debug)]
pub struct BytesReader<'a> {
    slots: Slots<'a>,
    data: &'a [u8],
}

/// Where each row's value lies. Without `codes` row `i` is slot `i`.
#[derive(Clone, Copy, Debug)]
struct Slots<'a> {
    codes: &'a [u32],
    offsets: &'a [u32],
}

impl Slots<'_> {
    #[inline(always)]
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let slot = if self.codes.is_empty() { row } else { self.codes[row] as usize };
        match self.offsets.get(slot..slot + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => points_nowhere(),
        }
    }
}

#[cold]
fn points_nowhere() -> ! {
    panic!("the host sent a column with an offset or a code that points nowhere")
}

fn slots<'a>(node: &'a Node, rows: usize) -> Result<(Slots<'a>, &'a [u8]), WrongShape> {
    match &node.values {
        Values::Varlen(Varlen { offsets, data }) => {
            check_rows(offsets.len().saturating_sub(1), rows)?;
            Ok((Slots { codes: &[], offsets }, data))
        }
        Values::Dictionary(Dictionary { codes, values }) => {
            check_rows(codes.len(), rows)?;
            Ok((Slots { codes, offsets: &values.offsets }, &values.data))
        }
        _ => wrong_layout(node, "varlen"),
    }
}

impl<'a> TextReader<'a> {
    fn take(nodes: &mut Nodes<'a>) -> Result<Self, WrongShape> {
        let rows = nodes.rows();
        let (slots, data) = slots(nodes.take()?, rows)?;
        let text = std::str::from_utf8(data).map_err(|_| WrongShape("its text is not UTF-8".to_owned()))?;
        Ok(Self { slots, text })
    }

    #[inline(always)]
    fn get(&self, row: usize) -> &'a str {
        match self.text.get(self.slots.range(row)) {
            Some(text) => text,
            None => points_nowhere(),
        }
    }
}

impl<'a> BytesReader<'a> {
    fn take(nodes: &mut Nodes<'a>) -> Result<Self, WrongShape> {
        let rows = nodes.rows();
        let (slots, data) = slots(nodes.take()?, rows)?;
        Ok(Self { slots, data })
    }

    #[inline(always)]
    fn get(&self, row: usize) -> &'a [u8] {
        match self.data.get(self.slots.range(row)) {
            Some(bytes) => bytes,
            None => points_nowhere(),
        }
    }
}

macro_rules! read_varlen {
    ($($rust:ty, $reader:ident, $from:expr;)*) => {$(
        impl<'a> ReadValue<'a> for $rust {
            type Reader = $reader<'a>;

            fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
                $reader::take(nodes)
            }

            #[inline(always)]
            fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
                Ok($from(reader.get(row)))
            }
        }
    )*};
}

read_varlen! {
    &'a str, TextReader, std::convert::identity;
    Cow<'a, str>, TextReader, Cow::Borrowed;
    String, TextReader, str::to_owned;
    &'a [u8], BytesReader, std::convert::identity;
    Cow<'a, [u8]>, BytesReader, Cow::Borrowed;
    Vec<u8>, BytesReader, <[u8]>::to_vec;
}
