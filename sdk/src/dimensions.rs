//! Lookups of keys that a stage computes itself. Where the key is a column, declare the lookup on a field of the input
//! (`#[lookup(..)]`): the host then answers it once a batch, before the call, and it costs no crossing.
//!
//! ```
//! use millstream_sdk::prelude::*;
//! use millstream_sdk::{dimensions, json, testing};
//!
//! #[derive(Input)]
//! struct Visit<'a> {
//!     address: &'a str,
//! }
//!
//! #[derive(Lookup)]
//! struct Network<'a> {
//!     owner: &'a str,
//! }
//!
//! #[derive(Output)]
//! struct Owned {
//!     owner: Option<String>,
//! }
//!
//! struct FindOwner;
//!
//! impl<'a> Transform<'a> for FindOwner {
//!     type Config = ();
//!     type In = Visit<'a>;
//!     type Out = Owned;
//!
//!     fn new((): ()) -> Result<Self, ConfigError> {
//!         Ok(Self)
//!     }
//!
//!     fn transform(&mut self, visit: Visit<'a>) -> Result<Emit<Owned>, Reject> {
//!         let (network, _) = visit.address.rsplit_once('.').or_reject("bad_address")?;
//!         let answer = dimensions::get_many::<Network>("networks", &[network])?;
//!         let owner = answer.rows::<Network>()?.get(0)?.map(|network| network.owner.to_owned());
//!         Ok(Emit::one(Owned { owner }))
//!     }
//! }
//! millstream_sdk::export!(FindOwner);
//!
//! let mut plugin = testing::Setup::new(json!({}))
//!     .table("networks", "network: utf8", "owner: utf8", json!([{ "network": "10.0.0", "owner": "us" }]))
//!     .configure::<FindOwner>()
//!     .unwrap();
//! let outcome = plugin.process(json!([{ "address": "10.0.0.7" }, { "address": "10.0.1.7" }]));
//! assert_eq!(outcome.rows(), [json!({ "owner": "us" }), json!({ "owner": null })]);
//! ```

use crate::columns::{Column, Joined};
use crate::outcome::{Failure, Reject};
use crate::row::{Found, Lookup};
use crate::write::WriteValue;

/// Why a lookup was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// The pipeline has no such table.
    UnknownTable,
    /// The stage may not read it.
    NotGranted,
    /// The key, or a column, is not one of the table.
    WrongKey,
    /// The table cannot be read now.
    Unavailable(String),
}

impl LookupError {
    fn failure(self, table: &str) -> Failure {
        match self {
            Self::UnknownTable => Failure::fatal(format!("there is no table `{table}`")),
            Self::NotGranted => Failure::fatal(format!("table `{table}` is not granted to this stage")),
            Self::WrongKey => Failure::fatal(format!("table `{table}` has another key, or lacks a column")),
            Self::Unavailable(why) => Failure::retry(format!("table `{table}` cannot be read now: {why}")),
        }
    }
}

/// A key, or a part of one.
pub trait Key {
    /// The key's columns, one value a key.
    fn columns(keys: &[Self]) -> Result<Vec<Column>, Failure>
    where
        Self: Sized;
}

macro_rules! keys {
    ($(($($part:ident $index:tt),*);)*) => {$(
        impl<$($part: WriteValue + Clone),*> Key for ($($part,)*) {
            fn columns(keys: &[Self]) -> Result<Vec<Column>, Failure> {
                Ok(vec![$(column(keys.iter().map(|key| key.$index.clone()))?),*])
            }
        }
    )*};
}

keys! {
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
}

impl<T: WriteValue + Clone> Key for T {
    fn columns(keys: &[Self]) -> Result<Vec<Column>, Failure> {
        Ok(vec![column(keys.iter().cloned())?])
    }
}

fn column<T: WriteValue>(values: impl Iterator<Item = T>) -> Result<Column, Failure> {
    Column::of(values).map_err(|error| Failure::fatal(format!("a key: {}", error.0)))
}

/// What was found, for keys in the order in which they were asked.
#[derive(Debug)]
pub struct Answer {
    joined: Joined,
    keys: usize,
}

/// Looks keys up. A key is one value or, for a composite key, a tuple. All keys of a call are answered in one crossing.
///
/// The error turns into a [`Reject`] with `?`, and then fails the batch.
pub fn get_many<'a, T: Lookup<'a>>(table: &str, keys: &[impl Key]) -> Result<Answer, Failure> {
    let columns = T::fields().into_iter().map(|field| field.name).collect();
    let key = Key::columns(keys)?;
    let joined = crate::host::get_many(table, key, columns).map_err(|error| error.failure(table))?;
    Ok(Answer { joined, keys: keys.len() })
}

impl Answer {
    /// The rows, as the struct that they were asked for.
    pub fn rows<'a, T: Lookup<'a>>(&'a self) -> Result<Rows<'a, T>, Failure> {
        Ok(Rows { found: Found::new::<T>(&self.joined, self.keys)? })
    }
}

/// The rows of an answer.
pub struct Rows<'a, T: Lookup<'a>> {
    found: Found<'a, T::Columns>,
}

impl<'a, T: Lookup<'a>> Rows<'a, T> {
    /// The row for the key at `index`; `None` when the table does not hold the key.
    pub fn get(&self, index: usize) -> Result<Option<T>, Reject> {
        self.found.row(index)
    }
}
