//! For a [`Stage`](crate::Stage) that works on whole columns: what generic plugins need, and no row struct gives them.
//!
//! * [`Texts`] looks at text once per distinct value, whatever the layout it came in.
//! * [`Fates`] gathers rejects and filtered rows in any order, column by column, and makes the patch at the end.
//! * [`Column::take`](crate::Column::take) gathers rows of a column of any type.
//!
//! ```
//! use millstream_sdk::columnwise::{Fates, Texts};
//! use millstream_sdk::{Batch, Column, Field, LogicalType};
//!
//! let batch = Batch { rows: 2, columns: vec![Column::of(["a", "bc"]).unwrap()], lookups: vec![] };
//! let mut fates = Fates::new(batch.rows);
//! let names = Texts::of(&batch.columns[0], 2).unwrap();
//! let lengths = Column::of((0..names.slots()).map(|slot| names.slot(slot).len() as i64)).unwrap();
//! fates.reject(0, "too_short", "a");
//! let patch = fates.finish(&[Field::new("length", LogicalType::Int64)], vec![names.spread(lengths)]);
//! assert_eq!(patch.rows, Some(vec![1]));
//! assert_eq!(patch.columns, [Column::of([2_i64]).unwrap()]);
//! ```

mod fates;
mod take;
mod texts;

pub use crate::bits::{Bits, Validity, is_set, pack};
pub use fates::Fates;
pub use take::NULL_ROW;
pub use texts::Texts;
