//! `get-many`: lookups that a plugin makes itself, for keys that it computes. It sees the tables that it was granted, and
//! for the length of a call one snapshot of each. The host's time in them does not count as the plugin's, so the keys are
//! counted instead.

use arrow::array::ArrayRef;
use wasmtime::bail;

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

/// Most keys that a plugin may look up in one call of `process`, for each row of the batch ..
pub const GET_MANY_KEYS_PER_ROW: u64 = 64;
/// .. and beside them.
pub const GET_MANY_KEYS_BESIDE: u64 = 4_096;
/// A call of `get-many` counts as one for at least so many keys: that is what a call by itself costs.
pub const GET_MANY_KEYS_MIN: u64 = 16;

/// The keys that a call for so many rows may look up.
pub fn keys_allowed(rows: usize) -> u64 {
    GET_MANY_KEYS_BESIDE.saturating_add(GET_MANY_KEYS_PER_ROW.saturating_mul(rows as u64))
}

impl Host for State {
    fn get_many(
        &mut self,
        table: String,
        key: Vec<ColumnResult>,
        columns: Vec<String>,
    ) -> wasmtime::Result<Result<Answer, LookupError>> {
        let keys = key.iter().find_map(rows).unwrap_or(0) as u64;
        if !self.keys.take(keys.max(GET_MANY_KEYS_MIN)) {
            let limit = self.keys.limit;
            bail!("get-many was asked for more than the {limit} keys that a call of this many rows may look up");
        }
        let began = worked();
        let answer = self
            .tables
            .iter()
            .find(|granted| granted.table.name == table)
            .ok_or(LookupError::NotGranted)
            .and_then(|granted| get_many(granted, key, &columns));
        self.call.leave_out_since(began);
        Ok(answer)
    }
}

fn get_many(granted: &GrantedTable, key: Vec<ColumnResult>, asked: &[String]) -> Result<Answer, LookupError> {
    let table = &granted.table;
    let snapshot = granted.snapshot.as_ref().ok_or(LookupError::NotGranted)?;
    // More columns than there are would be some of them several times: an answer of any size.
    if key.len() != table.key.len() || asked.len() > table.columns.len() {
        return Err(LookupError::WrongKey);
    }
    let index = |name: &String| table.columns.iter().position(|column| column.name == *name);
    let asked: Vec<usize> = asked.iter().map(index).collect::<Option<_>>().ok_or(LookupError::WrongKey)?;
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
