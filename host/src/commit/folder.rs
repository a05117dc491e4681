//! The data folder of a host: locked by one process at a time, with the host's id and the number of its starts.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{RealDisk, way_out, write_whole};
use crate::error::{Error, ErrorKind, Result};

/// Who writes: in every file name, footer and commit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Eight hex digits, drawn when the data folder was made.
    pub id: String,
    /// Counts the starts on this data folder, from 1.
    pub incarnation: u64,
}

impl Host {
    /// This host at work for one that is gone: its files and folders have names that neither of the two gives otherwise.
    pub fn in_place_of(&self, gone: &str) -> Self {
        Self { id: format!("{gone}.{}", self.id), incarnation: self.incarnation }
    }

    /// Whether a folder in staging is this host's, or of one that worked in its place.
    pub fn stages_in(&self, folder: &str) -> bool {
        folder.strip_prefix(self.id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// A data folder that this process holds.
#[derive(Debug)]
pub struct DataFolder {
    /// Its path.
    pub path: PathBuf,
    /// Its host.
    pub host: Host,
    /// The lock goes with the file, also when the process is killed.
    _lock: File,
}

/// What becomes of a data folder that is a copy of another one: it lies in another place than its host was last started in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It becomes a host of its own: what it reads is dealt out by groups, so that nothing is read twice.
    NewHost,
    /// It is refused: both would read the same.
    Refused,
    /// It was moved, and the other one is gone: the host goes on.
    Moved,
}

/// `host.json`
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    host: Host,
    /// The inode of the folder: a copy has another one.
    inode: u64,
}

impl DataFolder {
    /// Makes the folder if it is not there, locks it and counts the start.
    pub fn open(path: &Path, copied: Copied) -> Result<Self> {
        let failed = |what: &str, error: std::io::Error| {
            let help = way_out(&error);
            let what = format!("the data folder {} {what}", path.display());
            Error::new(ErrorKind::Storage, what).caused_by(error).help(help)
        };
        fs::create_dir_all(path).map_err(|error| failed("cannot be made", error))?;
        let lock = File::create(path.join("lock")).map_err(|error| failed("cannot be locked", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("the data folder {} is in use by another running millstream", path.display()),
                )
                .help("stop the other one, or give this pipeline a data folder of its own (`data = \"..\"`)"));
            }
            Err(TryLockError::Error(error)) => return Err(failed("cannot be locked", error)),
        }
        let kept = read_kept(path).map_err(|error| failed("has a host.json that cannot be read", error))?;
        let inode = fs::metadata(path).map_err(|error| failed("cannot be looked at", error))?.ino();
        let host = match kept {
            Some(kept) if kept.inode == inode || copied == Copied::Moved => kept.host,
            Some(kept) if copied == Copied::Refused => return Err(refuse_copy(path, &kept.host)),
            Some(kept) => become_another(path, &kept.host).map_err(|error| failed("cannot be written", error))?,
            None => fresh_host().map_err(|error| failed("gets no id", error))?,
        };
        let host = Host { incarnation: host.incarnation + 1, ..host };
        keep(path, Kept { host: host.clone(), inode }).map_err(|error| failed("cannot be written", error))?;
        Ok(Self { path: path.to_path_buf(), host, _lock: lock })
    }
}

impl DataFolder {
    /// Waits until no process holds the folder, and keeps others from doing so; the lock and the host's id.
    pub fn wait(path: &Path) -> Result<(File, String)> {
        let failed = |error| {
            let what = format!("the data folder {} cannot be read", path.display());
            Error::new(ErrorKind::Storage, what).caused_by(error)
        };
        let Some(kept) = read_kept(path).map_err(failed)? else {
            let what = format!("{} is no data folder: no host was ever started there", path.display());
            return Err(Error::new(ErrorKind::Config, what).help("is `data` set as for the host (`--set data=..`)?"));
        };
        let lock = File::create(path.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok((lock, kept.host.id))
    }

    /// Whether a process holds the folder.
    pub fn is_held(path: &Path) -> bool {
        let lock = File::open(path.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

fn read_kept(folder: &Path) -> std::io::Result<Option<Kept>> {
    match fs::read(folder.join("host.json")) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep(folder: &Path, kept: Kept) -> std::io::Result<()> {
    write_whole(&RealDisk, &folder.join("host.json"), &serde_json::to_vec(&kept)?)
}

fn fresh_host() -> std::io::Result<Host> {
    Ok(Host { id: fresh_id()?, incarnation: 0 })
}

/// The other host's commits stay with it: if it is gone, what it left is found in the commit topic.
fn become_another(folder: &Path, other: &Host) -> std::io::Result<Host> {
    let host = fresh_host()?;
    tracing::warn!(
        folder = %folder.display(), other = other.id, host = host.id,
        "the data folder is a copy of another host's: it gets an id of its own"
    );
    match fs::rename(folder.join("commit.log"), folder.join(format!("commit.log.of-{}", other.id))) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(host),
    }
}

fn refuse_copy(path: &Path, host: &Host) -> Error {
    let what = format!("the data folder {} is a copy of host {}'s, or was moved", path.display(), host.id);
    Error::new(ErrorKind::Config, what).help(
        "two hosts would read the same and write it twice. If the other folder is gone, say so: `run --moved`. Else give \
         this pipeline an empty data folder, and a lake of its own",
    )
}

/// Eight hex digits that nobody else has.
pub fn fresh_id() -> std::io::Result<String> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(format!("{:08x}", u32::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_host_and_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let open = || DataFolder::open(folder.path(), Copied::Refused);
        let first = open().unwrap();
        let error = open().unwrap_err();
        assert!(error.message().contains("in use by another running millstream"), "{error}");
        let id = first.host.id.clone();
        drop(first);
        let second = open().unwrap();
        assert_eq!((second.host.id, second.host.incarnation), (id, 2));
    }

    #[test]
    fn a_copy_is_refused_or_another_host_and_a_move_is_neither() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let id = DataFolder::open(&one, Copied::Refused).unwrap().host.id;
        fs::write(one.join("commit.log"), "").unwrap();
        fs::create_dir(&two).unwrap();
        for file in ["host.json", "commit.log"] {
            fs::copy(one.join(file), two.join(file)).unwrap();
        }
        let error = DataFolder::open(&two, Copied::Refused).unwrap_err();
        assert!(error.message().contains(&format!("a copy of host {id}'s")), "{error}");
        let moved = DataFolder::open(&two, Copied::Moved).unwrap();
        assert_eq!((&moved.host.id, moved.host.incarnation), (&id, 2));
        drop(moved);
        assert_eq!(DataFolder::open(&two, Copied::Refused).unwrap().host.id, id, "said once");
        fs::copy(one.join("host.json"), two.join("host.json")).unwrap();
        let other = DataFolder::open(&two, Copied::NewHost).unwrap();
        assert_ne!(other.host.id, id);
        assert!(two.join(format!("commit.log.of-{id}")).exists() && !two.join("commit.log").exists());
        let renamed = folder.path().join("three");
        drop(other);
        fs::rename(&one, &renamed).unwrap();
        assert_eq!(DataFolder::open(&renamed, Copied::Refused).unwrap().host.id, id, "the same folder by another name");
    }
}
