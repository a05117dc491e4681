//! Unit tests of plugins, natively and without WASM: rows in as JSON, results out. They take the way that real batches
//! take: config from JSON, columns as the contract declares them, a patch back, checked as the host checks it.
//!
//! ```
//! use millstream_sdk::prelude::*;
//! use millstream_sdk::{json, testing};
//!
//! #[derive(Input)]
//! struct Click<'a> {
//!     agent: Option<&'a str>,
//!     #[lookup(table = "users", key = "user_id")]
//!     user: Option<User<'a>>,
//! }
//!
//! #[derive(Lookup)]
//! struct User<'a> {
//!     country: Option<&'a str>,
//! }
//!
//! #[derive(Output)]
//! struct Enriched<'a> {
//!     country: Option<&'a str>,
//! }
//!
//! struct Enrich;
//!
//! impl<'a> Transform<'a> for Enrich {
//!     type Config = ();
//!     type In = Click<'a>;
//!     type Out = Enriched<'a>;
//!
//!     fn new((): ()) -> Result<Self, ConfigError> {
//!         Ok(Self)
//!     }
//!
//!     fn transform(&mut self, click: Click<'a>) -> Result<Emit<Enriched<'a>>, Reject> {
//!         if click.agent == Some("bot") {
//!             return Ok(Emit::none("bot"));
//!         }
//!         let user = click.user.ok_or_else(|| Reject::new("unknown_user", ""))?;
//!         Ok(Emit::one(Enriched { country: user.country }))
//!     }
//! }
//! millstream_sdk::export!(Enrich);
//!
//! let mut plugin = testing::Setup::new(json!({}))
//!     .table("users", "user_id: int64", "country: utf8?", json!([{ "user_id": 7, "country": "DE" }]))
//!     .configure::<Enrich>()
//!     .unwrap();
//!
//! let outcome = plugin.process(json!([
//!     { "user_id": 7 },
//!     { "user_id": 7, "agent": "bot" },
//!     { "user_id": 8 },
//! ]));
//! assert_eq!(outcome.kept(), [(0, json!({ "country": "DE" }))]);
//! assert_eq!(outcome.filtered(), [(1, "bot")]);
//! assert_eq!(outcome.rejects(), [(2, "unknown_user", "")]);
//! ```
//!
//! JSON stands for values so: decimals as text (`"12.50"`) or numbers; timestamps as RFC 3339 text or a number of units;
//! dates and uuids as text; bytes as hexadecimal text. A key that is missing is null.
//!
//! The functions of this module panic when a test is wrong: a row that does not fit the columns, an unknown key.

mod cells;
mod outcome;
mod tables;

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::columns::{Batch, Column};
use crate::contract::{Contract, Field, Given};
use crate::native::{self, Instance};
use crate::outcome::Failure;
use crate::plugin::Plugin;
use crate::read::Nodes;
use crate::{LogicalType, Nested};

pub use outcome::Outcome;
use tables::{TestHost, TestTable};

/// Configures a plugin that needs no tables. The error is the one that the pipeline's author would see.
pub fn configure<P: Plugin>(config: Value) -> Result<Configured, String> {
    Setup::new(config).configure::<P>()
}

/// What stands around a plugin in the pipeline.
#[derive(Debug)]
pub struct Setup {
    config: Value,
    given: Given,
    host: TestHost,
}

impl Setup {
    /// The stage's `config`.
    pub fn new(config: Value) -> Self {
        Self { config, given: Given::default(), host: TestHost::default() }
    }

    /// The columns that reach the stage, for a generic stage that asks: `"url: utf8, seen: timestamp(ms)?"`.
    pub fn columns(mut self, columns: &str) -> Self {
        self.given.columns = fields(columns);
        self
    }

    /// The outputs that others read from the stage, for a generic stage that asks.
    pub fn outputs<'a>(mut self, outputs: impl IntoIterator<Item = &'a str>) -> Self {
        self.given.outputs = outputs.into_iter().map(str::to_owned).collect();
        self
    }

    /// A dimension: its key and its other columns (`"origin: utf8, hour: timestamp(ms)"`), and its rows.
    pub fn table(mut self, name: &str, key: &str, columns: &str, rows: Value) -> Self {
        let table = crate::Table { name: name.to_owned(), key: fields(key), columns: fields(columns) };
        self.given.tables.push(table.clone());
        self.host.tables.push(TestTable::new(table, &objects(&rows)));
        self
    }

    /// Configures the plugin. The error is the one that the pipeline's author would see.
    pub fn configure<P: Plugin>(self) -> Result<Configured, String> {
        let host = Rc::new(RefCell::new(self.host));
        let config = self.config.to_string();
        let instance = native::with_host(host.clone(), || native::configure::<P>(&config, &self.given))?;
        for lookup in &instance.contract().lookups {
            host.borrow().table(&lookup.table)?.check(lookup)?;
        }
        Ok(Configured { instance, given: self.given, host })
    }
}

