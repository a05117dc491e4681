//! What became of plugins and configs: one JSON object a line in `history.jsonl` of the data folder, synced. It says
//! which version made which epochs, and what may run after a restart: a version that failed its probation or was rolled
//! back does not come back by itself, a pinned one is the only one that runs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::super::logic::Version;
use super::{By, Shadow};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Entries that are kept in memory, the last ones.
const KEPT_ENTRIES: usize = 10_000;

/// A step in the life of a stage's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It did not load or does not fit.
    Refused,
    /// It fits and waits for a person.
    Held,
    /// It takes over at the end of the epoch.
    Accepted,
    /// Its rows are in the epochs from `epoch` on.
    InPlace,
    /// Its first epoch is committed.
    Passed,
    /// Its first epoch was thrown away.
    Failed,
    /// It was taken back by a person.
    RolledBack,
    /// It alone may run.
    Pinned,
    /// Others may run again.
    Unpinned,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in ms since 1970-01-01 UTC; filled in by `History::add`.
    pub at_ms: i64,
    /// The stage.
    pub stage: String,
    /// The version.
    pub version: Version,
    /// What became of it.
    pub what: What,
    /// Who wanted it.
    pub by: By,
    /// The number of the plan that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<u64>,
    /// The epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How it did beside the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

impl Entry {
    /// An entry of a stage's version, now.
    pub fn new(stage: &str, version: &Version, what: What, by: By) -> Self {
        let (stage, version) = (stage.to_owned(), version.clone());
        Self { at_ms: 0, stage, version, what, by, plan: None, epoch: None, why: None, shadow: None }
    }

    /// With a reason.
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }
}

/// The history of a data folder.
pub struct History {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    file: File,
    entries: Vec<Entry>,
}

impl History {
    /// Reads what there is. A last line that was torn by a crash is cut off; anything else that is no entry is an error.
    pub fn open(data_folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = data_folder.join("history.jsonl");
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Storage, format!("{} cannot be read", path.display())).caused_by(error)
        };
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).and_then(|()| file.flush()).map_err(failed)?;
        }
        let mut entries = Vec::new();
        for (number, line) in text[..whole].lines().enumerate() {
            entries.push(serde_json::from_str(line).map_err(|error| {
                Error::new(ErrorKind::Storage, format!("{}:{} is no entry of a history", path.display(), number + 1))
                    .caused_by(error)
                    .help("mend or remove the line; it only says what became of plugins, no row hangs on it")
            })?);
        }
        Ok(Self { path, clock, state: Mutex::new(State { file, entries }) })
    }

    /// Adds an entry; when this returns it survives a crash. What cannot be written is logged: no row hangs on it.
    pub fn add(&self, entry: Entry) {
        let entry = Entry { at_ms: self.clock.now_ms(), ..entry };
        let mut state = self.state();
        let line = serde_json::to_string(&entry).map(|line| line + "\n").map_err(std::io::Error::from);
        let written = line.and_then(|line| state.file.write_all(line.as_bytes())).and_then(|()| state.file.sync_data());
        if let Err(error) = written {
            tracing::error!(file = %self.path.display(), %error, "the history cannot be written");
        }
        state.entries.push(entry);
        if state.entries.len() > KEPT_ENTRIES {
            state.entries.remove(0);
        }
    }

    /// The entries of a stage, or all, oldest first.
    pub fn entries(&self, stage: Option<&str>) -> Vec<Entry> {
        let state = self.state();
        let entries = state.entries.iter().filter(|entry| stage.is_none_or(|stage| entry.stage == stage));
        entries.cloned().collect()
    }

    /// The digest that alone may run in a stage.
    pub fn pinned(&self, stage: &str) -> Option<String> {
        let state = self.state();
        let mut entries = state.entries.iter().rev().filter(|entry| entry.stage == stage);
        let last = entries.find(|entry| matches!(entry.what, What::Pinned | What::Unpinned))?;
        (last.what == What::Pinned).then(|| last.version.digest.clone())
    }

    /// Whether a version was found bad, and not wanted again since.
    pub fn is_bad(&self, stage: &str, version: &Version) -> bool {
        let state = self.state();
        let mut entries = state.entries.iter().rev().filter(|entry| entry.stage == stage && entry.version == *version);
        let last = entries.find(|entry| matches!(entry.what, What::Failed | What::RolledBack | What::Accepted));
        last.is_some_and(|entry| entry.what != What::Accepted)
    }

    /// The versions that ran in a stage, by the epoch that they began with; the last one runs.
    pub fn reigns(&self, stage: &str) -> BTreeMap<u64, Version> {
        let mut reigns = BTreeMap::new();
        for entry in self.state().entries.iter().filter(|entry| entry.stage == stage) {
            match (entry.what, entry.epoch) {
                (What::InPlace, Some(epoch)) => drop(reigns.insert(epoch, entry.version.clone())),
                // Its first epoch was thrown away.
                (What::Failed, Some(epoch)) => drop(reigns.remove(&epoch)),
                _ => {}
            }
        }
        reigns
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn version(digest: &str) -> Version {
        Version { digest: digest.to_owned(), config: None }
    }

    fn entry(digest: &str, what: What, epoch: Option<u64>) -> Entry {
        Entry { epoch, ..Entry::new("clean", &version(digest), what, By::File) }
    }

    fn open(folder: &Path) -> Result<History> {
        History::open(folder, Arc::new(ManualClock::new(7)))
    }

    #[test]
    fn it_survives_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path()).unwrap();
        history.add(entry("a", What::InPlace, Some(1)));
        history.add(entry("b", What::InPlace, Some(5)));
        let before = history.entries(None);
        drop(history);
        let path = folder.path().join("history.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at_ms\":1,").unwrap();
        let history = open(folder.path()).unwrap();
        assert_eq!(history.entries(Some("clean")), before);
        assert_eq!(before[0].at_ms, 7);
        history.add(entry("c", What::Refused, None));
        assert_eq!(open(folder.path()).unwrap().entries(None).len(), 3);
        std::fs::write(&path, "no entry\n").unwrap();
        assert!(open(folder.path()).err().unwrap().message().contains("history.jsonl:1 is no entry"));
    }

    #[test]
    fn a_bad_version_stays_bad_until_it_is_accepted_again() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path()).unwrap();
        history.add(entry("b", What::Accepted, None));
        assert!(!history.is_bad("clean", &version("b")));
        history.add(entry("b", What::Failed, Some(4)));
        assert!(history.is_bad("clean", &version("b")) && !history.is_bad("other", &version("b")));
        let configured = Version { config: Some(serde_json::json!({"a": 1})), ..version("b") };
        assert!(!history.is_bad("clean", &configured), "with another config it is another version");
        history.add(entry("b", What::Accepted, None));
        assert!(!history.is_bad("clean", &version("b")));
    }

    #[test]
    fn pins_and_reigns_are_what_was_said_last() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path()).unwrap();
        history.add(entry("a", What::InPlace, Some(1)));
        history.add(entry("b", What::InPlace, Some(5)));
        history.add(entry("b", What::Failed, Some(5)));
        history.add(entry("c", What::InPlace, Some(5)));
        let reigns = BTreeMap::from([(1, version("a")), (5, version("c"))]);
        assert_eq!(history.reigns("clean"), reigns);
        history.add(entry("a", What::Pinned, None));
        assert_eq!(history.pinned("clean").as_deref(), Some("a"));
        history.add(entry("a", What::Unpinned, None));
        assert_eq!(history.pinned("clean"), None);
    }
}
