//! The tables of a test, and the host that answers for them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::cells::{self, Cell};
use crate::bits::Bits;
use crate::columns::{Column, Joined};
use crate::contract::{DeclaredLookup, Field, Table};
use crate::dimensions::LookupError;
use crate::log::Level;
use crate::native::Host;
use crate::read::Nodes;
use crate::{LogicalType, Nested};

/// A table with its rows.
#[derive(Debug)]
pub struct TestTable {
    table: Table,
    rows: Vec<Map<String, Value>>,
    row_of_key: HashMap<String, usize>,
}

impl TestTable {
    pub fn new(table: Table, rows: &[Map<String, Value>]) -> Self {
        let key_columns: Vec<Column> = table.key.iter().map(|field| super::column(field, rows)).collect();
        let keys =
            keys(&table, &key_columns, rows.len()).unwrap_or_else(|_| panic!("table `{}`: its keys", table.name));
        let row_of_key = keys.into_iter().enumerate().filter_map(|(row, key)| Some((key?, row))).collect();
        for field in &table.columns {
            super::column(field, rows);
        }
        Self { table, rows: rows.to_vec(), row_of_key }
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.table.columns.iter().chain(&self.table.key).find(|field| field.name == name)
    }

    /// Whether the table has what a plugin declares to look up.
    pub fn check(&self, lookup: &DeclaredLookup) -> Result<(), String> {
        let table = &self.table.name;
        if lookup.key.len() != self.table.key.len() {
            return Err(format!(
                "table `{table}` has a key of {} columns, not {}",
                self.table.key.len(),
                lookup.key.len()
            ));
        }
        for asked in &lookup.columns {
            match self.field(&asked.name) {
                None => return Err(format!("table `{table}` has no column `{}`", asked.name)),
                Some(field) if field.logical != asked.logical || (field.nullable && !asked.nullable) => {
                    let Field { name, logical, nullable } = field;
                    let null = if *nullable { "?" } else { "" };
                    return Err(format!(
                        "column `{name}` of table `{table}` is {logical}{null}, read as {}",
                        asked.logical
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn answer(&self, keys: &[Option<String>], columns: &[String]) -> Result<Joined, LookupError> {
        let rows: Vec<_> = keys.iter().map(|key| Some(&self.rows[*self.row_of_key.get(key.as_ref()?)?])).collect();
        let mut found = Bits::with_capacity(rows.len());
        rows.iter().for_each(|row| found.push(row.is_some()));
        let column = |name: &String| {
            let field = self.field(name).ok_or(LookupError::WrongKey)?;
            let cells: Vec<Cell<'_>> =
                rows.iter().map(|row| row.map_or(Cell::Filler, |row| Cell::of(row.get(name)))).collect();
            cells::column(field, &cells).map_err(LookupError::Unavailable)
        };
        Ok(Joined { found: found.finish(), columns: columns.iter().map(column).collect::<Result<_, _>>()? })
    }
}

/// Each row's key as text; none for a key with a null in it, which is never found.
fn keys(table: &Table, columns: &[Column], rows: usize) -> Result<Vec<Option<String>>, LookupError> {
    if columns.len() != table.key.len() {
        return Err(LookupError::WrongKey);
    }
    let mut keys: Vec<Option<String>> = vec![Some(String::new()); rows];
    for (field, column) in table.key.iter().zip(columns) {
        let nested = Nested { logical: field.logical.clone(), nullable: true };
        let mut nodes = Nodes::new(&column.nodes, rows);
        let parts = cells::values(&nested, &mut nodes).map_err(|_| LookupError::WrongKey)?;
        for (key, part) in keys.iter_mut().zip(parts) {
            *key = key.take().filter(|_| !part.is_null()).map(|key| format!("{key}{part},"));
        }
    }
    Ok(keys)
}

/// The tables, and what was logged.
#[derive(Debug, Default)]
pub struct TestHost {
    pub tables: Vec<TestTable>,
    pub lines: Vec<(Level, String)>,
}

impl TestHost {
    /// The table of that name.
    pub fn table(&self, name: &str) -> Result<&TestTable, String> {
        let found = self.tables.iter().find(|table| table.table.name == name);
        found.ok_or_else(|| format!("the plugin looks up in table `{name}`, which the test does not set up"))
    }

    /// Answers a declared lookup for rows that hold the columns of the key.
    pub fn join(&self, lookup: &DeclaredLookup, rows: &[Map<String, Value>]) -> Joined {
        let answer = self.table(&lookup.table).and_then(|table| {
            let part = |(name, field): (&String, &Field)| {
                let logical: LogicalType = field.logical.clone();
                super::column(&Field { name: name.clone(), logical, nullable: true }, rows)
            };
            let key: Vec<Column> = lookup.key.iter().zip(&table.table.key).map(part).collect();
            let columns: Vec<String> = lookup.columns.iter().map(|field| field.name.clone()).collect();
            keys(&table.table, &key, rows.len())
                .and_then(|keys| table.answer(&keys, &columns))
                .map_err(|error| format!("lookup in `{}`: {error:?}", lookup.table))
        });
        answer.unwrap_or_else(|problem| panic!("{problem}"))
    }
}

impl Host for TestHost {
    fn log(&mut self, level: Level, line: &str) {
        self.lines.push((level, line.to_owned()));
    }

    fn get_many(&mut self, table: &str, key: Vec<Column>, columns: Vec<String>) -> Result<Joined, LookupError> {
        let table = self.table(table).map_err(|_| LookupError::UnknownTable)?;
        let rows = key.first().and_then(|column| column.nodes.first()).map_or(0, rows_of);
        let keys = keys(&table.table, &key, rows)?;
        table.answer(&keys, &columns)
    }
}

/// The rows of a flat node. Booleans are no keys.
fn rows_of(node: &crate::columns::Node) -> usize {
    use crate::columns::Values;
    match &node.values {
        Values::None | Values::Bits(_) => 0,
        Values::Int8(values) => values.len(),
        Values::Int16(values) => values.len(),
        Values::Int32(values) => values.len(),
        Values::Int64(values) => values.len(),
        Values::Float32(values) => values.len(),
        Values::Float64(values) => values.len(),
        Values::Fixed(bytes) => bytes.len() / 16,
        Values::Varlen(values) => values.offsets.len().saturating_sub(1),
        Values::Dictionary(dictionary) => dictionary.codes.len(),
        Values::Offsets(offsets) => offsets.len().saturating_sub(1),
    }
}
