//! `get-many`: lookups that a plugin makes itself, for keys that it computes. It sees the tables that it was granted, and
//! for the length of a call one snapshot of each.

use arrow::array::ArrayRef;

use super::bindings::columns::{ColumnResult, ValuesResult};
use super::bindings::dimensions::{Answer, Host, LookupError};
use super::columns;
use super::sandbox::{State, worked};
use crate::contract::Table;
use crate::dimension::Snapshot;

/// A dimension that a plugin may read.
pub struct GrantedTable {
    /// What the plugin knows of it.
    pub table: Table,
    /// Its rows, pinned for the length of `process`; none for a table that it knows of and may not read.
    pub snapshot: Option<Snapshot>,
}

impl Host for State {
    fn get_many(&mut self, table: String, key: Vec<ColumnResult>, columns: Vec<String>) -> Result<Answer, LookupError> {
        let began = worked();
        let answer = self
            .tables
            .iter()
            .find(|granted| granted.table.name == table)
            .ok_or(LookupError::NotGranted)
            .and_then(|granted| get_many(granted, key, &columns));
        self.call.leave_out_since(began);
        answer
    }
}

fn get_many(granted: &GrantedTable, key: Vec<ColumnResult>, asked: &[String]) -> Result<Answer, LookupError> {
    let table = &granted.table;
    let snapshot = granted.snapshot.as_ref().ok_or(LookupError::NotGranted)?;
    let index = |name: &String| {
        let found = table.columns.iter().position(|column| column.name == *name);
        found.ok_or_else(|| LookupError::Unavailable(format!("\"{}\" has no column \"{name}\"", table.name)))
    };
    let asked = asked.iter().map(index).collect::<Result<Vec<usize>, _>>()?;
    if key.len() != table.key.len() {
        return Err(LookupError::WrongKey);
    }
    let keys = key.iter().find_map(rows).ok_or(LookupError::WrongKey)?;
    // A key with a null in it is never found; it is no error to ask for one.
    let nullable = table.key.iter().map(|part| crate::schema::Column { nullable: true, ..part.clone() });
    let lifted = key.into_iter().zip(nullable).map(|(part, declared)| columns::lift(part, &declared, keys));
    let key: Vec<ArrayRef> = lifted.collect::<Result<_, String>>().map_err(|_| LookupError::WrongKey)?;
    let unavailable = |error: crate::error::Error| LookupError::Unavailable(error.to_string());
    let joined = snapshot.lookup(&key, &asked).map_err(unavailable)?;
    let lowered = joined.columns.iter().zip(&asked).map(|(array, column)| {
        columns::lower(array, &table.columns[*column]).map(columns::Lowered::into_column).map_err(unavailable)
    });
    Ok(Answer { columns: lowered.collect::<Result<_, _>>()?, found: columns::bitmap(&joined.found).to_vec() })
}

/// How many rows a flat column has; a bitmap does not say.
fn rows(column: &ColumnResult) -> Option<usize> {
    Some(match &column.nodes.first()?.values {
        ValuesResult::Int8(values) => values.len(),
        ValuesResult::Int16(values) => values.len(),
        ValuesResult::Int32(values) => values.len(),
        ValuesResult::Int64(values) => values.len(),
        ValuesResult::Float32(values) => values.len(),
        ValuesResult::Float64(values) => values.len(),
        ValuesResult::Fixed(bytes) => bytes.len() / 16,
        ValuesResult::Varlen(values) => values.offsets.len().saturating_sub(1),
        ValuesResult::Dictionary(dictionary) => dictionary.codes.len(),
        ValuesResult::None | ValuesResult::Bits(_) | ValuesResult::Offsets(_) => return None,
    })
}
