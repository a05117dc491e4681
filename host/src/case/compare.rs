//! Expected and actual, cell by cell.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use serde_json::{Map, Value};

use super::{Fate, Refused};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{cut, from_json, to_json};
use crate::schema::Column;

/// The longest text of a cell in the table of differences.
const CELL_MAX_BYTES: usize = 80;

/// One thing that came otherwise than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the case's file.
    pub line: usize,
    /// The cell, such as `out.host` or `views[1].host`; or `outcome`, or `detail`.
    pub what: String,
    /// What the case says.
    pub expected: String,
    /// What came.
    pub actual: String,
}

/// Compares what a row came to with what was expected. `columns_of` are the columns of the rows that go to a place.
///
/// Values count by what they mean: `12.5` is `"12.50"` in a column of `decimal(12,2)`, a key that is missing is null. What
/// the expectation leaves open (who rejected, the detail, the columns when only `to` is said) is not compared.
pub fn compare<'c>(
    line: usize,
    expected: &Fate,
    actual: &Fate,
    columns_of: impl Fn(Option<&str>) -> &'c [Column],
) -> Vec<Difference> {
    let difference = |what: String, expected: String, actual: String| Difference { line, what, expected, actual };
    let seen = seen_through(expected, actual);
    if expected.summary(false) != seen.summary(false) {
        return vec![difference("outcome".to_owned(), expected.summary(true), actual.summary(true))];
    }
    let mut found = Vec::new();
    for to in expected.destinations() {
        let (wanted, came) = (expected.rows_to(to.as_deref()), seen.rows_to(to.as_deref()));
        let place = to.clone().unwrap_or_else(|| "out".to_owned());
        for (index, (wanted, came)) in wanted.iter().zip(&came).enumerate() {
            let (Some(wanted), Some(came)) = (wanted, came) else { continue };
            let place = if came_alone(&seen, to.as_deref()) { place.clone() } else { format!("{place}[{index}]") };
            for (column, wanted, came) in cells(wanted, came, columns_of(to.as_deref())) {
                found.push(difference(format!("{place}.{column}"), wanted, came));
            }
        }
    }
    let mut rest: Vec<&Refused> = seen.rejected.iter().collect();
    for wanted in &expected.rejected {
        let same = |other: &&Refused| other.reason == wanted.reason && (wanted.by.is_none() || other.by == wanted.by);
        let same_detail = |other: &&Refused| same(other) && other.detail == wanted.detail;
        let index = rest.iter().position(same_detail).or_else(|| rest.iter().position(same));
        let Some(came) = index.map(|index| rest.remove(index)) else { continue };
        if let Some(detail) = wanted.detail.as_ref().filter(|detail| came.detail.as_ref() != Some(detail)) {
            let came = came.detail.clone().unwrap_or_default();
            found.push(difference("detail".to_owned(), shown(&detail.as_str().into()), shown(&came.into())));
        }
    }
    found
}

fn came_alone(fate: &Fate, to: Option<&str>) -> bool {
    fate.rows_to(to).len() == 1
}

/// The actual fate without what the expectation leaves open.
fn seen_through(expected: &Fate, actual: &Fate) -> Fate {
    let mut seen = actual.clone();
    if expected.rejected.iter().all(|one| one.by.is_none()) {
        seen.rejected.iter_mut().for_each(|one| one.by = None);
    }
    if expected.filtered.iter().all(|one| one.by.is_none()) {
        seen.filtered.iter_mut().for_each(|one| one.by = None);
    }
    seen
}

/// The cells of two rows that differ: name, expected, actual.
fn cells(wanted: &Map<String, Value>, came: &Map<String, Value>, columns: &[Column]) -> Vec<(String, String, String)> {
    let mut differing = Vec::new();
    for column in columns {
        let is = came.get(&column.name).unwrap_or(&Value::Null);
        let said = wanted.get(&column.name).unwrap_or(&Value::Null);
        match canonical(column, said) {
            Ok(said) if said == *is => {}
            Ok(said) => differing.push((column.name.clone(), shown(&said), shown(is))),
            Err(wrong) => differing.push((column.name.clone(), format!("{} ({wrong})", shown(said)), shown(is))),
        }
    }
    for (name, said) in wanted.iter().filter(|(name, _)| !columns.iter().any(|column| column.name == **name)) {
        differing.push((name.clone(), shown(said), "no such column".to_owned()));
    }
    differing
}

/// A value as the column spells it.
fn canonical(column: &Column, value: &Value) -> Result<Value, String> {
    let column = Column { nullable: true, ..column.clone() };
    let array = from_json(&column, &[Some(value)])?;
    let values = to_json(&array, &column).map_err(|error| error.to_string())?;
    values.into_iter().next().ok_or_else(|| "it has no value".to_owned())
}

fn shown(value: &Value) -> String {
    cut(value.to_string(), CELL_MAX_BYTES)
}

/// The differences as a table for a person.
pub fn table(differences: &[Difference]) -> Result<String> {
    let texts = |text: fn(&Difference) -> String| -> ArrayRef {
        Arc::new(differences.iter().map(|difference| Some(text(difference))).collect::<StringArray>())
    };
    pretty(vec![
        ("line", texts(|difference| difference.line.to_string())),
        ("what", texts(|difference| difference.what.clone())),
        ("expected", texts(|difference| difference.expected.clone())),
        ("actual", texts(|difference| difference.actual.clone())),
    ])
}

/// What became of rows, as a table for a person: line, outcome.
pub fn outcomes(fates: &[(usize, &Fate)]) -> Result<String> {
    let line = fates.iter().map(|(line, _)| Some(line.to_string())).collect::<StringArray>();
    let rows = |fate: &Fate| {
        let rows = fate.made.iter().filter_map(|made| made.row.as_ref().filter(|row| !row.is_empty()));
        let rows: Vec<String> = rows.map(|row| shown(&Value::Object(row.clone()))).collect();
        rows.join("\n")
    };
    let outcome = fates.iter().map(|(_, fate)| Some(cut(fate.summary(true), CELL_MAX_BYTES))).collect::<StringArray>();
    let rows = fates.iter().map(|(_, fate)| Some(rows(fate))).collect::<StringArray>();
    pretty(vec![("line", Arc::new(line)), ("outcome", Arc::new(outcome)), ("rows", Arc::new(rows))])
}

fn pretty(columns: Vec<(&str, ArrayRef)>) -> Result<String> {
    RecordBatch::try_from_iter(columns)
        .and_then(|rows| pretty_format_batches(&[rows]).map(|table| table.to_string()))
        .map_err(|error| Error::new(ErrorKind::Internal, "a table cannot be drawn").caused_by(error))
}
