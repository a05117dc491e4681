//! Replays that were asked for, until all of each is committed: one small file each in the data folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::claim::claimed_by;
use super::filter::{Filter, Replayed, file_of};
use super::stored::{Blocks, StoredFile, files};
use crate::commit::last_commit;
use crate::config::{Pipeline, Rejects};
use crate::disk::{RealDisk, write_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Partition, REJECTS_SOURCE};
use crate::source::{FileIdentity, Positions};

/// What somebody wants replayed: `POST /v1/rejects/replay`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Which.
    pub filter: Filter,
    /// Also those that were replayed already.
    pub again: bool,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The id of the replay; none when there is nothing to replay.
    pub id: Option<String>,
    /// How many rejects go in again.
    pub rows: u64,
    /// How many were replayed already and stay as they are.
    pub skipped: u64,
    /// How many stay as they are because another host replays their file, and that host.
    pub elsewhere: u64,
    /// The host that does.
    pub elsewhere_by: Option<String>,
}

/// A replay that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Selection {
    pub id: String,
    pub request: Request,
    /// The files that it is about, oldest first; those that come later are not.
    pub files: Vec<String>,
}

/// The replays of one data folder.
#[derive(Debug)]
pub struct Replays {
    data: PathBuf,
    /// Their folder, or their topic.
    rejects: Result<PathBuf, String>,
    /// Whether their files are deleted when their time is over.
    go_by_age: bool,
    /// Counts what was asked for in this process: a reader looks into the folder when it has changed.
    asked: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Read to their end; committed with the next commit.
    read: BTreeSet<String>,
    identities: BTreeMap<String, FileIdentity>,
}

