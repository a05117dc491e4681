//! The core: workers that run the tree, and what they count. It takes clock, sources and outputs as arguments and knows no thread.

mod again;
mod counts;
mod phases;
mod tap;
mod tree;
mod walk;
mod worker;

pub use counts::{Counts, OTHER, Reasons, UNREAD, each_reason};
pub use phases::{Phases, Stopwatch, process_cpu_ns};
pub use tap::{Sample, Tap, Taps};
pub use tree::{Readers, Tree};
pub use walk::{Destination, Walk};
pub use worker::{Ending, Parts, Share, Worker};
