//! The columns boundary: Arrow arrays as the interface's nodes (`lower`) and back (`lift`).
//!
//! Promise: a plugin can be wrong, never dangerous. Whatever comes back becomes an Arrow array only after every length,
//! offset, code, bitmap, digit and byte of text was checked against the declared type; nothing a plugin returns makes the
//! host panic. It holds because arrays are built through Arrow's checking constructors alone (this crate has no
//! `unsafe`), and because the checks before them name the column, the node and the row.
//!
//! On the way in, buffers are shared with Arrow wherever the layouts agree, so that a buffer costs the one copy into the
//! plugin's memory.

mod json;
mod lift;
mod lower;
mod size;

pub use json::{from_json, to_json, typed};
pub(super) use lift::lift;
pub(super) use lift::{Text, lift_within};
pub(super) use lower::{Lowered, bitmap, lower};
pub use size::{crossing_bytes, row_bytes};

#[cfg(test)]
pub(super) mod tests;
