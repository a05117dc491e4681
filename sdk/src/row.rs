//! Rows as structs: what the derives `Input`, `Lookup`, `Output` and `Struct` implement, and what their code calls.

use crate::bits;
use crate::column_type::ColumnType;
use crate::columns::{Batch, Column, Joined, Node, Values};
use crate::contract::{Contract, DeclaredLookup, Field};
use crate::outcome::{Failure, Reject};
use crate::read::{Nodes, OutOfRange, ReadValue, WrongShape};

/// A row as it is read: the columns that a plugin reads and the lookups that it declares.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row that is read",
    label = "not an input row",
    note = "put #[derive(Input)] on the struct"
)]
pub trait Input<'a>: Sized {
    /// Readers of all columns, made once a batch.
    type Columns;

    /// Adds what is read to the contract.
    fn declare(contract: &mut Contract);

    /// Makes the readers.
    fn columns(batch: &'a Batch) -> Result<Self::Columns, Failure>;

    /// One row.
    fn row(columns: &Self::Columns, row: usize) -> Result<Self, Reject>;
}

/// A row of a dimension table.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of a table",
    label = "not a table's row",
    note = "put #[derive(Lookup)] on the struct"
)]
pub trait Lookup<'a>: Sized {
    /// Readers of all columns, made once a batch.
    type Columns;

    /// The table's columns that are read.
    fn fields() -> Vec<Field>;

    /// Makes the readers.
    fn columns(columns: &mut ColumnReaders<'a>) -> Result<Self::Columns, Failure>;

    /// One row; only asked for rows whose key was found.
    fn row(columns: &Self::Columns, row: usize) -> Result<Self, Reject>;
}

/// A row as it is written: the columns that a plugin adds or replaces.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row that is written",
    label = "not an output row",
    note = "put #[derive(Output)] on the struct; `()` writes nothing"
)]
pub trait Output: Sized {
    /// The columns in the making.
    type Columns;

    /// The written columns.
    fn fields() -> Vec<Field>;

    /// Empty columns with room for `rows`.
    fn columns(rows: usize) -> Self::Columns;

    /// Whether the columns can hold the row.
    fn check(&self) -> Result<(), Reject>;

    /// Adds a row that passed `check`.
    fn write(self, columns: &mut Self::Columns);

    /// The columns.
    fn finish(columns: Self::Columns) -> Vec<Column>;
}

/// Writes nothing: the stage only filters, rejects or multiplies rows.
impl Output for () {
    type Columns = ();

    fn fields() -> Vec<Field> {
        Vec::new()
    }

    fn columns(_: usize) -> Self::Columns {}

    fn check(&self) -> Result<(), Reject> {
        Ok(())
    }

    fn write(self, (): &mut Self::Columns) {}

    fn finish((): Self::Columns) -> Vec<Column> {
        Vec::new()
    }
}

/// Takes columns one by one and makes their readers.
#[derive(Debug)]
pub struct ColumnReaders<'a> {
    columns: std::slice::Iter<'a, Column>,
    rows: usize,
}

impl<'a> ColumnReaders<'a> {
    /// The readers of columns of `rows` rows.
    pub fn new(columns: &'a [Column], rows: usize) -> Self {
        Self { columns: columns.iter(), rows }
    }

    /// The reader of the next column, which goes by `name`.
    pub fn next<T: ReadValue<'a, M>, M>(&mut self, name: &str) -> Result<T::Reader, Failure> {
        let column = self
            .columns
            .next()
            .ok_or_else(|| Failure::fatal(format!("column `{name}` did not come with the batch")))?;
        let mut nodes = Nodes::new(&column.nodes, self.rows);
        let reader = T::reader(&mut nodes);
        match reader.and_then(|reader| nodes.end().map(|()| reader)) {
            Ok(reader) => Ok(reader),
            Err(wrong) => {
                let declared = T::logical();
                Err(Failure::fatal(format!("column `{name}` was read as {declared}, but {}", wrong.0)))
            }
        }
    }
}

/// The answer to a lookup, ready to be read.
#[derive(Debug)]
pub struct Found<'a, C> {
    found: &'a [u8],
    columns: C,
}

impl<'a, C> Found<'a, C> {
    /// Makes the readers of an answer's columns.
    pub fn new<T: Lookup<'a, Columns = C>>(joined: &'a Joined, rows: usize) -> Result<Self, Failure> {
        Ok(Self { found: &joined.found, columns: T::columns(&mut ColumnReaders::new(&joined.columns, rows))? })
    }

    /// The table's row, when the key was found.
    #[inline(always)]
    pub fn row<T: Lookup<'a, Columns = C>>(&self, row: usize) -> Result<Option<T>, Reject> {
        if bits::is_set(self.found, row) { T::row(&self.columns, row).map(Some) } else { Ok(None) }
    }
}

/// The readers of the answer to the lookup at `index`, for the code of the derive.
pub fn found<'a, T: Lookup<'a>>(batch: &'a Batch, index: usize) -> Result<Found<'a, T::Columns>, Failure> {
    let joined = batch
        .lookups
        .get(index)
        .ok_or_else(|| Failure::fatal(format!("the answer to lookup {index} did not come with the batch")))?;
    Found::new::<T>(joined, batch.rows as usize)
}

/// Asks for a type that can be read, once, for the code of the derives.
pub fn is_read<'a, T: ReadValue<'a, M>, M>() {}

/// Asks for a row of a table, once, for the code of the derive.
pub fn is_looked_up<'a, T: Lookup<'a>>() {}

/// A field of a contract, for the code of the derives.
pub fn field<T: ColumnType<M>, M>(name: &str) -> Field {
    Field { name: name.to_owned(), logical: T::logical(), nullable: T::NULLABLE }
}

/// A lookup of a contract, for the code of the derive.
pub fn lookup<'a, T: Lookup<'a>>(table: &str, key: &[&str]) -> DeclaredLookup {
    DeclaredLookup {
        table: table.to_owned(),
        key: key.iter().map(|column| (*column).to_owned()).collect(),
        columns: T::fields(),
    }
}

/// The reject of a row that holds a value that does not fit, for the code of the derives.
#[cold]
pub fn out_of_range(column: &str, error: OutOfRange) -> Reject {
    Reject::new("out_of_range", format!("column `{column}`: {}", error.0))
}

/// The finished column, for the code of the derives.
pub fn finish<B>(builder: B, finish: impl FnOnce(B, &mut Vec<Node>)) -> Column {
    let mut nodes = Vec::with_capacity(1);
    finish(builder, &mut nodes);
    Column { nodes }
}

/// Takes the node of a struct, for the code of the derive.
pub fn take_struct(nodes: &mut Nodes<'_>) -> Result<(), WrongShape> {
    match nodes.take()? {
        Node { values: Values::None, .. } => Ok(()),
        node => Err(WrongShape(format!("its values are `{}`, not `none`", node.values.layout()))),
    }
}
