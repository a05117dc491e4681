//! The guest side of Millstream: what a plugin is written against.
#![forbid(unsafe_code)]

mod logical;

pub use logical::{LogicalType, Nested, TimeUnit, TypeError};
