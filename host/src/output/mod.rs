//! Where rows go: Parquet files with partitions, and rejects.
//!
//! # The promise
//!
//! Every row that was given to a `ParquetWriter` in a committed epoch is in the lake exactly once, in the end: in one
//! published file, or, for as long as its file is open, in what the last committed token (`Prepared`) names. Rows of an
//! epoch that was not committed are nowhere, and their source is read again. This holds whatever crashes between.
//!
//! Why it holds: a row takes one way, and each step to the next place is made by the commit of a token, never by the
//! writing itself.
//!
//! | the row is | where | what the token says | lost by a crash |
//! |---|---|---|---|
//! | written, epoch not prepared | in memory, perhaps in row groups of a staged file, not synced | nothing | yes, and read again |
//! | prepared, its file stays open, row group not full | also in a synced spool segment of this epoch | `open[].parts` | no, once the token is committed |
//! | prepared, its file stays open, row group full | in the synced beginning of the staged file; its footer in the segment | `open[].prefix` | no, once the token is committed |
//! | prepared, its file is closed | in the synced staged file | `full` or `tails` | no, once the token is committed |
//! | published | in the lake, under a name that no other file ever gets | the record's files, and `finished` | no |
//!
//! - A token is complete: `open` names everything that is needed to open the files again. So the last committed token and
//!   nothing else decides which parts are live. What lies in staging and is not named there (`Prepared::needs`) is a
//!   leftover: of an epoch that was not committed, or of one whose rows have since moved on.
//! - Nothing that the last committed token names is changed before the next token is committed: a staged file is only
//!   appended to (its token says how long it was, and the checksum of that beginning), segments and staged files are
//!   deleted only after the commit (`obsolete`), and a file that is opened again is a new file with a new name.
//! - The row group in memory is written to the file when it is large, when memory is short, or when the file is closed.
//!   From then on its rows are in the file and its parts are not named any more: at the commit of the next token, not
//!   before. So a row is never named twice.
//! - A part and a prefix carry their length and checksum. Bytes that differ are an error that stops the start, never rows
//!   that are silently missing.
//!
//! | a crash | what the next start finds |
//! |---|---|
//! | while rows are written | the last token; staged files longer than it says, or unknown to it |
//! | in `prepare`, or after it and before the commit | the last token, whole; a new segment and closed files that it does not name |
//! | after the commit, before or while files are moved | the new token: files named in it are moved (again) |
//! | after the move, before `obsolete` is deleted | the new token; leftovers |
//! | in `restore` | the same token as before: what was restored has other names |

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use crate::commit::Host;
use crate::disk::{way_out, way_out_of};
use crate::error::{Error, ErrorKind};

mod encoding;
mod footer;
pub mod kafka;
mod merge;
mod origin;
mod partition;
mod reject;
mod reject_json;
mod sink;
mod spool;
#[cfg(test)]
mod tests;
mod token;
mod unfinished;
mod writer;

pub use footer::{Explained, RecordRange, footer_entries};
pub use merge::{checksum, merge_tails};
pub use origin::{EPOCHS_KEY, Origin, READ_KEY, ReadRange};
pub use partition::NO_VALUE;
pub use reject::{CSV_HEADER, RefusedBy, reject_columns, reject_records, reject_rows, reject_settings, rejects_of};
pub use reject_json::reject_object;
pub use sink::{Combine, Opening, REJECTS, RejectSink, Sink, Staged, Token, TopicWriter, settle};
pub use token::{ColumnText, OpenFile, Part, Prefix, Prepared, StagedFile, obsolete};
pub use writer::{Closing, Limits, ParquetWriter};

/// Whose files they are and where they go.
#[derive(Clone, Debug)]
pub struct Place {
    /// The output's name.
    pub output: String,
    /// The output's folder in the lake.
    pub lake: PathBuf,
    /// The folder for unfinished files and spool segments: on the same file system, hidden from globs over the lake.
    pub staging: PathBuf,
    /// The host's id.
    pub host: String,
    /// How often the host was started: names of a zombie never meet ours.
    pub incarnation: u64,
    /// The worker.
    pub worker: usize,
}

impl Place {
    /// A name that no other file of this lake ever gets: one host writes one epoch of one incarnation once, a worker opens
    /// its n-th file once. Names sort by epoch.
    fn name(&self, epoch: u64, rest: &str) -> String {
        let (output, host) = (partition::escape(&self.output), partition::escape(&self.host));
        format!("{output}-{host}-{:04}-{epoch:08}-{rest}", self.incarnation)
    }

    fn paths(&self, folders: &str, name: &str) -> unfinished::Paths {
        unfinished::Paths {
            staged: self.staging.join(format!("{name}.staged")),
            published: self.lake.join(folders).join(format!("{name}.parquet")),
        }
    }

    fn file_paths(&self, folders: &str, epoch: u64, slot: &str, number: u32) -> unfinished::Paths {
        self.paths(folders, &self.name(epoch, &format!("{slot}-{number:04}")))
    }

    fn merged_paths(&self, folders: &str, epoch: u64, number: u32) -> unfinished::Paths {
        self.paths(folders, &self.name(epoch, &format!("merged-{number:04}")))
    }

    fn segment_path(&self, epoch: u64, slot: &str) -> PathBuf {
        self.staging.join(format!("{}.spool", self.name(epoch, slot)))
    }
}

/// Whether a file has to be closed for its age. One from the future is of before somebody set the clock back: nobody knows
/// its age, and it must not wait until the clock has caught up.
fn is_too_old(first_row_ms: i64, now_ms: i64, max_age_ms: i64) -> bool {
    !(0..max_age_ms).contains(&now_ms.saturating_sub(first_row_ms))
}

/// The epoch in the name of an output's file that a host wrote; none of another file.
pub fn epoch_of(output: &str, host: &Host, file_name: &str) -> Option<u64> {
    let (output, host) = (partition::escape(output), partition::escape(&host.id));
    let rest = file_name.strip_prefix(&format!("{output}-{host}-"))?;
    let (_incarnation, rest) = rest.split_once('-')?;
    rest.split_once('-')?.0.parse().ok()
}

fn on_disk<'a>(what: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + use<'a> {
    move |error| {
        let help = way_out(&error);
        Error::new(ErrorKind::Storage, format!("cannot {what} {}", path.display())).caused_by(error).help(help)
    }
}

fn in_parquet<'a>(what: &'a str, path: &'a Path) -> impl Fn(ParquetError) -> Error + use<'a> {
    move |error| {
        let what = format!("cannot {what} {}", path.display());
        let of_disk = match &error {
            ParquetError::External(cause) => Some(cause.downcast_ref().map_or(way_out_of(None), way_out)),
            _ => None,
        };
        match of_disk {
            Some(help) => Error::new(ErrorKind::Storage, what).caused_by(error).help(help),
            None => Error::new(ErrorKind::Internal, what).caused_by(error),
        }
    }
}
