//! Plugins: the only place that knows how they run (wasmtime). A plugin is loaded once (`Engine::load`: compiled, its
//! imports and exports checked) and instantiated once a worker (`Plugin::instantiate`: configured, its contract read);
//! an instance is called batch by batch (`Instance::process`).
//!
//! Promise: a plugin can be wrong, never dangerous. It sees nothing but what it is handed (`sandbox`), takes no more
//! memory and time than it may (`sandbox::MemoryLimit`, epoch interruption), says no more than the log can bear (`log`),
//! and nothing that it returns is used before it was checked (`columns`, `check`).

mod bindings;
mod cache;
mod check;
mod columns;
mod component;
mod contract;
mod dimensions;
mod engine;
mod instance;
mod log;
mod sandbox;

pub use cache::{CODE_CACHE_MAX_BYTES, CODE_CACHE_MAX_ENTRIES};
pub use check::{DETAIL_MAX_BYTES, FILTERED_MAX_REASONS, KEPT_MAX_ROWS, REASON_MAX_BYTES, TEXT_MAX_BYTES, cut};
pub use columns::{crossing_bytes, from_json, row_bytes, to_json, typed};
pub use dimensions::{GET_MANY_KEYS_BESIDE, GET_MANY_KEYS_MIN, GET_MANY_KEYS_PER_ROW};
pub use engine::{About, Engine, NotStarted, PLUGIN_MAX_BYTES, Plugin};
pub use instance::{CONFIGURE_DEADLINE, Crossing, Failure, HANDED_OVER_MAX_BYTES, Instance};
pub use log::{LOG_MAX_LINE_BYTES, LOG_MAX_LINES_PER_SECOND};
pub use sandbox::worked;

/// What `tests/fuzz` feeds with arbitrary bytes: a patch as it comes from a component, and its checks.
#[doc(hidden)]
pub mod fuzzed {
    pub use super::bindings::exports::millstream::stage::transform;
    pub use super::bindings::millstream::stage::columns;
    pub use super::check::check;
    pub use super::contract::contract;
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
