//! The guest side of Millstream: what a plugin is written against. A plugin is a crate with one stage in it; the host runs
//! it as a sandboxed WebAssembly component, a batch of columns at a time. The author sees rows, as plain structs.
//!
//! # A plugin
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! millstream-sdk = "0.1"
//! ```
//!
//! ```
//! use millstream_sdk::prelude::*;
//!
//! #[derive(Input)]                       // becomes the contract's `reads`, checked when the pipeline starts
//! struct Click<'a> {
//!     url: &'a str,
//!     #[column("user_agent")]
//!     agent: Option<&'a str>,            // nullable column
//!     user_id: i64,
//!     #[lookup(table = "users", key = "user_id")]
//!     user: Option<User<'a>>,            // a declared lookup; None: no such key
//! }
//!
//! #[derive(Lookup)]
//! struct User<'a> {
//!     country: Option<&'a str>,
//!     plan: &'a str,
//! }
//!
//! #[derive(Output)]                      // becomes `writes`
//! struct Enriched<'a> {
//!     host: Cow<'a, str>,
//!     path: &'a str,
//!     #[column(dictionary)]              // text that repeats: each distinct value crosses once a batch
//!     country: Option<&'a str>,
//!     paying: bool,
//! }
//!
//! /// The `config` of the stage in the pipeline file.
//! #[config]
//! struct Config {
//!     bots: Vec<String>,
//! }
//!
//! struct EnrichClicks {
//!     bots: Vec<String>,
//! }
//!
//! impl<'a> Transform<'a> for EnrichClicks {
//!     type Config = Config;
//!     type In = Click<'a>;
//!     type Out = Enriched<'a>;
//!
//!     fn new(config: Config) -> Result<Self, ConfigError> {
//!         if config.bots.iter().any(String::is_empty) {
//!             return Err(ConfigError::key("bots", "an empty name would match everything"));
//!         }
//!         Ok(Self { bots: config.bots })
//!     }
//!
//!     fn transform(&mut self, click: Click<'a>) -> Result<Emit<Enriched<'a>>, Reject> {
//!         let agent = click.agent.unwrap_or_default();
//!         if self.bots.iter().any(|bot| agent.contains(bot)) {
//!             return Ok(Emit::none("bot"));
//!         }
//!         let (host, path) = split(click.url).ok_or_else(|| Reject::new("bad_url", click.url))?;
//!         Ok(Emit::one(Enriched {
//!             host,
//!             path,
//!             country: click.user.as_ref().and_then(|user| user.country),
//!             paying: click.user.is_some_and(|user| user.plan != "free"),
//!         }))
//!     }
//! }
//! millstream_sdk::export!(EnrichClicks);
//!
//! /// Host, in lower case, and path of an address.
//! fn split(url: &str) -> Option<(Cow<'_, str>, &str)> {
//!     let (_, rest) = url.split_once("://")?;
//!     let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
//!     let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
//!         host.to_ascii_lowercase().into()
//!     } else {
//!         host.into()
//!     };
//!     Some((host, path))
//! }
//!
//! // A test, native and without WASM:
//! use millstream_sdk::{json, testing};
//!
//! let mut plugin = testing::Setup::new(json!({ "bots": ["crawler"] }))
//!     .table("users", "user_id: int64", "country: utf8?, plan: utf8", json!([
//!         { "user_id": 7, "country": "DE", "plan": "pro" },
//!     ]))
//!     .configure::<EnrichClicks>()
//!     .unwrap();
//! let outcome = plugin.process(json!([
//!     { "url": "https://Example.com/a?b", "user_id": 7 },
//!     { "url": "https://example.com/robots.txt", "user_id": 8, "user_agent": "a crawler" },
//!     { "url": "not an address", "user_id": 7 },
//!     { "url": "https://example.com", "user_id": 8 },
//! ]));
//! assert_eq!(outcome.kept(), [
//!     (0, json!({ "host": "example.com", "path": "/a?b", "country": "DE", "paying": true })),
//!     (3, json!({ "host": "example.com", "path": "", "country": null, "paying": false })),
//! ]);
//! assert_eq!(outcome.filtered(), [(1, "bot")]);
//! assert_eq!(outcome.rejects(), [(2, "bad_url", "not an address")]);
//!
//! // What the author of a pipeline sees when the config is wrong:
//! let error = testing::configure::<EnrichClicks>(json!({ "bots": [""] })).unwrap_err();
//! assert_eq!(error, "config key `bots`: an empty name would match everything");
//! let error = testing::configure::<EnrichClicks>(json!({ "bots": [], "bot": 1 })).unwrap_err();
//! assert_eq!(error, "config key `bot`: unknown field `bot`, expected `bots`");
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component; natively the crate is an ordinary library.
//!
//! # The three kinds of stages
//!
//! | trait | one call sees | for |
//! |---|---|---|
//! | [`Transform`] | a row, and makes none, one or many of it | cleaning, enrichment |
//! | [`Route`] | a row, and names one or several outputs | routing |
//! | [`Stage`] | a whole batch of columns, and what is upstream | generic plugins, the last nanosecond |
//!
//! Columns that a stage does not write pass by: they never cross to the plugin.
//!
//! # What becomes of a row
//!
//! * `Ok(Emit::one(..))`, `Ok(Emit::many(..))`: it is kept, once or several times.
//! * `Ok(Emit::none("bot"))`: it is *filtered*, left out on purpose. The host counts by the reason: a short stable word.
//! * `Err(Reject::new("bad_url", detail))`: it is *rejected*, kept aside with its reason and detail, and can be replayed.
//!   `?` makes a reject of any standard error, with reason `error`; `.or_reject("bad_number")?` gives a reason of your own.
//! * `Err(Failure::retry(..).into())`, `Err(Failure::fatal(..).into())`: nothing is wrong with the row, but the *batch*
//!   cannot be worked on, now or ever.
//! * A panic is a bug: the host throws the instance away and singles out the row.
//!
//! A value that does not fit its column (a decimal with too many digits) or its Rust type rejects the row with reason
//! `out_of_range`.
//!
//! # Types of columns
//!
//! | field's type | logical type |
//! |---|---|
//! | `bool` | `bool` |
//! | `i8`, `i16`, `i32`, `i64` | `int8`, `int16`, `int32`, `int64` |
//! | `f32`, `f64` | `float32`, `float64` |
//! | [`Decimal`](rust_decimal::Decimal), `i128` (unscaled) | `decimal(p,s)`, named: `#[column(type = "decimal(12,2)")]` |
//! | `&str`, `Cow<str>`, `String` | `utf8` |
//! | `&[u8]`, `Cow<[u8]>`, `Vec<u8>` | `binary` |
//! | [`Uuid`](uuid::Uuid), `[u8; 16]` | `uuid` |
//! | [`Date`](jiff::civil::Date), `i32` with `type = "date"` | `date` |
//! | [`Timestamp`](jiff::Timestamp), `i64` with a `type` | `timestamp(ms)`, or as named: `#[column(type = "timestamp(us)")]` |
//! | `Vec<T>` | `list<T>` |
//! | a struct with `#[derive(Struct)]` | `struct<..>` |
//! | `Option<T>` | the same, nullable |
//!
//! `type` names the innermost value: `#[column(type = "decimal(12,2)")] prices: Vec<Option<Decimal>>`. A borrowed type costs
//! nothing to read; `String` and `Vec` allocate. `i64` and `i128` instead of `Timestamp` and `Decimal` save the conversion.
//! `docs/types.md` says how each lies in memory.
//!
//! # Time zones
//!
//! [`jiff`] comes without the time zone database, which would double a plugin. A zone whose rules are known needs none:
//! `jiff::tz::TimeZone::posix("EST5EDT,M3.2.0,M11.1.0")`.
#![cfg_attr(not(target_family = "wasm"), forbid(unsafe_code))]
#![warn(clippy::expect_used, clippy::unwrap_used)]

