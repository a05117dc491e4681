//! The values of a block while it is filled: one copy of each value, no allocation a record.

use arrow::array::{BinaryArray, NullBufferBuilder};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use crate::error::{Error, ErrorKind, Result};

/// Byte strings that follow one another; becomes an Arrow array without a further copy.
pub(super) struct ByteColumn {
    ends: Vec<i32>,
    bytes: Vec<u8>,
    present: NullBufferBuilder,
}

impl ByteColumn {
    /// An empty column with room for so many rows and bytes.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { ends, bytes: Vec::with_capacity(bytes), present: NullBufferBuilder::new(rows) }
    }

    /// Appends a value.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(value) => {
                self.bytes.extend_from_slice(value);
                self.present.append_non_null();
            }
            None => self.present.append_null(),
        }
        // Blocks are a few MiB; this guards against bounds that somebody set beyond what Arrow's 32-bit offsets hold.
        let end = i32::try_from(self.bytes.len()).map_err(|_| too_large(self.bytes.len()))?;
        self.ends.push(end);
        Ok(())
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// The bytes of all values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The values as an array.
    pub fn finish(mut self) -> BinaryArray {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        BinaryArray::new(offsets, Buffer::from_vec(self.bytes), self.present.finish())
    }
}

fn too_large(bytes: usize) -> Error {
    Error::new(ErrorKind::Config, format!("a block of records reached {bytes} bytes, more than 2 GiB"))
        .help("lower `bytes` in [batch]")
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    #[test]
    fn values_and_nulls_come_back() {
        let mut column = ByteColumn::with_capacity(0, 0);
        for value in [Some(&b"one"[..]), None, Some(b""), Some(b"four")] {
            column.push(value).unwrap();
        }
        assert_eq!((column.len(), column.bytes()), (4, 7));
        let array = column.finish();
        let values: Vec<_> = array.iter().collect();
        assert_eq!(values, [Some(&b"one"[..]), None, Some(b""), Some(b"four")]);
    }

    #[test]
    fn without_nulls_there_is_no_bitmap() {
        let mut column = ByteColumn::with_capacity(1, 1);
        column.push(Some(b"x")).unwrap();
        assert!(column.finish().nulls().is_none());
    }
}
