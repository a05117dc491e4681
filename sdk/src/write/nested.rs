//! Nullable values and lists; structs are written by the code of their derive.

use super::{WriteValue, offset};
use crate::bits::Validity;
use crate::columns::{Node, Values};
use crate::read::OutOfRange;

/// A nullable column in the making.
#[derive(Debug)]
pub struct OptionBuilder<B> {
    validity: Validity,
    value: B,
}

impl<T: WriteValue<M>, M> WriteValue<M> for Option<T> {
    type Builder = OptionBuilder<T::Builder>;

    fn builder(rows: usize) -> Self::Builder {
        OptionBuilder { validity: Validity::default(), value: T::builder(rows) }
    }

    #[inline(always)]
    fn check(&self) -> Result<(), OutOfRange> {
        match self {
            Some(value) => value.check(),
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn write(self, builder: &mut Self::Builder) {
        match self {
            Some(value) => {
                builder.validity.push_valid();
                value.write(&mut builder.value);
            }
            None => Self::write_null(builder),
        }
    }

    #[inline]
    fn write_null(builder: &mut Self::Builder) {
        builder.validity.push_null();
        T::write_null(&mut builder.value);
    }

    fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
        let own = nodes.len();
        T::finish(builder.value, nodes);
        nodes[own].validity = builder.validity.finish();
    }
}

/// A column of lists in the making.
#[derive(Debug)]
pub struct ListBuilder<B> {
    offsets: Vec<u32>,
    length: usize,
    items: B,
}

impl<T: WriteValue<M>, M> WriteValue<M> for Vec<T> {
    type Builder = ListBuilder<T::Builder>;

    fn builder(rows: usize) -> Self::Builder {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        ListBuilder { offsets, length: 0, items: T::builder(rows) }
    }

    fn check(&self) -> Result<(), OutOfRange> {
        self.iter().try_for_each(T::check)
    }

    fn write(self, builder: &mut Self::Builder) {
        builder.length += self.len();
        for item in self {
            item.write(&mut builder.items);
        }
        builder.offsets.push(offset(builder.length));
    }

    fn write_null(builder: &mut Self::Builder) {
        builder.offsets.push(offset(builder.length));
    }

    fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
        nodes.push(Values::Offsets(builder.offsets).into());
        T::finish(builder.items, nodes);
    }
}
