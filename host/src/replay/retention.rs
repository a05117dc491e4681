//! How long rejects are kept: when the time of a file is over it is deleted, and the manifest that names it as well.
//!
//! Promise: no file goes that a commit or a replay still needs. A start that brings a commit to its end wants each of its
//! files there, so a file goes only when its epoch is finished: its host says so of its own, and of any other's a later
//! manifest does, as an epoch begins behind the end of the one before. A file that a replay waits for goes behind the replay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::claim;
use super::stored::{Manifest, manifests};
use crate::disk::{Disk, way_out};
use crate::error::{Error, ErrorKind, Result};

/// How long the rejects of a folder are kept.
#[derive(Debug)]
pub struct Retention {
    /// The folder.
    pub folder: PathBuf,
    /// How long after their commit.
    pub keep: Duration,
    /// Where it is.
    pub disk: Arc<dyn Disk>,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Files.
    pub files: u64,
    /// The rejects in them.
    pub rejects: u64,
}

impl Retention {
    /// Deletes what was committed so long ago. `finished`: this host, and its last epoch that is finished; `needed`: files
    /// that replays wait for.
    ///
    /// # Errors
    /// `Storage` when a file cannot be deleted; what is behind it stays until the next time.
    pub fn delete_old(&self, finished: (&str, u64), needed: &BTreeSet<String>, now_ms: i64) -> Result<Deleted> {
        let keep_ms = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_sub(keep_ms);
        let mut deleted = Deleted::default();
        for (path, manifest) in over(manifests(&self.folder)?, finished, until_ms) {
            let (needed, files): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|file| needed.contains(&file.path));
            for file in files {
                let path = self.folder.join(&file.path);
                // Another host of the group may have been faster.
                if self.disk.size_bytes(&path).map_err(|error| undeleted(&path, error))?.is_some() {
                    self.disk.remove(&path).map_err(|error| undeleted(&path, error))?;
                    deleted.files += 1;
                    deleted.rejects += file.rows;
                }
                let claim = claim::path(&self.folder, &file.path);
                self.disk.remove(&claim).map_err(|error| undeleted(&claim, error))?;
            }
            // Last: what it names is found again when the host dies in between.
            if needed.is_empty() {
                self.disk.remove(&path).map_err(|error| undeleted(&path, error))?;
            }
        }
        Ok(deleted)
    }
}

fn undeleted(path: &std::path::Path, error: std::io::Error) -> Error {
    let help = way_out(&error);
    Error::new(ErrorKind::Storage, format!("{} cannot be deleted, and its time is over", path.display()))
        .caused_by(error)
        .help(help)
}

/// The manifests of epochs that were committed before a time and are finished.
fn over(manifests: Vec<(PathBuf, Manifest)>, finished: (&str, u64), until_ms: i64) -> Vec<(PathBuf, Manifest)> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (_, manifest) in &manifests {
        let last = last.entry(manifest.host.clone()).or_default();
        *last = (*last).max(manifest.epoch);
    }
    let is_finished = |manifest: &Manifest| match manifest.host == finished.0 {
        true => manifest.epoch <= finished.1,
        false => last.get(&manifest.host).is_some_and(|last| manifest.epoch < *last),
    };
    manifests
        .into_iter()
        .filter(|(_, manifest)| manifest.committed_at_ms <= until_ms && is_finished(manifest))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    /// A folder with an epoch of a host at each time, named so; a file of three rejects each.
    fn folder(epochs: &[(&str, u64, i64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("_manifest")).unwrap();
        for (host, epoch, committed_at_ms) in epochs {
            let file = format!("rejects-{host}-{epoch}.parquet");
            std::fs::write(folder.path().join(&file), "").unwrap();
            let manifest = serde_json::json!({
                "host": host, "epoch": epoch, "committed_at_ms": committed_at_ms,
                "files": [{ "path": file, "rows": 3, "bytes": 0 }],
            });
            std::fs::write(folder.path().join(format!("_manifest/{host}-{epoch}.json")), manifest.to_string()).unwrap();
        }
        folder
    }

    fn left(folder: &tempfile::TempDir, of: &str) -> Vec<String> {
        let entries = std::fs::read_dir(folder.path().join(of)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.contains('.'));
        names.sort();
        names
    }

    fn delete(folder: &tempfile::TempDir, needed: &[&str], now_ms: i64) -> Deleted {
        let needed = needed.iter().map(|name| (*name).to_owned()).collect();
        let keep = Duration::from_millis(100);
        let retention = Retention { folder: folder.path().to_path_buf(), keep, disk: Arc::new(RealDisk) };
        retention.delete_old(("own", 2), &needed, now_ms).unwrap()
    }

    #[test]
    fn files_go_with_their_manifests_when_their_time_is_over() {
        let folder = folder(&[("own", 1, 0), ("own", 2, 50)]);
        std::fs::write(folder.path().join("rejects-own-9.parquet"), "").unwrap();
        assert_eq!(delete(&folder, &[], 99), Deleted::default());
        assert_eq!(delete(&folder, &[], 100), Deleted { files: 1, rejects: 3 });
        assert_eq!(left(&folder, "_manifest"), ["own-2.json"]);
        assert_eq!(delete(&folder, &[], 1_000), Deleted { files: 1, rejects: 3 });
        assert_eq!(left(&folder, ""), ["rejects-own-9.parquet"], "no commit named it yet");
        assert_eq!(left(&folder, "_manifest"), Vec::<String>::new());
    }

    #[test]
    fn what_a_commit_or_a_replay_needs_stays() {
        let folder = folder(&[("own", 2, 0), ("own", 3, 0), ("other", 7, 0), ("other", 8, 0)]);
        assert_eq!(delete(&folder, &["rejects-own-2.parquet"], 1_000), Deleted { files: 1, rejects: 3 });
        let unfinished = ["rejects-other-8.parquet", "rejects-own-2.parquet", "rejects-own-3.parquet"];
        assert_eq!(left(&folder, ""), unfinished, "of the others' and of its own epochs the last may not be finished");
        assert_eq!(delete(&folder, &[], 1_000), Deleted { files: 1, rejects: 3 }, "behind the replay");
    }
}
