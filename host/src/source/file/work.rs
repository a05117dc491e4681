//! The work of a file source, shared by its workers: files, or parts of big plain files of JSON lines, each handed to
//! exactly one worker. In a source that follows, a file that was read to its end waits here until it grows.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::config::Format;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Partition, Records};
use crate::source::{FileIdentity, Position, Ranges};

use super::content::Compression;
use super::identity;
use super::splitter::MAX_RECORD_BYTES;

/// How often files that may grow are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a worker reads in one go.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub partition: Partition,
    pub path: PathBuf,
    pub compression: Compression,
    pub identity: FileIdentity,
    /// Offset of the content (row number in Parquet) at which it starts.
    pub start: i64,
    /// Where it ends; none: at the end of the file.
    pub end: Option<i64>,
    /// What earlier runs read between the two.
    pub covered: Ranges,
}

/// What reading a job gave.
#[expect(clippy::large_enum_variant, reason = "one value a block: moving it is cheaper than a box")]
pub(super) enum Step {
    Block(Records),
    /// The job is done.
    Ended {
        /// Everything before this was handed out.
        offset: i64,
        /// How far the content was read: beyond `offset` when the last line is unfinished.
        read_to: i64,
        /// False when a compressed file breaks off and may still be written.
        whole: bool,
    },
}

struct SourceFile {
    path: PathBuf,
    partition: Partition,
    compression: Compression,
    identity: FileIdentity,
    covered: Ranges,
    /// Stretches to hand out; an open one goes to the end of the file.
    todo: VecDeque<(i64, Option<i64>)>,
}

/// A file that was read to its end.
struct Waiting {
    offset: i64,
    seen_bytes: u64,
    told: bool,
}

#[derive(Default)]
struct State {
    files: BTreeMap<Arc<str>, SourceFile>,
    ready: VecDeque<Arc<str>>,
    waiting: BTreeMap<Arc<str>, Waiting>,
    last_look: Option<Instant>,
}

