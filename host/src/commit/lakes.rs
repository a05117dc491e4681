//! What a commit does in the lakes: it gives files their names, writes manifests, and deletes what no commit names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::epochs::Settings;
use super::folder::Host;
use super::record::CommitRecord;
use crate::disk::{way_out, write_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{StagedFile, Token, checksum, epoch_of};

impl Settings {
    /// Publishes what a record names, and says so; how many files had not got their final names.
    pub(super) fn publish(&self, record: &CommitRecord) -> Result<usize> {
        let moved = self.publish_files(record)?;
        self.write_manifests(record)?;
        Ok(moved)
    }

    /// Compares what waits for its name with the checksums of the record, before anything is moved: between the commit and
    /// this start the disk may have changed it.
    #[expect(clippy::collapsible_match, reason = "a guard that reads a file hides what the arm costs")]
    pub(super) fn check_staged(&self, record: &CommitRecord) -> Result<()> {
        let disk = &self.disk;
        for file in record.outputs.values().flat_map(|token| &token.files) {
            let failed = |error| storage(&file.staged, "cannot be read", error);
            match disk.size_bytes(&file.staged).map_err(failed)? {
                // It has its name already.
                None => {}
                Some(bytes) if bytes == file.bytes => {
                    if checksum(disk, &file.staged, bytes).map_err(failed)? != file.crc32 {
                        return Err(damaged(record.epoch, file, "its checksum does not match"));
                    }
                }
                Some(bytes) => {
                    return Err(damaged(record.epoch, file, &format!("{bytes} bytes instead of {}", file.bytes)));
                }
            }
        }
        Ok(())
    }

    /// Refuses to go on from an older commit than the one whose files are in the lake: the log has lost records that were
    /// synced, and the rows would come twice. Looked at only where the log ends in a broken line: a lake may be large.
    pub(super) fn check_not_behind(&self, epoch: u64) -> Result<()> {
        for (output, lake) in &self.lakes {
            let failed = |error| storage(lake, "cannot be listed", error);
            let staging = lake.join(STAGING);
            for path in self.disk.files_below(lake).map_err(failed)? {
                let is_published = !path.starts_with(&staging);
                let written = path.file_name().and_then(|name| name.to_str());
                let written = written.and_then(|name| epoch_of(output, &self.host, name));
                if is_published && let Some(later) = written.filter(|written| *written > epoch) {
                    let what = format!(
                        "the commit log in {} ends in a damaged line behind epoch {epoch}, but {} is of epoch {later}",
                        self.folder.display(),
                        path.display()
                    );
                    return Err(Error::new(ErrorKind::Storage, what).help(
                        "the disk changed a record that was synced, and going on would write its rows again: restore the \
                         data folder from a copy, or start with an empty data folder and a fresh lake",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Gives the record's files their final names; those that have them already are done.
    pub(super) fn publish_files(&self, record: &CommitRecord) -> Result<usize> {
        let disk = &self.disk;
        let mut folders = BTreeSet::new();
        let mut moved = 0;
        for file in record.outputs.values().flat_map(|token| &token.files) {
            let failed = |error| storage(&file.published, "cannot be published", error);
            // Another host may do the same at the same time: see `adopt`.
            match disk.rename(&file.staged, &file.published) {
                Ok(()) => moved += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if disk.size_bytes(&file.published).map_err(failed)? != Some(file.bytes) {
                        return Err(not_there(record.epoch, file));
                    }
                }
                Err(error) => return Err(failed(error)),
            }
            folders.extend(file.published.parent().map(Path::to_path_buf));
            folders.extend(file.staged.parent().map(Path::to_path_buf));
        }
        for file in record.outputs.values().flat_map(|token| &token.removed) {
            self.remove(&file.path)?;
            folders.extend(file.path.parent().map(Path::to_path_buf));
        }
        for folder in folders {
            disk.sync_folder(&folder).map_err(|error| storage(&folder, "cannot be synced", error))?;
        }
        Ok(moved)
    }

    /// One manifest for each output that got or lost files: the whole view of what the epoch changed.
    pub(super) fn write_manifests(&self, record: &CommitRecord) -> Result<()> {
        let has_changed = |token: &Token| !token.files.is_empty() || !token.removed.is_empty();
        for (output, token) in record.outputs.iter().filter(|(_, token)| has_changed(token)) {
            let Some(lake) = self.lakes.get(output) else { continue };
            let folder = lake.join("_manifest");
            let path = folder.join(format!("{}-{:010}.json", record.host, record.epoch));
            let below = |path: &Path| path.strip_prefix(lake).unwrap_or(path).to_path_buf();
            let mut manifest = serde_json::json!({
                "host": record.host, "epoch": record.epoch, "plan": record.plan, "output": output,
                "committed_at_ms": record.committed_at_ms,
                "files": token.files.iter().map(|file| serde_json::json!({
                    "path": below(&file.published), "rows": file.rows, "bytes": file.bytes,
                })).collect::<Vec<_>>(),
            });
            if !token.removed.is_empty() {
                manifest["removed"] = token.removed.iter().map(|file| serde_json::json!(below(&file.path))).collect();
            }
            write_whole(self.disk.as_ref(), &path, manifest.to_string().as_bytes())
                .map_err(|error| storage(&path, "cannot be written", error))?;
        }
        Ok(())
    }

    /// Deletes what the last commit does not name in this host's staging, and in that of others that adopted what it left.
    /// Files of later epochs stay: whoever makes them may be at work, and commit them. In its own staging the host itself
    /// knows better: at its start all of that goes, and then what is there is its own work.
    pub(super) fn delete_leftovers(&self, last: Option<&CommitRecord>, at_start: bool) -> Result<usize> {
        let outputs = last.iter().flat_map(|record| record.outputs.values());
        let waiting: BTreeSet<PathBuf> = outputs.flat_map(Token::spool_files).collect();
        let epoch = last.map_or(0, |last| last.epoch);
        let host = &self.host;
        let mut deleted = 0;
        for (output, lake) in &self.lakes {
            let staging = lake.join(STAGING);
            let listed = self.disk.files_below(&staging);
            let files = listed.map_err(|error| storage(&staging, "cannot be listed", error))?;
            let is_leftover = |path: &PathBuf| {
                let mut below = path.strip_prefix(&staging).ok()?.iter();
                let (folder, name) = (below.next()?.to_str()?, below.next_back()?.to_str()?);
                let is_dead = || {
                    let maker = Host { id: folder.to_owned(), ..host.clone() };
                    epoch_of(output, &maker, name).is_some_and(|made| made <= epoch)
                };
                let is_own = self.is_host && folder == host.id;
                let may_go = if is_own { at_start } else { host.stages_in(folder) && is_dead() };
                Some(may_go && !waiting.contains(path))
            };
            for path in files.into_iter().filter(|path| is_leftover(path) == Some(true)) {
                self.remove(&path)?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path).map_err(|error| storage(path, "cannot be removed", error))
    }
}

fn damaged(epoch: u64, file: &StagedFile, what: &str) -> Error {
    let (published, staged) = (file.published.display(), file.staged.display());
    let what = format!("epoch {epoch} committed {published}, but its staged file {staged} is damaged: {what}");
    Error::new(ErrorKind::Storage, what).help(
        "the disk lost or changed what was synced: restore the file from a copy, or replay the source from an older position; \
         nothing was changed",
    )
}

fn not_there(epoch: u64, file: &StagedFile) -> Error {
    let (published, staged) = (file.published.display(), file.staged.display());
    let what =
        format!("epoch {epoch} committed {published}, but neither it nor its staged file {staged} is there whole");
    Error::new(ErrorKind::Storage, what)
        .help("restore the file, or take the positions back before this epoch; nothing was changed")
}

/// Where a host stages files for one lake: on the lake's file system, out of the sight of globs.
pub fn staging_folder(lake: &Path, host: &Host) -> PathBuf {
    lake.join(STAGING).join(&host.id)
}

/// A lake's folder for what is not published.
const STAGING: &str = ".staging";

pub(super) fn storage(path: &Path, what: &str, error: std::io::Error) -> Error {
    let help = way_out(&error);
    Error::new(ErrorKind::Storage, format!("{} {what}", path.display())).caused_by(error).help(help)
}
