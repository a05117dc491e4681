//! From values to columns. Every value of a row is checked before the first one is written, so a row that does not fit
//! its columns is rejected as a whole and leaves nothing behind.

mod flat;
mod nested;
mod text;
mod time;

use crate::column_type::{ColumnType, Natural};
use crate::columns::Node;
use crate::read::OutOfRange;

/// A Rust type that can be written to a column.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written to a column",
    label = "not the type of a column that is written",
    note = "a column is written from one of: bool, i8, i16, i32, i64, f32, f64, text (&str, String, Cow<str>), bytes (&[u8], Vec<u8>, Cow<[u8]>), Decimal, Timestamp, Date, Uuid, a struct with #[derive(Struct)], and Option<..> and Vec<..> of these",
    note = "#[column(type = \"..\")] fits: decimal(p,s) to Decimal and i128, timestamp(s|ms|us|ns) to Timestamp and i64, date to Date and i32; #[column(dictionary)] fits text"
)]
pub trait WriteValue<M = Natural>: ColumnType<M> + Sized {
    /// The column in the making.
    type Builder;

    /// An empty column with room for `rows`.
    fn builder(rows: usize) -> Self::Builder;

    /// Whether the column can hold the value.
    #[inline(always)]
    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }

    /// Adds a row that passed `check`.
    fn write(self, builder: &mut Self::Builder);

    /// Adds a row that means nothing, where an `Option` around it is null.
    fn write_null(builder: &mut Self::Builder);

    /// Adds the column's nodes to `nodes`.
    fn finish(builder: Self::Builder, nodes: &mut Vec<Node>);
}

/// The length of a buffer as an offset.
///
/// # Panics
/// Beyond 4 GiB, which a batch never comes near: the host bounds it by the memory of the stage.
#[inline(always)]
fn offset(length: usize) -> u32 {
    match u32::try_from(length) {
        Ok(offset) => offset,
        Err(_) => panic!("a column of one batch grew beyond 4 GiB"),
    }
}
