//! The disk as epochs and the commit see it: an argument of the core, so that the same code runs on files and, in the
//! crash tests, in a memory that forgets what was not synced.
//!
//! What a caller may rely on: bytes survive a crash once `DiskFile::sync` came back, names once `Disk::sync_folder` of
//! their folder did. A rename is seen whole or not at all: a crash never loses the file under both names. Nothing else
//! is promised: without a sync any part of what was written may be there, in any order. After a failed sync nobody
//! knows what the disk holds, so `PoisonDisk` stops all further writing.

use std::io;
use std::path::{Path, PathBuf};

mod memory;
mod poison;
mod real;

#[cfg(test)]
pub(crate) use memory::Chance;
pub use memory::MemoryDisk;
pub use poison::PoisonDisk;
pub use real::RealDisk;

/// Puts content in place under a name at once: whoever looks, also after a crash, sees the file before or all of this one.
pub fn write_whole(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_added_extension("new");
    let mut file = disk.create(&fresh)?;
    file.write_all(content)?;
    file.sync()?;
    drop(file);
    disk.rename(&fresh, path)?;
    disk.sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// What to do about an operation that failed.
pub fn way_out(error: &io::Error) -> &'static str {
    way_out_of(Some(error.kind()))
}

/// The same, by the kind of error, if it is known.
pub fn way_out_of(kind: Option<io::ErrorKind>) -> &'static str {
    match kind {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            "make room and start again: the start goes on from the last commit, nothing is lost"
        }
        Some(io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => {
            "let this user write there and start again: the start goes on from the last commit, nothing is lost"
        }
        _ => "mend the disk and start again: the start goes on from the last commit, nothing is lost",
    }
}

/// A file that is being written.
pub trait DiskFile: io::Write + Send {
    /// Makes what was written so far survive a crash.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operations of a file system that the core needs. Paths are absolute. Folders that an operation makes survive a
/// crash without a further sync.
pub trait Disk: std::fmt::Debug + Send + Sync {
    /// Creates a file, empty, in place of an older one; makes the folders above it.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to write behind its end; creates it when it is not there.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// `length_bytes` bytes of a file from `offset` on; an error when it ends before.
    fn read_at(&self, path: &Path, offset: u64, length_bytes: usize) -> io::Result<Vec<u8>>;
    /// The size in bytes; `None` when there is no such file.
    fn size_bytes(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Cuts a file to a length, and syncs it.
    fn truncate(&self, path: &Path, length_bytes: u64) -> io::Result<()>;
    /// Moves a file within the file system, in place of an older one; makes the folders above the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; fine when it is not there.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The files below a folder, at any depth, in order; none when the folder is not there.
    fn files_below(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the names in a folder (created, renamed, removed) survive a crash.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}
