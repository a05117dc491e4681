//! After a failed sync nothing is written any more: the kernel may have dropped the dirty pages and would call the next
//! sync a success, so going on could commit rows that are nowhere. Only a restart, which reads what is really there,
//! makes the disk usable again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Disk, DiskFile};

/// A disk that refuses to write after a sync of it failed. Clones share the mark.
#[derive(Clone, Debug)]
pub struct PoisonDisk {
    disk: Arc<dyn Disk>,
    poison: Poison,
}

#[derive(Clone, Debug, Default)]
struct Poison(Arc<AtomicBool>);

impl Poison {
    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync failed, nothing is written any more until a restart"));
        }
        Ok(())
    }

    fn watch(&self, synced: io::Result<()>) -> io::Result<()> {
        if synced.is_err() {
            self.0.store(true, Ordering::Release);
        }
        synced
    }
}

impl PoisonDisk {
    /// Watches the syncs of a disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, poison: Poison::default() }
    }

    /// Whether a sync failed.
    pub fn is_poisoned(&self) -> bool {
        self.poison.check().is_err()
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(PoisonFile { file, poison: self.poison.clone() })
    }
}

struct PoisonFile {
    file: Box<dyn DiskFile>,
    poison: Poison,
}

impl Write for PoisonFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.poison.check()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poison.check()?;
        self.file.flush()
    }
}

impl DiskFile for PoisonFile {
    fn sync(&mut self) -> io::Result<()> {
        self.poison.check()?;
        let synced = self.file.sync();
        self.poison.watch(synced)
    }
}

impl Disk for PoisonDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.poison.check()?;
        Ok(self.wrap(self.disk.create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.poison.check()?;
        Ok(self.wrap(self.disk.append(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, length_bytes: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, length_bytes)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        self.disk.size_bytes(path)
    }

    fn truncate(&self, path: &Path, length_bytes: u64) -> io::Result<()> {
        self.poison.check()?;
        self.poison.watch(self.disk.truncate(path, length_bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.poison.check()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.poison.check()?;
        self.disk.remove(path)
    }

    fn files_below(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.files_below(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.poison.check()?;
        self.poison.watch(self.disk.sync_folder(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn after_a_failed_sync_nothing_is_written() {
        let memory = MemoryDisk::new();
        let disk = PoisonDisk::new(Arc::new(memory.clone()));
        let mut file = disk.create(Path::new("/a")).unwrap();
        file.write_all(b"row").unwrap();
        memory.fail_at(memory.operations() + 1);
        assert!(file.sync().is_err(), "the fault was asked for");
        assert!(disk.is_poisoned());
        assert!(file.sync().is_err(), "a second sync must not claim success");
        assert!(file.write_all(b"more").is_err());
        assert!(disk.create(Path::new("/b")).is_err());
        assert!(disk.rename(Path::new("/a"), Path::new("/c")).is_err());
        assert_eq!(disk.read(Path::new("/a")).unwrap(), b"row", "reading still works");
    }
}
