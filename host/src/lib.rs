//! Millstream, the host. The modules in the order in which data flows:
//!
//! `source` -> `decode` -> `dimension` -> `plugin` -> `stage` -> `output` -> `commit`,
//! with `config` and `plan` before them and `pipeline` and `service` around them; `case` takes given rows the same way.
#![deny(unsafe_code)]
#![warn(clippy::expect_used, clippy::unwrap_used)]

pub mod case;
pub mod cli;
pub mod clock;
pub mod commit;
pub mod config;
pub mod contract;
pub mod decode;
pub mod digest;
pub mod dimension;
pub mod disk;
pub mod error;
pub mod generate;
pub mod output;
pub mod pipeline;
pub mod plan;
pub mod plugin;
pub mod record;
pub mod replay;
pub mod schema;
pub mod service;
#[cfg(test)]
mod simulation;
pub mod source;
pub mod stage;
