//! The pipeline file: the values it holds (`pipeline`), and how it is read. The way of a file:
//! `document` (TOML as a tree with places) -> `set` (`--set`) -> `environment` (`${..}`) -> `read` (top level), with
//! `source`, `stage`, `output` for the tables, `columns`, `kafka`, `from` for what they share, `keys` and `reader` for
//! the walk, `units` for sizes and times, and `problem` for everything that is wrong.

mod columns;
mod config_keys;
mod document;
mod environment;
mod from;
mod kafka;
mod keys;
mod output;
mod pipeline;
mod problem;
mod read;
mod reader;
mod set;
mod source;
mod stage;
mod stage_config;
mod swap;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use from::Outline;
pub use from::Upstream;
pub(crate) use output::folder;
pub use pipeline::*;
pub use problem::{Problem, Problems, Severity};
pub(crate) use problem::{nearest, suggestion};
pub use read::{read, read_text};
pub use stage_config::StageConfig;
pub(crate) use units::{plain_duration, plain_size_bytes};
