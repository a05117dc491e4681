//! The component: generated bindings, and the way between their types and this crate's. Buffers are moved, never copied.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::columns::{self as plain, Batch, Column, Joined, Patch};
use crate::contract::{Contract, DeclaredLookup, Field, Given, Table};
use crate::dimensions::LookupError;
use crate::log::Level;
use crate::outcome::Failure;
use crate::plugin::{Plugin, Process};

/// Generated from `wit/stage.wit`.
#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "stage",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "millstream_sdk::__private::bindings",
    });
}

use bindings::exports::millstream::stage::transform as wit;
use bindings::millstream::stage::{columns, dimensions, log};

thread_local! {
    /// The configured stage: a component is one instance of one plugin.
    static STAGE: RefCell<Option<Box<dyn Process>>> = const { RefCell::new(None) };
}

/// A plugin as a component.
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

impl<P: Plugin> wit::Guest for Component<P> {
    fn describe() -> wit::About {
        wit::About { name: P::NAME.to_owned(), version: P::VERSION.to_owned(), config_schema: P::config_schema() }
    }

    fn configure(config: String, given: wit::Given) -> Result<wit::Contract, String> {
        let (contract, stage) = P::configure(&config, &given.into())?;
        STAGE.set(Some(stage));
        crate::panics::tell();
        Ok(contract.into())
    }

    fn process(batch: wit::Batch) -> Result<wit::Patch, wit::Failure> {
        STAGE.with_borrow_mut(|stage| match stage {
            Some(stage) => stage.process(batch.into()).map(Into::into).map_err(Into::into),
            None => Err(wit::Failure::Fatal("`process` was called before `configure`".to_owned())),
        })
    }
}

/// Hands a line to the host's log.
pub(crate) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::log(level, line);
}

/// Asks the host for rows of a table.
pub(crate) fn get_many(table: &str, key: Vec<Column>, columns: Vec<String>) -> Result<Joined, LookupError> {
    let key: Vec<columns::Column> = all(key);
    match dimensions::get_many(table, &key, &columns) {
        Ok(answer) => Ok(Joined { found: answer.found, columns: all(answer.columns) }),
        Err(error) => Err(match error {
            dimensions::LookupError::UnknownTable => LookupError::UnknownTable,
            dimensions::LookupError::NotGranted => LookupError::NotGranted,
            dimensions::LookupError::WrongKey => LookupError::WrongKey,
            dimensions::LookupError::Unavailable(why) => LookupError::Unavailable(why),
        }),
    }
}

fn all<A, B: From<A>>(values: Vec<A>) -> Vec<B> {
    values.into_iter().map(B::from).collect()
}

impl From<wit::Given> for Given {
    fn from(given: wit::Given) -> Self {
        Self {
            columns: known(given.columns),
            tables: given
                .tables
                .into_iter()
                .map(|table| Table { name: table.name, key: known(table.key), columns: known(table.columns) })
                .collect(),
            outputs: given.outputs,
        }
    }
}

/// The fields of known types: a newer host may have others.
fn known(fields: Vec<columns::Field>) -> Vec<Field> {
    let field = |field: columns::Field| {
        let logical = field.data_type.parse().ok()?;
        Some(Field { name: field.name, logical, nullable: field.nullable })
    };
    fields.into_iter().filter_map(field).collect()
}

impl From<Field> for columns::Field {
    fn from(field: Field) -> Self {
        Self { name: field.name, data_type: field.logical.to_string(), nullable: field.nullable }
    }
}

impl From<DeclaredLookup> for wit::Lookup {
    fn from(lookup: DeclaredLookup) -> Self {
        Self { table: lookup.table, key: lookup.key, columns: all(lookup.columns) }
    }
}

impl From<Contract> for wit::Contract {
    fn from(contract: Contract) -> Self {
        Self {
            reads: all(contract.reads),
            lookups: all(contract.lookups),
            writes: all(contract.writes),
            outputs: contract.outputs,
        }
    }
}

impl From<wit::Batch> for Batch {
    fn from(batch: wit::Batch) -> Self {
        let joined = |joined: wit::Joined| Joined { found: joined.found, columns: all(joined.columns) };
        Self { rows: batch.rows, columns: all(batch.columns), lookups: batch.lookups.into_iter().map(joined).collect() }
    }
}

impl From<Patch> for wit::Patch {
    fn from(patch: Patch) -> Self {
        let rejects = patch.rejects.into_iter();
        let filtered = patch.filtered.into_iter();
        Self {
            rows: patch.rows,
            columns: all(patch.columns),
            outputs: patch.outputs,
            rejects: rejects.map(|r| wit::Reject { row: r.row, reason: r.reason, detail: r.detail }).collect(),
            filtered: filtered.map(|f| wit::Filtered { reason: f.reason, rows: f.rows }).collect(),
        }
    }
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(message) => Self::Retry(message),
            Failure::Fatal(message) => Self::Fatal(message),
        }
    }
}

impl From<columns::Column> for Column {
    fn from(column: columns::Column) -> Self {
        Self { nodes: all(column.nodes) }
    }
}

impl From<Column> for columns::Column {
    fn from(column: Column) -> Self {
        Self { nodes: all(column.nodes) }
    }
}

macro_rules! nodes {
    ($from:ident, $to:ident) => {
        impl From<$from::Node> for $to::Node {
            fn from(node: $from::Node) -> Self {
                let varlen = |v: $from::Varlen| $to::Varlen { offsets: v.offsets, data: v.data };
                let values = match node.values {
                    $from::Values::None => $to::Values::None,
                    $from::Values::Bits(bitmap) => $to::Values::Bits(bitmap),
                    $from::Values::Int8(values) => $to::Values::Int8(values),
                    $from::Values::Int16(values) => $to::Values::Int16(values),
                    $from::Values::Int32(values) => $to::Values::Int32(values),
                    $from::Values::Int64(values) => $to::Values::Int64(values),
                    $from::Values::Float32(values) => $to::Values::Float32(values),
                    $from::Values::Float64(values) => $to::Values::Float64(values),
                    $from::Values::Fixed(bytes) => $to::Values::Fixed(bytes),
                    $from::Values::Varlen(values) => $to::Values::Varlen(varlen(values)),
                    $from::Values::Dictionary(dictionary) => $to::Values::Dictionary($to::Dictionary {
                        codes: dictionary.codes,
                        values: varlen(dictionary.values),
                    }),
                    $from::Values::Offsets(offsets) => $to::Values::Offsets(offsets),
                };
                $to::Node { validity: node.validity, values }
            }
        }
    };
}

nodes!(columns, plain);
nodes!(plain, columns);
