//! Replays that were asked for, until all of each is committed: one small file each in the data folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::claim::claimed_by;
use super::filter::{Filter, Replayed, file_of};
use super::stored::{Blocks, StoredFile, files};
use super::topic::{Taken, count_in, partition_of, take};
use crate::commit::{CommitRecord, Transactions, last_commit};
use crate::config::{KafkaOutput, Pipeline, Rejects};
use crate::disk::{Disk, RealDisk, write_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::first_offsets;
use crate::record::Partition;
use crate::source::{FileIdentity, Positions};

/// How files end into which rejects of a topic were taken: `ID.PARTITION.parquet`.
const TAKEN: &str = "parquet";

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The id of the replay; none when there is nothing to replay.
    pub id: Option<String>,
    /// How many rejects go in again.
    pub rows: u64,
    /// How many were replayed already and stay as they are.
    pub skipped: u64,
    /// How many stay as they are because another host replays their file, or their topic.
    pub elsewhere: u64,
    /// The host that does.
    pub elsewhere_by: Option<String>,
    /// How many stay as they are because their record was too long for the topic of rejects.
    pub without_record: u64,
}

/// A replay that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Selection {
    pub id: String,
    pub request: Request,
    /// The files that it is about, oldest first; those that come later are not. Of a topic its partitions.
    pub files: Vec<String>,
    /// The topic that they were taken of, into files of the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// The replays of one data folder.
