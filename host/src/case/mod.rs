//! Cases: rows in a file, with what should become of them. `plugin test`, `plugin bench` and `test` run them, and a capture
//! is a case without expectations. `docs/cases.md` describes the file.
//!
//! `file` reads and writes it, `fate` is what becomes of one row, `trial` sets a plugin or a pipeline up on a case's
//! tables and takes its rows through the one tree ([`crate::pipeline::Walk`]), `records` makes rows to what sources give,
//! `memory` keeps what comes out, `compare` holds it against the expectation; `bench` measures.

mod bench;
mod compare;
mod fate;
mod file;
mod memory;
mod records;
#[cfg(test)]
mod tests;
mod trial;

pub use bench::{Cost, bench};
pub use compare::{Difference, compare, outcomes, table};
pub use fate::{Fate, LeftOut, Made, Refused};
pub use file::{Case, FORMAT, Header, Row, TableTypes, row_line, table_line, types};
pub use trial::Trial;

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One plugin: rows go in as its contract reads them, in its own names.
    Plugin,
    /// A whole pipeline: records go in as its sources read them.
    Pipeline,
}
