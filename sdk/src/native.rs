//! Plugins without WASM: the same code, linked natively, for tests and for benchmarks that set a native stage beside its
//! component.
//!
//! ```
//! # use millstream_sdk::prelude::*;
//! # #[derive(Input)] struct Row { n: i64 }
//! # #[derive(Output)] struct Doubled { n: i64 }
//! # struct Double;
//! # impl Transform<'_> for Double {
//! #     type Config = (); type In = Row; type Out = Doubled;
//! #     fn new(_: ()) -> Result<Self, ConfigError> { Ok(Self) }
//! #     fn transform(&mut self, row: Row) -> Result<Emit<Doubled>, Reject> { Ok(Emit::one(Doubled { n: 2 * row.n })) }
//! # }
//! # millstream_sdk::export!(Double);
//! use millstream_sdk::{Column, Given, Values, native};
//!
//! let mut stage = native::configure::<Double>("{}", &Given::default()).unwrap();
//! let column = Column { nodes: vec![Values::Int64(vec![1, 2]).into()] };
//! let patch = stage.process(Batch { rows: 2, columns: vec![column], lookups: vec![] }).unwrap();
//! assert_eq!(patch.columns[0].nodes[0].values, Values::Int64(vec![2, 4]));
//! ```

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::columns::{Batch, Column, Joined, Patch};
use crate::contract::{Contract, Given};
use crate::dimensions::LookupError;
use crate::log::Level;
use crate::outcome::Failure;
use crate::plugin::{Plugin, Process};

/// What a stage imports from the host.
pub trait Host {
    /// Takes a line of the log.
    fn log(&mut self, level: Level, line: &str);

    /// Answers a lookup.
    fn get_many(&mut self, table: &str, key: Vec<Column>, columns: Vec<String>) -> Result<Joined, LookupError>;
}

thread_local! {
    static HOST: RefCell<Option<Rc<RefCell<dyn Host>>>> = const { RefCell::new(None) };
}

/// Runs `work` with `host` behind the imports of all stages of this thread. Without a host, lines of the log are dropped
/// and there is no table.
pub fn with_host<T>(host: Rc<RefCell<dyn Host>>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Rc<RefCell<dyn Host>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOST.set(self.0.take());
        }
    }
    let _restore = Restore(HOST.replace(Some(host)));
    work()
}

fn host() -> Option<Rc<RefCell<dyn Host>>> {
    HOST.with_borrow(Clone::clone)
}

pub(crate) fn log(level: Level, line: &str) {
    if let Some(host) = host() {
        host.borrow_mut().log(level, line);
    }
}

pub(crate) fn get_many(table: &str, key: Vec<Column>, columns: Vec<String>) -> Result<Joined, LookupError> {
    match host() {
        Some(host) => host.borrow_mut().get_many(table, key, columns),
        None => Err(LookupError::UnknownTable),
    }
}

/// A configured stage.
pub struct Instance {
    contract: Contract,
    stage: Box<dyn Process>,
}

/// Configures a stage from its config (JSON text) and what is upstream.
pub fn configure<P: Plugin>(config: &str, given: &Given) -> Result<Instance, String> {
    let (contract, stage) = P::configure(config, given)?;
    Ok(Instance { contract, stage })
}

impl Instance {
    /// What the stage declared.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Works on a batch, whose columns stand as the contract declares them.
    pub fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        self.stage.process(batch)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("contract", &self.contract).finish_non_exhaustive()
    }
}
