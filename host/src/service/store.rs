//! Plugins' bytes by digest, in the data folder: what was accepted runs after a restart, whatever lies on disk elsewhere.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// The folder `plugins` of a data folder: one file `<sha256>.wasm` for each plugin that was ever accepted.
#[derive(Clone, Debug)]
pub struct PluginStore {
    folder: PathBuf,
}

/// The SHA-256 of a plugin's bytes in lower-case hex: its identity everywhere.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl PluginStore {
    /// The store of a data folder.
    pub fn new(data_folder: &Path) -> Self {
        Self { folder: data_folder.join("plugins") }
    }

    /// Keeps bytes; when this returns they survive a crash.
    pub fn keep(&self, bytes: &[u8]) -> Result<()> {
        let path = self.path(&digest(bytes));
        if path.exists() {
            return Ok(());
        }
        self.write(&path, bytes).map_err(|error| {
            Error::new(ErrorKind::Storage, format!("the plugin cannot be kept as {}", path.display())).caused_by(error)
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// The bytes of a digest; an error when they are gone or are no longer those.
    pub fn read(&self, wanted: &str) -> Result<Vec<u8>> {
        let path = self.path(wanted);
        let damaged = |what: &str| {
            Error::new(ErrorKind::Storage, format!("the accepted plugin {} {what}", path.display()))
                .help("put back the plugin's file with this SHA-256, or accept the one on disk with --accept-plugins")
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
        store.keep(b"\0asm").unwrap();
        let digest = digest(b"\0asm");
        assert_eq!(store.read(&digest).unwrap(), b"\0asm");
        fs::write(store.path(&digest), b"\0bsm").unwrap();
        assert!(store.read(&digest).unwrap_err().message().contains("was changed on disk"));
        assert!(store.read("00").unwrap_err().message().contains("cannot be read"));
    }
}
