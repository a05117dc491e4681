//! The commit log: where the truth lies when there is no Kafka to hold it.
//!
//! A file of lines, each `<crc32 of the JSON, 8 hex digits> <JSON>\n`. A line is either a commit record or a mark that
//! its epoch is finished (published). A record counts once its line was written and synced: a crash before that leaves
//! at most one broken line at the end, which is no record and is cut off. A broken line anywhere else means that the
//! disk changed what had been synced: then nothing is guessed and nothing is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::CommitRecord;
use crate::disk::{Disk, DiskFile, way_out};
use crate::error::{Error, ErrorKind, Result};

/// A log longer than this is rewritten with its last record alone.
const MAX_LOG_BYTES: u64 = 32 << 20;

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Commit(Box<CommitRecord>),
    Finished { epoch: u64 },
}

/// What a log held when it was opened.
#[derive(Debug)]
pub struct Last {
    /// The last commit.
    pub record: CommitRecord,
    /// Whether it was published to the end.
    pub finished: bool,
}

/// The commit log of one data folder, open for writing.
pub struct CommitLog {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    length_bytes: u64,
    /// After one failed write or sync nobody knows what the file holds: only a new start, which reads it, does.
    poisoned: bool,
    /// What lies behind the whole lines.
    torn_bytes: usize,
}

impl CommitLog {
    /// Opens `commit.log` in a data folder and reads its last commit. A torn line at the end is no commit: see `cut`.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<(Self, Option<Last>)> {
        let path = folder.join("commit.log");
        let storage = |error| storage(&path, "cannot be read", error);
        let bytes = match disk.size_bytes(&path).map_err(storage)? {
            Some(_) => disk.read(&path).map_err(storage)?,
            None => Vec::new(),
        };
        let (last, whole_bytes) = read_lines(&path, &bytes)?;
        let file = disk.append(&path).map_err(storage)?;
        disk.sync_folder(folder).map_err(storage)?;
        let (length_bytes, torn_bytes) = (whole_bytes as u64, bytes.len() - whole_bytes);
        Ok((Self { disk, path, file, length_bytes, poisoned: false, torn_bytes }, last))
    }

    /// Whether the log ends in a torn line. One that never was synced looks like one that the disk changed since: whoever
    /// goes on has to be sure that it is the former.
    pub fn is_torn(&self) -> bool {
        self.torn_bytes > 0
    }

    /// Cuts a torn line off; before anything is written.
    pub fn cut(&mut self) -> Result<()> {
        if !self.is_torn() {
            return Ok(());
        }
        let (path, cut_bytes) = (self.path.display(), self.torn_bytes);
        tracing::warn!(%path, cut_bytes, "the commit log ends in a torn line, which is no commit: it is cut off");
        let cut = self.disk.truncate(&self.path, self.length_bytes);
        cut.map_err(|error| storage(&self.path, "cannot be cut", error))?;
        self.torn_bytes = 0;
        Ok(())
    }

    /// Writes a record without making it count yet.
    pub fn write(&mut self, record: &CommitRecord) -> Result<()> {
        let line = encode(&Line::Commit(Box::new(record.clone())))?;
        if self.length_bytes + line.len() as u64 > MAX_LOG_BYTES && self.length_bytes > 0 {
            return self.rewrite(&line);
        }
        self.append(&line)
    }

    /// Makes the record that was written count: the one atomic step of an epoch.
    pub fn commit(&mut self) -> Result<()> {
        self.check()?;
        self.file.sync().map_err(|error| self.poison("cannot be synced", error))
    }

    /// Notes that an epoch is published. Not synced: publishing again is harmless.
    pub fn finish(&mut self, epoch: u64) -> Result<()> {
        let line = encode(&Line::Finished { epoch })?;
        self.append(&line)
    }

    fn append(&mut self, line: &[u8]) -> Result<()> {
        self.check()?;
        self.file.write_all(line).map_err(|error| self.poison("cannot be written", error))?;
        self.length_bytes += line.len() as u64;
        Ok(())
    }

    /// Replaces the log by one line, atomically: the new file is synced before it takes the name.
    fn rewrite(&mut self, line: &[u8]) -> Result<()> {
        self.check()?;
        let fresh = self.path.with_extension("log.new");
        let folder = self.path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let written = (|| {
            let mut file = self.disk.create(&fresh)?;
            file.write_all(line)?;
            file.sync()?;
            self.disk.rename(&fresh, &self.path)?;
            self.disk.sync_folder(&folder)?;
            self.disk.append(&self.path)
        })();
        self.file = written.map_err(|error| self.poison("cannot be rewritten", error))?;
        self.length_bytes = line.len() as u64;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.poisoned {
            return Err(Error::new(
                ErrorKind::Storage,
                format!("the commit log {} failed before; nothing more is written", self.path.display()),
            )
            .help("mend the disk and start again: the start reads what was committed"));
        }
        Ok(())
    }

    fn poison(&mut self, what: &str, error: std::io::Error) -> Error {
        self.poisoned = true;
        storage(&self.path, what, error)
    }
}

/// The last commit of a data folder, for whoever only reads: a host may be writing it.
pub fn last_commit(folder: &Path) -> Result<Option<CommitRecord>> {
    let path = folder.join("commit.log");
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage(&path, "cannot be read", error)),
        Ok(bytes) => Ok(read_lines(&path, &bytes)?.0.map(|last| last.record)),
    }
}

fn storage(path: &Path, what: &str, error: std::io::Error) -> Error {
    let help = way_out(&error);
    Error::new(ErrorKind::Storage, format!("the commit log {} {what}", path.display())).caused_by(error).help(help)
}

fn encode(line: &Line) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(line)
        .map_err(|error| Error::new(ErrorKind::Internal, "a commit record has no JSON form").caused_by(error))?;
    let mut bytes = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    bytes.push(b'\n');
    Ok(bytes)
}

/// The last commit and the length of the whole lines.
fn read_lines(path: &Path, bytes: &[u8]) -> Result<(Option<Last>, usize)> {
    let mut last: Option<Last> = None;
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map(|length| at + length);
        let line = end.and_then(|end| decode(&bytes[at..end]));
        match (end, line) {
            (Some(end), Some(line)) => {
                match line {
                    Line::Commit(record) => last = Some(Last { record: *record, finished: false }),
                    Line::Finished { epoch } => {
                        if let Some(last) = &mut last {
                            last.finished |= last.record.epoch == epoch;
                        }
                    }
                }
                at = end + 1;
            }
            (Some(end), None) if end + 1 < bytes.len() => {
                return Err(Error::new(
                    ErrorKind::Storage,
                    format!("the commit log {} is damaged at byte {at}: a line before its end fails its checksum", path.display()),
                )
                .help("the disk changed synced data; restore the data folder from a copy, or start with an empty data folder and a fresh lake"));
            }
            _ => break,
        }
    }
    Ok((last, at))
}

fn decode(line: &[u8]) -> Option<Line> {
    let (crc, json) = line.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(&crc[..8]).ok()?, 16).ok()?;
    if crc32fast::hash(json) != crc {
        return None;
    }
    serde_json::from_slice(json).ok()
}
