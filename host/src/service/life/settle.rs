//! When a plugin's file may be judged.
//!
//! A build that renames its result into place changes a file in one step; `cp`, an editor or a download do it in several,
//! and each is seen. A file that holds a plugin is taken at once, whoever wrote it. What would be refused is refused only
//! when the file has stood still for a while, and each content once.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file stands still before what is wrong with it is said.
pub const SETTLES_AFTER: Duration = Duration::from_millis(200);
/// How long one that is empty, or not there, does: whoever emptied it is about to write.
const EMPTY_SETTLES_AFTER: Duration = Duration::from_secs(2);

/// What tells one state of a file from another; none while it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed_ns: (i64, i64),
    file: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self { bytes: about.len(), changed_ns: (about.mtime(), about.mtime_nsec()), file: about.ino() })
    }
}

/// Files whose state would be refused, and since when they stand still; and of which state that was said.
#[derive(Debug, Default)]
pub struct Settling {
    /// By stage: its file, how it is, since when.
    waiting: BTreeMap<String, (PathBuf, Option<Stamp>, Instant)>,
    said: BTreeMap<String, Option<Stamp>>,
}

/// What may be said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It may be half-written.
    NotYet,
    /// It stands still: what is wrong with it is said.
    Yes,
    /// It stands still, and it was said.
    Said,
}

impl Settling {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The files that wait.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.waiting.values().map(|(path, ..)| path)
    }

    /// How a stage's file stands at `now`.
    pub fn look(&mut self, stage: &str, path: &Path, now: Instant) -> Settled {
        let stamp = Stamp::of(path);
        if self.said.get(stage) == Some(&stamp) {
            self.waiting.remove(stage);
            return Settled::Said;
        }
        let since = match self.waiting.get(stage) {
            Some((_, before, since)) if *before == stamp => *since,
            _ => now,
        };
        let is_empty = stamp.is_none_or(|stamp| stamp.bytes == 0);
        let after = if is_empty { EMPTY_SETTLES_AFTER } else { SETTLES_AFTER };
        if now.saturating_duration_since(since) < after {
            self.waiting.insert(stage.to_owned(), (path.to_owned(), stamp, since));
            return Settled::NotYet;
        }
        self.waiting.remove(stage);
        self.said.insert(stage.to_owned(), stamp);
        Settled::Yes
    }

    /// A stage's file holds what runs, or what may.
    pub fn is_good(&mut self, stage: &str) {
        self.waiting.remove(stage);
        self.said.remove(stage);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_judged_when_it_stands_still_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let mut settling = Settling::default();
        fs::write(&path, "").unwrap();
        assert_eq!(settling.look("tag", &path, at(0)), Settled::NotYet);
        assert_eq!(settling.look("tag", &path, at(300)), Settled::NotYet, "it is empty");
        fs::write(&path, "a half").unwrap();
        assert_eq!(settling.look("tag", &path, at(400)), Settled::NotYet);
        fs::write(&path, "a half more").unwrap();
        assert_eq!(settling.look("tag", &path, at(550)), Settled::NotYet);
        assert_eq!(settling.look("tag", &path, at(700)), Settled::NotYet, "it changed 150 ms ago");
        assert_eq!(settling.files().collect::<Vec<_>>(), [&path]);
        assert_eq!(settling.look("tag", &path, at(750)), Settled::Yes);
        assert!(settling.is_empty());
        assert_eq!(settling.look("tag", &path, at(800)), Settled::Said);
        fs::remove_file(&path).unwrap();
        assert_eq!(settling.look("tag", &path, at(900)), Settled::NotYet);
        assert_eq!(settling.look("tag", &path, at(2_900)), Settled::Yes);
        assert_eq!(settling.look("tag", &path, at(2_901)), Settled::Said);
    }
}