/// The files of a source and what is still to be read of them.
pub(super) struct Work {
    pub source: Arc<str>,
    pub format: Format,
    pub follow: bool,
    pub chunk_bytes: i64,
    pub read_bytes: Arc<AtomicU64>,
    pub total_bytes: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Work {
    pub fn new(source: Arc<str>, format: Format, follow: bool, chunk_bytes: i64) -> Self {
        Self {
            source,
            format,
            follow,
            chunk_bytes,
            read_bytes: Arc::default(),
            total_bytes: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a file once; `committed` is what earlier runs read of it. False when it is known already.
    pub fn add(&self, path: PathBuf, key: Arc<str>, committed: Option<&Position>) -> Result<bool> {
        let mut state = self.state();
        if state.files.contains_key(&key) {
            return Ok(false);
        }
        let mut opened = File::open(&path).map_err(|error| identity::cannot_read(&path, error))?;
        let known = committed.and_then(|position| position.file.as_ref());
        let identity = match known {
            Some(known) => identity::check(&path, &mut opened, known)?,
            None => identity::look(&path, &mut opened)?,
        };
        let covered = committed.map(|position| position.ranges.clone()).unwrap_or_default();
        let compression = Compression::of(&path);
        let splittable = self.format == Format::Json && compression == Compression::Plain;
        if compression == Compression::Plain && self.format != Format::Parquet {
            check_covered(&path, &opened, identity.length_bytes, &covered)?;
            let covered_bytes: i64 = covered.as_slice().iter().map(|range| range.1 - range.0).sum();
            self.read_bytes.fetch_add(covered_bytes.max(0) as u64, Ordering::Relaxed);
        }
        self.total_bytes.fetch_add(identity.length_bytes, Ordering::Relaxed);
        let partition = Partition { source: self.source.clone(), key: key.clone() };
        let todo = if splittable { gaps(&covered) } else { VecDeque::from([(0, None)]) };
        let covered = if splittable { Ranges::default() } else { covered };
        state.files.insert(key.clone(), SourceFile { path, partition, compression, identity, covered, todo });
        state.ready.push_back(key);
        self.changed.notify_all();
        Ok(true)
    }

    /// The next job; none when there is nothing to read now.
    pub fn take(&self) -> Result<Option<Job>> {
        let mut state = self.state();
        if state.ready.is_empty() && self.follow {
            self.look_at_waiting(&mut state)?;
        }
        while let Some(key) = state.ready.front().cloned() {
            let Some(file) = state.files.get_mut(&key) else {
                state.ready.pop_front();
                continue;
            };
            let Some((start, end)) = file.todo.pop_front() else {
                state.ready.pop_front();
                continue;
            };
            let end = self.cut(file, start, end)?;
            return Ok(Some(Job {
                partition: file.partition.clone(),
                path: file.path.clone(),
                compression: file.compression,
                identity: file.identity.clone(),
                start,
                end,
                covered: file.covered.clone(),
            }));
        }
        Ok(None)
    }

    /// Cuts a big stretch at a line end; what is behind the cut stays to be handed out.
    fn cut(&self, file: &mut SourceFile, start: i64, end: Option<i64>) -> Result<Option<i64>> {
        if self.format != Format::Json || file.compression != Compression::Plain {
            return Ok(end);
        }
        let last = end.unwrap_or(file.identity.length_bytes as i64);
        if last - start <= self.chunk_bytes + self.chunk_bytes / 2 {
            return Ok(end);
        }
        let opened = File::open(&file.path).map_err(|error| identity::cannot_read(&file.path, error))?;
        let cut = behind_line_end(&opened, start + self.chunk_bytes - 1, last)
            .map_err(|error| identity::cannot_read(&file.path, error))?;
        match cut {
            Some(cut) if cut < last => {
                file.todo.push_front((cut, end));
                Ok(Some(cut))
            }
            _ => Ok(end),
        }
    }

    /// Takes back a job that could not be opened.
    pub fn give_back(&self, job: Job) {
        let mut state = self.state();
        let key = job.partition.key.clone();
        if let Some(file) = state.files.get_mut(&key) {
            file.todo.push_front((job.start, job.end));
            state.ready.push_front(key);
        }
    }

    /// Notes how a file was when a job opened it.
    pub fn opened(&self, job: &Job, identity: FileIdentity) {
        if let Some(file) = self.state().files.get_mut(&job.partition.key) {
            let grown = identity.length_bytes.saturating_sub(file.identity.length_bytes);
            self.total_bytes.fetch_add(grown, Ordering::Relaxed);
            file.identity = identity;
        }
    }

    /// Notes that a job was read to its end. A file that is followed waits for more from there on.
    pub fn ended(&self, job: &Job, offset: i64, read_to: i64, whole: bool) {
        if !self.follow || job.end.is_some() {
            return;
        }
        let plain_text = job.compression == Compression::Plain && self.format != Format::Parquet;
        let seen_bytes = if plain_text { read_to.max(0) as u64 } else { job.identity.length_bytes };
        if !whole {
            tracing::info!(file = %job.partition.key, offset, "the file breaks off; waiting for the rest of it");
        }
        let mut state = self.state();
        if let Some(file) = state.files.get_mut(&job.partition.key) {
            // What lies before `offset` is done: a reader that comes again starts behind it.
            file.covered = Ranges::default();
        }
        state.waiting.insert(job.partition.key.clone(), Waiting { offset, seen_bytes, told: false });
    }

    fn look_at_waiting(&self, state: &mut State) -> Result<()> {
        if state.last_look.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        state.last_look = Some(Instant::now());
        let mut grown = Vec::new();
        for (key, waiting) in &mut state.waiting {
            let path = Path::new(&**key);
            match std::fs::metadata(path).map(|metadata| metadata.len()) {
                Ok(length) if length < waiting.seen_bytes => return Err(shortened(path, length, waiting.seen_bytes)),
                Ok(length) if length > waiting.seen_bytes => grown.push(key.clone()),
                Ok(_) => waiting.told = false,
                Err(_) if waiting.told => {}
                Err(error) => {
                    tracing::warn!(file = %key, %error, "a file that was read to its end is gone");
                    waiting.told = true;
                }
            }
        }
        for key in grown {
            if let (Some(waiting), Some(file)) = (state.waiting.remove(&key), state.files.get_mut(&key)) {
                file.todo.push_back((waiting.offset, None));
                state.ready.push_back(key);
            }
        }
        Ok(())
    }

    /// Waits until something may have changed, at most so long.
    pub fn wait(&self, time: Duration) {
        let mut state = self.state();
        if state.ready.is_empty() {
            self.changed.wait_for(&mut state, time.min(LOOK_EVERY));
        }
    }

    /// How a file was when it was last opened.
    pub fn identity(&self, key: &str) -> Option<FileIdentity> {
        self.state().files.get(key).map(|file| file.identity.clone())
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.state().files.len()
    }
}

/// What earlier runs did not read, the last stretch being open.
fn gaps(covered: &Ranges) -> VecDeque<(i64, Option<i64>)> {
    let mut gaps = VecDeque::new();
    let mut start = 0;
    for (from, to) in covered.as_slice() {
        if *from > start {
            gaps.push_back((start, Some(*from)));
        }
        start = *to;
    }
    gaps.push_back((start, None));
    gaps
}

/// Refuses a plain file that ends before what was read of it, or whose last line went on after it had been read.
fn check_covered(path: &Path, file: &File, length_bytes: u64, covered: &Ranges) -> Result<()> {
    let end = covered.end().unwrap_or(0);
    if end > length_bytes as i64 {
        return Err(shortened(path, length_bytes, end.max(0) as u64));
    }
    if end == 0 || end == length_bytes as i64 {
        return Ok(());
    }
    let mut around = [0; 2];
    file.read_exact_at(&mut around, end as u64 - 1).map_err(|error| identity::cannot_read(path, error))?;
    if around[0] == b'\n' || around[1] == b'\n' || around[1] == b'\r' {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Input,
        format!("the last line of {} was read at byte {end} before it was finished, and went on since", path.display()),
    )
    .help("runs without --follow take an unfinished last line as a record: finish lines before such a run, or follow the file; now move what is behind that byte to a file of its own"))
}

fn shortened(path: &Path, length_bytes: u64, read_bytes: u64) -> Error {
    Error::new(
        ErrorKind::Input,
        format!(
            "file {} is not the file that was read before: it has {length_bytes} bytes, but {read_bytes} were read",
            path.display()
        ),
    )
    .help("put the old file back, or give the new one a name of its own: a file that was read may only grow at its end")
}

/// The offset behind the first line end at or after `from`, looking no further than `limit` and a record's largest size.
fn behind_line_end(file: &File, from: i64, limit: i64) -> std::io::Result<Option<i64>> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = from;
    while at < limit && at - from <= MAX_RECORD_BYTES as i64 {
        let count = file.read_at(&mut buffer, at as u64)?;
        if count == 0 {
            break;
        }
        if let Some(index) = memchr::memchr(b'\n', &buffer[..count]) {
            return Ok(Some(at + index as i64 + 1));
        }
        at += count as i64;
    }
    Ok(None)
}