#[derive(Debug)]
pub struct Replays {
    data: PathBuf,
    pipeline: String,
    rejects: Rejects,
    /// Those of the run, if it has any.
    transactions: Mutex<Weak<Transactions>>,
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
        Self {
            data: pipeline.data.clone(),
            pipeline: pipeline.name.clone(),
            rejects: pipeline.rejects.clone(),
            transactions: Mutex::default(),
            asked: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// Says who knows the claims of topics, for as long as a run has it.
    pub(super) fn set_transactions(&self, transactions: Option<&Arc<Transactions>>) {
        *self.transactions.lock() = transactions.map(Arc::downgrade).unwrap_or_default();
    }

    /// Where a file of a replay is.
    ///
    /// # Errors
    /// `Config` when it is one of files, and rejects go to a topic by now.
    pub(super) fn path_of(&self, selection: &Selection, file: &str) -> Result<PathBuf> {
        match (&selection.topic, &self.rejects) {
            (Some(_), _) => Ok(self.taken_path(&selection.id, file)),
            (None, Rejects::File { path, .. }) => Ok(path.join(file)),
            (None, Rejects::Kafka(_)) => {
                let what =
                    format!("replay {} waits for files of rejects, and `[rejects]` is a topic by now", selection.id);
                let id = self.path(&selection.id);
                Err(Error::new(ErrorKind::Config, what).help(format!(
                    "let `[rejects]` be the folder again until the replay is done, or remove {}",
                    id.display()
                )))
            }
        }
    }

    /// Where rejects of a partition of a topic are taken to.
    fn taken_path(&self, id: &str, file: &str) -> PathBuf {
        let partition = file.rsplit_once('/').map_or(file, |(_, partition)| partition);
        self.folder().join(format!("{id}.{partition}.{TAKEN}"))
    }

    /// What the last commit of the data folder notes as replayed.
    pub fn replayed(&self) -> Result<Replayed> {
        Ok(replayed(last_commit(&self.data)?.as_ref()))
    }

    /// By partition of rejects the offset before which nothing can be replayed any more, so that nobody has to know what was:
    /// files that are gone by their age, and what a topic does not keep. What a replay waits for is in neither.
    pub fn gone(&self, positions: &Positions) -> Result<BTreeMap<Partition, i64>> {
        let noted: Vec<_> = positions.keys().filter(|partition| partition.is_of_rejects()).collect();
        if noted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let needed = self.needed()?;
        let noted = noted.into_iter().map(|partition| (partition, file_of(&partition.key)));
        let noted = noted.filter(|(_, file)| !needed.contains(*file));
        Ok(match &self.rejects {
            // A folder that is not there may be on a disk that is away.
            Rejects::File { path: folder, keep: Some(_) } if folder.join("_manifest").is_dir() => {
                let gone = noted.filter(|(_, file)| !folder.join(file).exists());
                gone.map(|(partition, _)| (partition.clone(), i64::MAX)).collect()
            }
            Rejects::File { .. } => BTreeMap::new(),
            Rejects::Kafka(settings) => {
                let first = first_offsets(settings)?;
                let first_of = |file: &str| first.get(&partition_of(&settings.topic.value, file)?).copied();
                noted.filter_map(|(partition, file)| Some((partition.clone(), first_of(file)?))).collect()
            }
        })
    }

    /// Takes a request up: what it is about is kept before this comes back.
    pub fn ask(&self, request: &Request, now_ms: i64) -> Result<Asked> {
        request.filter.check()?;
        let last = last_commit(&self.data)?;
        let id = fresh_id(now_ms)?;
        match &self.rejects {
            Rejects::File { path, .. } => {
                let (asked, files) = about(path, request, last.as_ref())?;
                self.keep(asked, Selection { id, request: request.clone(), files, topic: None })
            }
            Rejects::Kafka(settings) => self.ask_topic(settings, request, &replayed(last.as_ref()), id),
        }
    }

    /// The same for rejects of a topic: they are taken from there.
    fn ask_topic(&self, settings: &KafkaOutput, request: &Request, replayed: &Replayed, id: String) -> Result<Asked> {
        let topic = &settings.topic.value;
        let transactions = self.transactions.lock().upgrade();
        let other = transactions.map_or(Ok(None), |transactions| transactions.claimed_elsewhere(topic))?;
        if let Some(other) = other {
            let elsewhere = count_in(settings, &self.pipeline, request)?;
            return Ok(Asked { elsewhere, elsewhere_by: Some(other), ..Asked::default() });
        }
        let asking = self.lock_file()?;
        asking.lock().map_err(|error| unwritable(&self.folder()).caused_by(error))?;
        let taken = take(settings, &self.pipeline, request, replayed, |file| self.taken_path(&id, file));
        let Taken { files, rows, skipped, without_record } = taken.inspect_err(|_| {
            // What cannot be removed now is at the next start.
            drop(self.remove_taken(|name| is_of(name, &id)));
        })?;
        // They are chosen by now, so there is nothing left to choose.
        let request = Request { filter: Filter::default(), again: request.again };
        let selection = Selection { id, request, files, topic: Some(topic.clone()) };
        self.keep(Asked { rows, skipped, without_record, ..Asked::default() }, selection)
    }

    /// Its lock is held by who asks, in whatever process.
    fn lock_file(&self) -> Result<File> {
        let path = self.data.join("replays.lock");
        RealDisk.append(&path).and_then(|_| File::open(&path)).map_err(|error| unwritable(&path).caused_by(error))
    }

    /// Removes what was taken of a topic for replays that nobody waits for: who asked for them died over it. At a start.
    pub fn remove_leftovers(&self) -> Result<()> {
        if self.entries()?.iter().all(|path| !is_taken(path)) {
            return Ok(());
        }
        let asking = self.lock_file()?;
        if asking.try_lock().is_err() {
            // Somebody asks just now, and is not done: the next start does it.
            return Ok(());
        }
        let waiting = self.waiting()?;
        self.remove_taken(|name| !waiting.iter().any(|selection| is_of(name, &selection.id)))
    }

    fn remove_taken(&self, is_left: impl Fn(&str) -> bool) -> Result<()> {
        let mut taken = self.entries()?.into_iter().filter(|path| is_taken(path) && is_left(&name(path)));
        taken.try_for_each(|path| remove(&path))
    }

    /// Removes a replay, and what was taken for it.
    pub(super) fn give_up(&self, id: &str) -> Result<()> {
        remove(&self.path(id))?;
        self.remove_taken(|name| is_of(name, id))
    }

    /// Keeps what was asked for, if it is about anything.
    fn keep(&self, mut asked: Asked, selection: Selection) -> Result<Asked> {
        if selection.files.is_empty() {
            return Ok(asked);
        }
        let path = self.path(&selection.id);
        let text = serde_json::to_vec(&selection)
            .map_err(|error| Error::new(ErrorKind::Internal, "a replay has no JSON form").caused_by(error))?;
        write_whole(&RealDisk, &path, &text).map_err(|error| unwritable(&path).caused_by(error))?;
        self.asked.fetch_add(1, Ordering::Release);
        asked.id = Some(selection.id);
        Ok(asked)
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
        let mut waiting: Vec<Selection> = Vec::new();
        for path in self.entries()? {
            if path.extension().is_some_and(|end| end == "json") {
                let text = match fs::read(&path) {
                    // It is done just now.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    text => text.map_err(|error| unreadable(&path, error))?,
                };
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

    /// What is in the folder.
    fn entries(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| unreadable(&folder, error))?,
        };
        entries.map(|entry| Ok(entry.map_err(|error| unreadable(&folder, error))?.path())).collect()
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
        match partition.is_of_rejects() {
            true => self.state().identities.get(&*partition.key).cloned(),
            false => None,
        }
    }

    /// All that was read is committed, and no worker reads: what had been read to its end by then is done.
    pub fn committed(&self) -> Result<()> {
        let done = std::mem::take(&mut self.state().read);
        for id in &done {
            self.give_up(id)?;
            tracing::info!(replay = id, "replay: done");
        }
        Ok(())
    }

    /// The run goes back to the last commit: what was read since then was not.
    pub fn taken_back(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The files of a folder with rows that are asked for, and how many those are.
fn about(folder: &Path, request: &Request, last: Option<&CommitRecord>) -> Result<(Asked, Vec<String>)> {
    let replayed = replayed(last);
    let (mut asked, mut about) = (Asked::default(), Vec::new());
    for file in files(folder)?.iter().filter(|file| request.filter.has_file(file)) {
        let (rows, skipped) = count(file, request, &replayed)?;
        let other = claimed_by(folder, &file.name)?.filter(|host| last.is_none_or(|last| last.host != *host));
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
    Ok((asked, about))
}

/// What a commit notes as replayed.
fn replayed(last: Option<&CommitRecord>) -> Replayed {
    last.map(|last| Replayed::of(&last.positions)).unwrap_or_default()
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

/// Whether a file has rejects that were taken of a topic.
fn is_taken(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == TAKEN)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a file of the folder is of a replay.
fn is_of(name: &str, id: &str) -> bool {
    name.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'))
}

/// Removes a file; fine when it is gone.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let message = format!("{} cannot be removed", path.display());
            Err(Error::new(ErrorKind::Storage, message).caused_by(error))
        }
        _ => Ok(()),
    }
}

pub(super) fn unwritable(path: &Path) -> Error {
    Error::new(ErrorKind::Storage, format!("{} cannot be written", path.display()))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("{} cannot be read", path.display())).caused_by(error)
}
