//! The data folder of a host: locked by one process at a time, with the host's id and the number of its starts.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{RealDisk, write_whole};
use crate::error::{Error, ErrorKind, Result};

/// Who writes: in every file name, footer and commit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Eight hex digits, drawn when the data folder was made.
    pub id: String,
    /// Counts the starts on this data folder, from 1.
    pub incarnation: u64,
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

impl DataFolder {
    /// Makes the folder if it is not there, locks it and counts the start.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |what: &str, error| {
            Error::new(ErrorKind::Storage, format!("the data folder {} {what}", path.display())).caused_by(error)
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
        let host = next_start(path).map_err(|error| failed("cannot be written", error))?;
        Ok(Self { path: path.to_path_buf(), host, _lock: lock })
    }
}

/// Reads the host of the folder, counts one more start and keeps that, atomically.
fn next_start(folder: &Path) -> std::io::Result<Host> {
    let path = folder.join("host.json");
    let mut host = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Host { id: fresh_id()?, incarnation: 0 },
        Err(error) => return Err(error),
    };
    host.incarnation += 1;
    write_whole(&RealDisk, &path, &serde_json::to_vec(&host)?)?;
    Ok(host)
}

fn fresh_id() -> std::io::Result<String> {
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
        let first = DataFolder::open(folder.path()).unwrap();
        let error = DataFolder::open(folder.path()).unwrap_err();
        assert!(error.message().contains("in use by another running millstream"), "{error}");
        let id = first.host.id.clone();
        drop(first);
        let second = DataFolder::open(folder.path()).unwrap();
        assert_eq!((second.host.id, second.host.incarnation), (id, 2));
    }
}
