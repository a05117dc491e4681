//! JSON: one object a record. Every record goes the same strict way, whose only shortcut is a prediction: which bytes
//! stand between the last value and the next one (`shape`). So no outcome depends on the records before.

mod cursor;
mod object;
mod shape;
mod tree;
mod unknown;
mod value;

pub(super) use cursor::Cursor;
pub(super) use shape::Shape;
pub(super) use tree::{Needed, Tree};
pub(super) use unknown::UnknownFields;
pub(super) use value::{Scratch, number_into, text_into, value};
