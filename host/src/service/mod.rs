//! A running pipeline: threads, epochs by time, watching, swap, the summary at the end.

mod assembly;
mod coordinator;
mod progress;
mod run;
mod sources;
mod store;
mod summary;
mod swap;
mod threads;

pub use assembly::{Plugins, build_plan, decoders, event_time, load, load_files, stages};
pub use run::{Failure, Mode, RunSettings, run};
pub use summary::Summary;
