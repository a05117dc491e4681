//! The bytes of a column's values, as hashes and tokens are made of them: text as it is, bytes as they are, numbers and
//! UUIDs in their text form, so that `42` is the same whether it came as a number or as a text.

use std::fmt::Write;

use millstream_sdk::columnwise::Texts;
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType, Node, Values, Varlen};

/// What error messages say about types.
pub const KINDS: &str = "utf8, binary, uuid and the int types";

/// Values one after the other.
pub type Bytes<'i, 'v> = &'i mut (dyn ExactSizeIterator<Item = &'v [u8]> + 'i);

/// Whether the values of a type have bytes here.
pub fn has_bytes(logical: &LogicalType) -> bool {
    use LogicalType::{Binary, Int8, Int16, Int32, Int64, Utf8, Uuid};
    matches!(logical, Utf8 | Binary | Uuid | Int8 | Int16 | Int32 | Int64)
}

/// A column of what `work` makes of the values: of text that came as a dictionary once per distinct value.
pub fn map(
    column: &Column,
    logical: &LogicalType,
    rows: usize,
    work: impl FnOnce(Bytes<'_, '_>) -> Values,
) -> Result<Column, Failure> {
    if *logical == LogicalType::Utf8 {
        let texts = Texts::of(column, rows)?;
        let values = work(&mut (0..texts.slots()).map(|slot| texts.slot(slot).as_bytes()));
        return Ok(texts.spread(Column { nodes: vec![values.into()] }));
    }
    let [node] = column.nodes.as_slice() else { return Err(Failure::fatal("a flat column came with several nodes")) };
    let values = match &node.values {
        Values::Varlen(values) => work(&mut each(values)),
        Values::Int8(values) => work(&mut each(&texts(values))),
        Values::Int16(values) => work(&mut each(&texts(values))),
        Values::Int32(values) => work(&mut each(&texts(values))),
        Values::Int64(values) => work(&mut each(&texts(values))),
        Values::Fixed(bytes) => {
            let uuids: Vec<Uuid> = bytes.as_chunks().0.iter().map(|bytes| Uuid::from_bytes(*bytes)).collect();
            work(&mut each(&texts(&uuids)))
        }
        other => return Err(Failure::fatal(format!("a column of {logical} came as `{}`", other.layout()))),
    };
    Ok(Column { nodes: vec![Node { validity: node.validity.clone(), values }] })
}

fn each(values: &Varlen) -> impl ExactSizeIterator<Item = &[u8]> {
    values.offsets.windows(2).map(|ends| &values.data[ends[0] as usize..ends[1] as usize])
}

fn texts<T: std::fmt::Display>(values: &[T]) -> Varlen {
    let mut texts = Varlen::with_capacity(values.len(), 20 * values.len());
    let mut text = String::new();
    for value in values {
        text.clear();
        // Writing to a String does not fail.
        let _ = write!(text, "{value}");
        texts.push(text.as_bytes());
    }
    texts
}