impl Replays {
    /// The replays of a pipeline.
    pub fn of(pipeline: &Pipeline) -> Self {
        let (rejects, go_by_age) = match &pipeline.rejects {
            Rejects::File { path, keep } => (Ok(path.clone()), keep.is_some()),
            Rejects::Kafka(topic) => (Err(topic.topic.value.clone()), false),
        };
        let data = pipeline.data.clone();
        Self { data, rejects, go_by_age, asked: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Where the rejects are.
    ///
    /// # Errors
    /// `Config` when they go to a topic.
    pub fn rejects(&self) -> Result<&Path> {
        self.rejects.as_deref().map_err(|topic| in_topic(topic))
    }

    /// What the last commit of the data folder notes as replayed.
    pub fn replayed(&self) -> Result<Replayed> {
        Ok(last_commit(&self.data)?.map(|last| Replayed::of(&last.positions)).unwrap_or_default())
    }

    /// The partitions of files that are gone by their age: of them nothing can be replayed any more, so nobody has to know what
    /// was. None where the files are kept for good, or their folder is not there, as when its disk is away.
    pub fn gone(&self, positions: &Positions) -> Vec<Partition> {
        let Some(folder) =
            self.rejects.as_ref().ok().filter(|folder| self.go_by_age && folder.join("_manifest").is_dir())
        else {
            return Vec::new();
        };
        let own = positions.keys().filter(|partition| *partition.source == *REJECTS_SOURCE);
        own.filter(|partition| !folder.join(file_of(&partition.key)).exists()).cloned().collect()
    }

    /// Takes a request up: what it is about is kept before this comes back.
    pub fn ask(&self, request: &Request, now_ms: i64) -> Result<Asked> {
        request.filter.check()?;
        let last = last_commit(&self.data)?;
        let replayed = last.as_ref().map(|last| Replayed::of(&last.positions)).unwrap_or_default();
        let mut asked = Asked { id: None, rows: 0, skipped: 0, elsewhere: 0, elsewhere_by: None };
        let mut about = Vec::new();
        for file in files(self.rejects()?)?.iter().filter(|file| request.filter.has_file(file)) {
            let (rows, skipped) = count(file, request, &replayed)?;
            let other = claimed_by(self.rejects()?, &file.name)?
                .filter(|host| last.as_ref().is_none_or(|last| last.host != *host));
            if let Some(other) = other {
                asked.elsewhere += rows + skipped;
                asked.elsewhere_by = Some(other);
                continue;
            }
            asked.rows += rows;
            asked.skipped += skipped;
            if rows > 0 {
                about.push(file.name.to_string());
            }
        }
        if !about.is_empty() {
            let id = fresh_id(now_ms)?;
            let selection = Selection { id: id.clone(), request: request.clone(), files: about };
            self.keep(&selection)?;
            self.asked.fetch_add(1, Ordering::Release);
            asked.id = Some(id);
        }
        Ok(asked)
    }

    fn keep(&self, selection: &Selection) -> Result<()> {
        let path = self.path(&selection.id);
        let text = serde_json::to_vec(selection)
            .map_err(|error| Error::new(ErrorKind::Internal, "a replay has no JSON form").caused_by(error))?;
        write_whole(&RealDisk, &path, &text).map_err(|error| {
            Error::new(ErrorKind::Storage, format!("{} cannot be written", path.display())).caused_by(error)
        })
    }

    fn folder(&self) -> PathBuf {
        self.data.join("replays")
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder().join(format!("{id}.json"))
    }

    /// How often something was asked for.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// What waits, oldest first.
    pub(super) fn waiting(&self) -> Result<Vec<Selection>> {
        let folder = self.folder();
        let failed = |path: &Path, error: std::io::Error| {
            Error::new(ErrorKind::Storage, format!("{} cannot be read", path.display())).caused_by(error)
        };
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| failed(&folder, error))?,
        };
        let mut waiting: Vec<Selection> = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(&folder, error))?.path();
            if path.extension().is_some_and(|end| end == "json") {
                let text = fs::read(&path).map_err(|error| failed(&path, error))?;
                waiting.push(serde_json::from_slice(&text).map_err(|error| {
                    Error::new(ErrorKind::Storage, format!("{} is no replay", path.display()))
                        .caused_by(error)
                        .help("remove the file, and ask for the replay again: what was replayed is not done twice")
                })?);
            }
        }
        waiting.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(waiting)
    }

    /// The files that replays wait for.
    pub fn needed(&self) -> Result<BTreeSet<String>> {
        Ok(self.waiting()?.into_iter().flat_map(|selection| selection.files).collect())
    }

    /// All rows of a replay were handed out: the next commit has them.
    pub(super) fn read(&self, id: &str) {
        self.state().read.insert(id.to_owned());
    }

    /// Notes which file a partition is.
    pub(super) fn opened(&self, key: &str, identity: FileIdentity) {
        self.state().identities.insert(key.to_owned(), identity);
    }

    /// Which file a partition is, for its position.
    pub fn identity(&self, partition: &Partition) -> Option<FileIdentity> {
        match *partition.source == *REJECTS_SOURCE {
            true => self.state().identities.get(&*partition.key).cloned(),
            false => None,
        }
    }

    /// All that was read is committed, and no worker reads: what had been read to its end by then is done.
    pub fn committed(&self) -> Result<()> {
        let mut state = self.state();
        for id in std::mem::take(&mut state.read) {
            let path = self.path(&id);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let message = format!("{} cannot be removed", path.display());
                    return Err(Error::new(ErrorKind::Storage, message).caused_by(error));
                }
                _ => tracing::info!(replay = id, "replay: done"),
            }
        }
        Ok(())
    }

    /// The run goes back to the last commit: what was read since then was not.
    pub fn taken_back(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of a file that are meant: those that go in, and those that were replayed already.
fn count(file: &StoredFile, request: &Request, replayed: &Replayed) -> Result<(u64, u64)> {
    let (mut rows, mut skipped) = (0, 0);
    let mut blocks = Blocks::open(&file.name, &file.path, false)?;
    while let Some(block) = blocks.next_block()? {
        for row in (0..block.rows.num_rows()).filter(|row| request.filter.has_row(&block, *row)) {
            match !request.again && replayed.has(&file.name, block.number(row)) {
                true => skipped += 1,
                false => rows += 1,
            }
        }
    }
    Ok((rows, skipped))
}

/// Ids sort by time.
fn fresh_id(now_ms: i64) -> Result<String> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("no randomness for the id of a replay: {error}"))
    })?;
    Ok(format!("{now_ms:013}-{:08x}", u32::from_le_bytes(bytes)))
}

fn in_topic(topic: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the rejects of this pipeline go to the topic \"{topic}\", and are not replayed from there"))
        .help("`rejects list` and `show` read it; `[rejects] file = { path = \"lake/rejects\" }` keeps rejects where they can be replayed")
}
