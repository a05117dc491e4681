//! Millstream, the host. The modules in the order in which data flows:
//!
//! `source` -> `decode` -> `dimension` -> `plugin` -> `stage` -> `output` -> `commit`,
//! with `config` and `plan` before them and `pipeline` and `service` around them.
#![forbid(unsafe_code)]

pub mod config;
pub mod contract;
pub mod disk;
pub mod error;
pub mod output;
pub mod plan;
pub mod record;
pub mod schema;
pub mod source;