extern crate self as millstream_sdk;

mod bits;
mod column_type;
mod columns;
pub mod columnwise;
pub mod config;
mod contract;
pub mod dimensions;
#[cfg(target_family = "wasm")]
mod guest;
mod kept;
pub mod log;
mod logical;
#[cfg(not(target_family = "wasm"))]
pub mod native;
mod outcome;
mod panics;
mod plugin;
mod read;
mod route;
mod row;
mod stage;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod transform;
mod write;

#[cfg(target_family = "wasm")]
use guest as host;
#[cfg(not(target_family = "wasm"))]
use native as host;

pub use column_type::{ColumnType, Days, Digits, Micros, Millis, Nanos, Natural, Repeated, Seconds};
pub use columns::{Batch, Column, ColumnReader, Dictionary, Filtered, Joined, Node, Patch, Refusal, Values, Varlen};
pub use config::{Config, ConfigError};
pub use contract::{Contract, DeclaredLookup, Field, Given, Table};
pub use logical::{LogicalType, Nested, TimeUnit, TypeError};
pub use millstream_sdk_derive::{Input, Lookup, Output, Routes, Struct, config};
pub use outcome::{Emit, Failure, OrReject, Reject};
pub use plugin::{AnyStage, Plugin, Process, kind};
pub use read::{Nodes, OutOfRange, ReadValue, WrongShape};
pub use route::{Route, Routes};
pub use row::{Input, Lookup, Output};
pub use stage::Stage;
pub use transform::Transform;
pub use write::WriteValue;

pub use {jiff, rust_decimal, schemars, serde, serde_json, uuid};

/// A JSON literal: configs and rows of tests.
pub use serde_json::json;

/// All that most plugins need.
pub mod prelude {
    pub use std::borrow::Cow;

    pub use jiff::Timestamp;
    pub use jiff::civil::Date;
    pub use rust_decimal::Decimal;
    pub use uuid::Uuid;

    pub use crate::columns::{Batch, Patch};
    pub use crate::contract::{Contract, Field, Given};
    pub use crate::{Config, ConfigError, Emit, Failure, Input, Lookup, OrReject, Output, Reject};
    pub use crate::{Route, Routes, Stage, Struct, Transform, config, log};
}

/// For the code of the macros only: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use std::boxed::Box;
    pub use std::result::Result::{self, Err, Ok};
    pub use std::string::String;
    pub use std::vec;
    pub use std::vec::Vec;

    pub use crate::column_type::nested;
    pub use crate::plugin::{config_schema, configure};
    pub use crate::row::{ColumnReaders, Found, field, finish, found, lookup, out_of_range, take_struct};
    pub use crate::row::{is_looked_up, is_read};
    pub use crate::*;

    #[cfg(target_family = "wasm")]
    pub use crate::guest::Component;
    #[cfg(target_family = "wasm")]
    pub use crate::guest::bindings::{self, export_component};
}
