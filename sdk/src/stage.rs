//! `Stage`: a whole batch of columns at a time.

use crate::columns::{Batch, Patch};
use crate::config::{Config, ConfigError};
use crate::contract::{Contract, Given};
use crate::outcome::Failure;

/// A stage that works on whole batches of columns: for generic plugins, whose columns depend on their config or on what is
/// upstream, and for those who want the last nanosecond. [`Transform`](crate::Transform) and [`Route`](crate::Route) are
/// easier and nearly as fast.
///
/// A generic stage that copies a text column under another name:
///
/// ```
/// use millstream_sdk::prelude::*;
/// use millstream_sdk::{json, testing};
///
/// #[config]
/// struct Config {
///     from: String,
///     to: String,
/// }
///
/// struct Copy;
///
/// impl Stage for Copy {
///     type Config = Config;
///
///     fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
///         let from = given
///             .column(&config.from)
///             .ok_or_else(|| ConfigError::key("from", format!("there is no column `{}`", config.from)))?;
///         let to = Field { name: config.to, ..from.clone() };
///         Ok((Self, Contract { reads: vec![from.clone()], writes: vec![to], ..Contract::default() }))
///     }
///
///     fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
///         Ok(Patch::all(batch.columns))
///     }
/// }
/// millstream_sdk::export!(Copy);
///
/// let mut copy = testing::Setup::new(json!({ "from": "name", "to": "title" }))
///     .columns("name: utf8?")
///     .configure::<Copy>()
///     .unwrap();
/// let outcome = copy.process(json!([{ "name": "a" }, { "name": null }]));
/// assert_eq!(outcome.rows(), [json!({ "title": "a" }), json!({ "title": null })]);
/// ```
pub trait Stage: Sized + 'static {
    /// The stage's table of the pipeline file; `()` when there is none.
    type Config: Config;

    /// Checks the config and declares the contract. Called once an instance, before any batch.
    fn configure(config: Self::Config, given: &Given) -> Result<(Self, Contract), ConfigError>;

    /// Works on a batch. An instance may be thrown away between any two batches: what it must remember belongs elsewhere.
    fn process(&mut self, batch: Batch) -> Result<Patch, Failure>;
}
