//! A savepoint: what a host needs to go on elsewhere, taken at a commit behind which nothing waits.
//!
//! The promise: who starts on a savepoint goes on exactly where the host stood still. It holds because the data folder is
//! locked while it is copied, so no commit is made meanwhile, and a folder whose last commit has rows in the spool is
//! refused: those rows lie in the lake's staging, under a host that may be started again.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::commit::{CommitRecord, DataFolder, last_commit};
use crate::error::{Error, ErrorKind, Result};
use crate::output::Token;

/// What is copied of a data folder. Tables and compiled plugins are made again; the lake is where it was. Rejects are there when
/// the pipeline file names no other place for them.
const COPIED: [&str; 6] = ["host.json", "commit.log", "history.jsonl", "plugins", "replays", "rejects"];

/// Where a host stands.
#[derive(Debug, Serialize)]
pub struct Standing {
    /// The host's id.
    pub host: String,
    /// Its last epoch; 0 before the first commit.
    pub epoch: u64,
    /// The records that it read since its data folder exists.
    pub read: u64,
    /// By source and partition the next offset.
    pub next: Vec<(String, String, i64)>,
    /// The copy, if one was made.
    pub savepoint: Option<PathBuf>,
}

/// Waits until no host runs on a data folder, and says where it stands; copies it to `to`, which must not be there.
pub fn standing(data: &Path, to: Option<&Path>) -> Result<Standing> {
    let (_lock, host) = DataFolder::wait(data)?;
    let last = last_commit(data)?;
    if let (Some(to), Some(last)) = (to, &last) {
        refuse_waiting(data, to, last)?;
    }
    if let Some(to) = to {
        copy(data, to)?;
    }
    let positions = last.iter().flat_map(|last| &last.positions);
    let next = positions.filter_map(|(partition, position)| {
        Some((partition.source.to_string(), partition.key.to_string(), position.ranges.end()?))
    });
    Ok(Standing {
        host,
        epoch: last.as_ref().map_or(0, |last| last.epoch),
        read: last.as_ref().map_or(0, |last| last.totals.total_read()),
        next: next.collect(),
        savepoint: to.map(Path::to_path_buf),
    })
}

/// Refuses a savepoint that is there already.
pub fn check_free(to: &Path) -> Result<()> {
    if !to.exists() {
        return Ok(());
    }
    let what = format!("the savepoint {} is there already", to.display());
    Err(Error::new(ErrorKind::Config, what).help("name a folder that is not there yet"))
}

fn refuse_waiting(data: &Path, to: &Path, last: &CommitRecord) -> Result<()> {
    if !last.outputs.values().any(Token::is_waiting) {
        return Ok(());
    }
    let (data, to, epoch) = (data.display(), to.display(), last.epoch);
    let what =
        format!("no savepoint in {to}: epoch {epoch}, the last one in {data}, has rows whose files are still open");
    Err(Error::new(ErrorKind::Config, what)
        .help("the host was killed: start it again, it makes files of them, then drain it"))
}

fn copy(data: &Path, to: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Storage, format!("the savepoint {} cannot be written", to.display())).caused_by(error)
    };
    check_free(to)?;
    // Under its name it is whole.
    let partial = to.with_added_extension("partial");
    drop(fs::remove_dir_all(&partial));
    fs::create_dir_all(&partial).map_err(failed)?;
    for name in COPIED {
        copy_all(&data.join(name), &partial.join(name)).map_err(failed)?;
    }
    sync(&partial).and_then(|()| fs::rename(&partial, to)).map_err(failed)?;
    sync(to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))).map_err(failed)
}

/// A file, or a folder of files; fine when it is not there.
fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
        return sync(to);
    }
    match fs::copy(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => sync(to),
    }
}

fn sync(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}
