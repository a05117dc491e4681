//! What crosses the boundary, as plain Rust: typed columns in Arrow's physical layout, batches and patches. In a
//! component these move from and to the generated types buffer by buffer, without a copy; natively they are all there is.

use crate::outcome::{Failure, Reject};
use crate::read::{OutOfRange, ReadValue};
use crate::row::{self, ColumnReaders};
use crate::write::WriteValue;

/// Values of different lengths: row `i` is `data[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Varlen {
    /// One more than there are rows, ascending.
    pub offsets: Vec<u32>,
    /// All values, end to end.
    pub data: Vec<u8>,
}

/// Text that repeats: row `i` is `values[codes[i]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// One code a row; at a null row it means nothing.
    pub codes: Vec<u32>,
    /// The distinct values.
    pub values: Varlen,
}

/// The values of one node, in one of the physical layouts of `wit/stage.wit`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// A struct: its children's nodes follow.
    None,
    /// A bitmap, least significant bit first.
    Bits(Vec<u8>),
    /// 8-bit integers.
    Int8(Vec<i8>),
    /// 16-bit integers.
    Int16(Vec<i16>),
    /// 32-bit integers, and dates.
    Int32(Vec<i32>),
    /// 64-bit integers, and timestamps.
    Int64(Vec<i64>),
    /// 32-bit floats.
    Float32(Vec<f32>),
    /// 64-bit floats.
    Float64(Vec<f64>),
    /// 16 bytes a value: decimals (little endian) and uuids.
    Fixed(Vec<u8>),
    /// Text and bytes.
    Varlen(Varlen),
    /// Text that repeats.
    Dictionary(Dictionary),
    /// A list: row `i` is the child's rows `offsets[i]..offsets[i + 1]`; the child's nodes follow.
    Offsets(Vec<u32>),
}

impl Values {
    /// The layout's name in `wit/stage.wit`.
    pub fn layout(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bits(_) => "bits",
            Self::Int8(_) => "int8",
            Self::Int16(_) => "int16",
            Self::Int32(_) => "int32",
            Self::Int64(_) => "int64",
            Self::Float32(_) => "float32",
            Self::Float64(_) => "float64",
            Self::Fixed(_) => "fixed",
            Self::Varlen(_) => "varlen",
            Self::Dictionary(_) => "dictionary",
            Self::Offsets(_) => "offsets",
        }
    }
}

/// One node of a column's tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// A bitmap, least significant bit first: which rows are not null. Empty when none is.
    pub validity: Vec<u8>,
    /// The values; at a null row they mean nothing.
    pub values: Values,
}

impl From<Values> for Node {
    /// A node in which nothing is null.
    fn from(values: Values) -> Self {
        Self { validity: Vec::new(), values }
    }
}

/// A column: its tree in preorder, one node for a flat column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Column {
    /// A column of these values, for a [`Stage`](crate::Stage); fails when one does not fit.
    ///
    /// ```
    /// use millstream_sdk::{Column, Values};
    ///
    /// let column = Column::of([Some(1_i64), None]).unwrap();
    /// assert_eq!(column.nodes[0].validity, [0b01]);
    /// assert_eq!(column.nodes[0].values, Values::Int64(vec![1, 0]));
    /// ```
    pub fn of<T: WriteValue>(values: impl IntoIterator<Item = T>) -> Result<Self, OutOfRange> {
        let values = values.into_iter();
        let mut builder = T::builder(values.size_hint().0);
        for value in values {
            value.check()?;
            value.write(&mut builder);
        }
        Ok(row::finish(builder, T::finish))
    }
}

/// A column of a batch, ready to be read as a Rust type: what [`Batch::read`] makes.
#[derive(Debug)]
pub struct ColumnReader<'a, T: ReadValue<'a>> {
    reader: T::Reader,
}

impl<'a, T: ReadValue<'a>> ColumnReader<'a, T> {
    /// One row's value. Fails, as a reject, when the Rust type cannot hold it.
    ///
    /// # Panics
    /// Behind the last row.
    #[inline]
    pub fn get(&self, row: usize) -> Result<T, Reject> {
        T::read(&self.reader, row).map_err(|error| Reject::new("out_of_range", error.0))
    }
}

/// The host's answer to a declared lookup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joined {
    /// A bitmap over the rows: whether the table holds the row's key.
    pub found: Vec<u8>,
    /// The asked columns; what they hold where the key was not found means nothing.
    pub columns: Vec<Column>,
}

/// The rows of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// How many rows there are.
    pub rows: u32,
    /// The columns of `Contract::reads`, in that order.
    pub columns: Vec<Column>,
    /// The answers to `Contract::lookups`, in that order.
    pub lookups: Vec<Joined>,
}

impl Batch {
    /// The column at an index of `Contract::reads`, for a [`Stage`](crate::Stage). Its layout must be the Rust type's:
    /// timestamps can be read as `i64`, dates as `i32`, decimals as `[u8; 16]`.
    ///
    /// ```
    /// use millstream_sdk::{Batch, Column};
    ///
    /// let batch = Batch { rows: 2, columns: vec![Column::of(["a", "b"]).unwrap()], lookups: vec![] };
    /// let names = batch.read::<&str>(0).unwrap();
    /// assert_eq!(names.get(1).unwrap(), "b");
    /// ```
    pub fn read<'a, T: ReadValue<'a>>(&'a self, index: usize) -> Result<ColumnReader<'a, T>, Failure> {
        let columns = self.columns.get(index..).unwrap_or_default();
        let reader = ColumnReaders::new(columns, self.rows as usize).next::<T, _>(&index.to_string())?;
        Ok(ColumnReader { reader })
    }
}

/// A row that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The input row.
    pub row: u32,
    /// A short stable word: what rejects are counted by.
    pub reason: String,
    /// What was wrong with this row, for a person.
    pub detail: String,
}

/// Rows that were left out on purpose, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// A short stable word: what filtered rows are counted by.
    pub reason: String,
    /// The input rows.
    pub rows: Vec<u32>,
}

/// What a plugin made of a batch. Every input row is in exactly one of `rows`, `rejects`, `filtered`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// The input row of each output row, ascending; a repeat makes two rows of one. None: every row once.
    pub rows: Option<Vec<u32>>,
    /// One for each of `Contract::writes`, in that order.
    pub columns: Vec<Column>,
    /// For each output row an index into `Contract::outputs`; empty when the stage does not route.
    pub outputs: Vec<u16>,
    /// Rows that were refused.
    pub rejects: Vec<Refusal>,
    /// Rows that were left out on purpose.
    pub filtered: Vec<Filtered>,
}

impl Patch {
    /// A patch that keeps every row once and adds `columns`.
    pub fn all(columns: Vec<Column>) -> Self {
        Self { columns, ..Self::default() }
    }
}
