//! From columns to values. A column's layout is looked at once a batch, when its reader is made; reading a row is then
//! an indexed load or two, inlined into the code that builds the row.
//!
//! What the host sends is trusted in shape, never in memory: lengths are checked once, when the reader is made, every
//! access is checked as well, and an offset or a code that points nowhere is a panic (in a component, a trap).

mod flat;
mod nested;
mod text;
mod time;

use crate::column_type::{ColumnType, Natural};
use crate::columns::Node;

/// A value that a Rust type cannot hold or that a column cannot hold: the row is rejected with reason `out_of_range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange(pub String);

/// A column in another layout than its logical type has: the host and the plugin do not agree, the batch fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongShape(pub String);

/// A Rust type that can be read from a column.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a column",
    label = "not the type of a column that is read",
    note = "a column is read as one of: bool, i8, i16, i32, i64, f32, f64, text (&str, String, Cow<str>), bytes (&[u8], Vec<u8>, Cow<[u8]>), Decimal, Timestamp, Date, Uuid, a struct with #[derive(Struct)], and Option<..> and Vec<..> of these",
    note = "#[column(type = \"..\")] fits: decimal(p,s) to Decimal and i128, timestamp(s|ms|us|ns) to Timestamp and i64, date to Date and i32"
)]
pub trait ReadValue<'a, M = Natural>: ColumnType<M> + Sized {
    /// What is resolved once a batch.
    type Reader;

    /// Takes the column's nodes.
    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape>;

    /// One row's value.
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange>;
}

/// The nodes of a column that were not taken yet, and how many rows the next one has.
#[derive(Clone, Debug)]
pub struct Nodes<'a> {
    nodes: &'a [Node],
    rows: usize,
}

impl<'a> Nodes<'a> {
    /// The nodes of a column of `rows` rows.
    pub fn new(nodes: &'a [Node], rows: usize) -> Self {
        Self { nodes, rows }
    }

    /// The rows of the next node.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The next node, without taking it.
    pub fn peek(&self) -> Result<&'a Node, WrongShape> {
        self.nodes.first().ok_or_else(|| WrongShape("it has too few nodes".to_owned()))
    }

    /// Takes the next node.
    pub fn take(&mut self) -> Result<&'a Node, WrongShape> {
        let node = self.peek()?;
        self.nodes = &self.nodes[1..];
        Ok(node)
    }

    /// Takes what `take` takes, with another number of rows: a list's child.
    pub(crate) fn with_rows<T>(
        &mut self,
        rows: usize,
        take: impl FnOnce(&mut Self) -> Result<T, WrongShape>,
    ) -> Result<T, WrongShape> {
        let outer = std::mem::replace(&mut self.rows, rows);
        let taken = take(self);
        self.rows = outer;
        taken
    }

    /// Fails when nodes are left.
    pub fn end(&self) -> Result<(), WrongShape> {
        if self.nodes.is_empty() { Ok(()) } else { Err(WrongShape("it has too many nodes".to_owned())) }
    }
}

/// Whether a buffer that holds `found` values fits `rows` rows.
fn check_rows(found: usize, rows: usize) -> Result<(), WrongShape> {
    if found == rows { Ok(()) } else { Err(WrongShape(format!("it holds {found} values for {rows} rows"))) }
}

#[cold]
fn wrong_layout<T>(node: &Node, expected: &str) -> Result<T, WrongShape> {
    Err(WrongShape(format!("its values are `{}`, not `{expected}`", node.values.layout())))
}
