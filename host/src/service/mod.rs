//! A running pipeline: threads, epochs by time, watching, swap, the summary at the end.

mod assembly;
mod backfill;
mod background;
mod boundary;
mod captures;
mod choose;
mod committed;
pub mod control;
mod coordinator;
pub mod life;
mod logic;
mod probation;
mod progress;
mod retention;
mod rewind;
mod run;
mod savepoint;
mod share;
mod sources;
mod store;
mod summary;
mod threads;

pub use assembly::{build_plan, decoders, event_time, load, load_files, stages};
pub use backfill::backfill;
#[cfg(test)]
pub(crate) use boundary::{Boundary, Crossed, Inputs};
pub use captures::{Captures, remove_when_over};
pub use logic::{Change, Plugins, Version, plugin_stages};
pub use rewind::{RewindSettings, Rewound, removed, rewind};
pub use run::{Failure, Mode, RunSettings, run};
pub use savepoint::{Standing, check_free, standing};
pub use summary::Summary;
