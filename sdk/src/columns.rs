//! What crosses the boundary, as plain Rust: typed columns in Arrow's physical layout, batches and patches. In a
//! component these move from and to the generated types buffer by buffer, without a copy; natively they are all there is.

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
