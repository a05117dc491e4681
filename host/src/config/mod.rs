//! The pipeline file.

mod pipeline;

pub use pipeline::*;
