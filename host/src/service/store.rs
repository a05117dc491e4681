//! Plugins' bytes by digest, in the data folder: what was accepted runs after a restart, whatever lies on disk elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::digest;
use crate::disk::{RealDisk, write_whole};
use crate::error::{Error, ErrorKind, Result};

/// The folder `plugins` of a data folder: one file `<sha256>.wasm` for each plugin that was ever accepted.
#[derive(Clone, Debug)]
pub struct PluginStore {
    folder: PathBuf,
}

impl PluginStore {
    /// The store of a data folder.
    pub fn new(data_folder: &Path) -> Self {
        Self { folder: data_folder.join("plugins") }
    }

    /// Keeps bytes under their digest; when this returns they survive a crash.
    pub fn keep(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        write_whole(&RealDisk, &path, bytes).map_err(|error| {
            Error::new(ErrorKind::Storage, format!("the plugin cannot be kept as {}", path.display())).caused_by(error)
        })
    }

    /// The bytes of a digest; an error when they are gone or are no longer those.
    pub fn read(&self, wanted: &str) -> Result<Vec<u8>> {
        let path = self.path(wanted);
        let damaged = |what: &str| {
            Error::new(ErrorKind::Storage, format!("the accepted plugin {} {what}", path.display()))
                .help("put back the file with this SHA-256; without it the plugin on disk is what can run")
        };
        let bytes = fs::read(&path).map_err(|error| damaged("cannot be read").caused_by(error))?;
        if digest(&bytes) == wanted { Ok(bytes) } else { Err(damaged("was changed on disk")) }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_only_as_they_were_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let store = PluginStore::new(folder.path());
        let digest = digest(b"\0asm");
        store.keep(&digest, b"\0asm").unwrap();
        assert_eq!(store.read(&digest).unwrap(), b"\0asm");
        fs::write(store.path(&digest), b"\0bsm").unwrap();
        assert!(store.read(&digest).unwrap_err().message().contains("was changed on disk"));
        assert!(store.read("00").unwrap_err().message().contains("cannot be read"));
    }
}
