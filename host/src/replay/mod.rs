//! Rejects read again: shown, counted, and replayed. `output` writes them, `docs/outputs.md` has their columns.
//!
//! Promise: a reject that is replayed goes in again exactly once, whatever dies, and is never lost: it comes out as any row
//! does, or is among the rejects again, with one attempt more.
//!
//! Why it holds: a replay is a further source of the same commit. Its partitions are the files of rejects, which never
//! change, its offsets the rows in them; the commit record that makes the outcome true also notes the rows that were read.
//!
//! | step | where | a crash behind it |
//! |---|---|---|
//! | somebody asks | `Replays::ask`: which files and which filter, written whole into the data folder | the next start goes on with it |
//! | rows are read | `ReplayReader`, dealt to a worker like any reader; rows that a commit notes are passed by | nothing was noted: read again |
//! | the epoch is committed | `commit`: what became of the rows, and that they were read | both are true |
//! | all was read and committed | `Replays::committed` removes the selection | it is read once more: every row is noted |
//!
//! Those notes are one host's: the first that replays a file claims it (`claim`), and no other host of the lake does then.
//!
//! Rejects of a topic are taken into files of the data folder when somebody asks (`topic`), and go the same way.
//!
//! A selection names the files that were there when it was asked for: what is rejected again lands in later files, and no
//! replay feeds itself. To replay what was replayed already takes `again`: the positions of such a selection are its own.

mod claim;
mod filter;
mod queue;
mod reader;
mod retention;
mod stored;
mod topic;

pub use self::filter::{Filter, Replayed, file_of, place_of};
pub use self::queue::{Asked, Replays, Request};
pub use self::reader::ReplayReader;
pub use self::retention::Retention;
pub use self::stored::{Block, Blocks, RECORD_COLUMNS, StoredFile, files, id_of, parse_id};
pub use self::topic::{partition_file, topic_id};