/// A configured plugin.
#[derive(Debug)]
pub struct Configured {
    instance: Instance,
    given: Given,
    host: Rc<RefCell<TestHost>>,
}

impl Configured {
    /// What the plugin declared.
    pub fn contract(&self) -> &Contract {
        self.instance.contract()
    }

    /// Runs a batch: an array of objects, one a row, with the columns that the plugin reads and the keys of its lookups.
    ///
    /// # Panics
    /// When the rows do not fit the plugin's columns, the batch fails, or the patch is broken.
    pub fn process(&mut self, rows: Value) -> Outcome {
        match self.try_process(rows) {
            Ok(outcome) => outcome,
            Err(failure) => panic!("the batch failed: {failure:?}"),
        }
    }

    /// As `process`, for a batch that may fail.
    pub fn try_process(&mut self, rows: Value) -> Result<Outcome, Failure> {
        let rows = objects(&rows);
        let contract = self.instance.contract();
        self.check_names(&rows);
        let batch = Batch {
            rows: u32::try_from(rows.len()).unwrap_or_else(|_| panic!("a batch has less than 2^32 rows")),
            columns: contract.reads.iter().map(|field| column(field, &rows)).collect(),
            lookups: contract.lookups.iter().map(|lookup| self.host.borrow().join(lookup, &rows)).collect(),
        };
        let count = batch.rows;
        let instance = &mut self.instance;
        let patch = native::with_host(self.host.clone(), || instance.process(batch))?;
        let lines = std::mem::take(&mut self.host.borrow_mut().lines);
        Ok(Outcome::new(count, self.instance.contract(), patch, lines))
    }

    fn check_names(&self, rows: &[Map<String, Value>]) {
        let contract = self.instance.contract();
        let reads = contract.reads.iter().chain(&self.given.columns).map(|field| field.name.as_str());
        let known: Vec<&str> =
            reads.chain(contract.lookups.iter().flat_map(|lookup| lookup.key.iter().map(String::as_str))).collect();
        for (index, row) in rows.iter().enumerate() {
            if let Some(name) = row.keys().find(|name| !known.contains(&name.as_str())) {
                panic!("row {index} has `{name}`, which the plugin does not read; it reads {}", known.join(", "));
            }
        }
    }
}

/// A column of these values, which stand as this module says; a value that is not there is null. For tools that feed
/// plugins with JSON.
///
/// # Errors
/// What does not fit the field's type.
pub fn column_of_json(field: &Field, values: &[Option<&Value>]) -> Result<Column, String> {
    let cells: Vec<cells::Cell<'_>> = values.iter().map(|value| cells::Cell::of(*value)).collect();
    cells::column(field, &cells)
}

/// The values of a column of `rows` rows, as this module spells them.
///
/// # Errors
/// Why the column is not of the field's type.
pub fn json_of_column(field: &Field, column: &Column, rows: usize) -> Result<Vec<Value>, String> {
    let nested = Nested { logical: field.logical.clone(), nullable: field.nullable };
    let mut nodes = Nodes::new(&column.nodes, rows);
    let values = cells::values(&nested, &mut nodes).and_then(|values| nodes.end().map(|()| values));
    values.map_err(|wrong| wrong.0)
}

/// `"url: utf8, seen: timestamp(ms)?"` as fields.
fn fields(text: &str) -> Vec<Field> {
    match format!("struct<{text}>").parse() {
        Ok(LogicalType::Struct(fields)) => {
            fields.into_iter().map(|(name, Nested { logical, nullable })| Field { name, logical, nullable }).collect()
        }
        Ok(other) => panic!("`{text}` is read as {other}"),
        Err(error) => panic!("`{text}`: {error}"),
    }
}

fn objects(rows: &Value) -> Vec<Map<String, Value>> {
    let Value::Array(rows) = rows else { panic!("rows are an array of objects, not {rows}") };
    let object = |row: &Value| match row {
        Value::Object(row) => row.clone(),
        other => panic!("a row is an object, not {other}"),
    };
    rows.iter().map(object).collect()
}

/// The column of that name of all rows.
fn column(field: &Field, rows: &[Map<String, Value>]) -> Column {
    let cells: Vec<cells::Cell<'_>> = rows.iter().map(|row| cells::Cell::of(row.get(&field.name))).collect();
    cells::column(field, &cells).unwrap_or_else(|problem| panic!("column `{}`: {problem}", field.name))
}
