//! Nullable values and lists; structs are read by the code of their derive.

use super::{Nodes, OutOfRange, ReadValue, WrongShape, wrong_layout};
use crate::bits;
use crate::columns::Values;

/// A nullable value: the validity, and the reader of what is not null.
#[derive(Debug)]
pub struct OptionReader<'a, R> {
    validity: &'a [u8],
    value: R,
}

impl<'a, T: ReadValue<'a, M>, M> ReadValue<'a, M> for Option<T> {
    type Reader = OptionReader<'a, T::Reader>;

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        let validity = &nodes.peek()?.validity;
        if !validity.is_empty() && validity.len() < nodes.rows().div_ceil(8) {
            return Err(WrongShape(format!("its validity has {} bytes for {} rows", validity.len(), nodes.rows())));
        }
        Ok(OptionReader { validity, value: T::reader(nodes)? })
    }

    #[inline(always)]
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        if reader.validity.is_empty() || bits::is_set(reader.validity, row) {
            T::read(&reader.value, row).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// A list: where each row's items lie, and the reader of the items.
#[derive(Debug)]
pub struct ListReader<'a, R> {
    offsets: &'a [u32],
    items: R,
}

impl<'a, T: ReadValue<'a, M>, M> ReadValue<'a, M> for Vec<T> {
    type Reader = ListReader<'a, T::Reader>;

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        let rows = nodes.rows();
        let node = nodes.take()?;
        let Values::Offsets(offsets) = &node.values else { return wrong_layout(node, "offsets") };
        super::check_rows(offsets.len().saturating_sub(1), rows)?;
        let items = offsets.last().map_or(0, |last| *last as usize);
        Ok(ListReader { offsets, items: nodes.with_rows(items, T::reader)? })
    }

    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        (reader.offsets[row]..reader.offsets[row + 1]).map(|item| T::read(&reader.items, item as usize)).collect()
    }
}
