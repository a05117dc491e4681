//! Compiled code by digest and engine, so that a plugin is compiled once and not at every start.
//!
//! Promise: what `CodeCache::read` hands out is byte for byte what this owner's `CodeCache::keep` was given for the same
//! plugin and the same engine; anything else is as if it were not there, and the plugin is compiled. Compiled code runs
//! outside of the sandbox's checks, so this promise is what `super::component` rests its unsafe call on.
//!
//! Why it holds:
//! - The folder is opened once, not through a link, and used by its handle from then on: it belongs to this user and
//!   nobody else can write to it, or it is not used. The same goes for each file in it, asked of the open file.
//! - An entry begins with an HMAC-SHA-256 over its name (digest and engine) and its content, under a random key that
//!   lies in the folder and that nobody else can read. So an entry that was damaged, cut off, renamed, or brought from
//!   another folder is not taken, even when it was written with the owner's rights.
//! - It is read into memory first and proven there: what is loaded are the proven bytes.
//!
//! Whoever can read the key and write to the folder is the owner (or root), who can replace the binary as well.
//!
//! Entries are written under another name and renamed; they are not synced: one that a crash tore is not proven. Their
//! number and bytes are bounded: the ones that were used longest ago go first.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use rustix::io::Errno;
use sha2::Sha256;

use crate::digest::hex;

/// Most entries in a folder.
pub const CODE_CACHE_MAX_ENTRIES: usize = 128;
/// Most bytes of all entries of a folder, and so of one.
pub const CODE_CACHE_MAX_BYTES: u64 = 1 << 30;

const KEY_FILE: &str = "key";
/// A block of SHA-256: an HMAC takes such a key as it is.
const KEY_BYTES: usize = 64;
const PROOF_BYTES: usize = 32;
const ENTRY: &str = ".cwasm";
const UNFINISHED: &str = ".unfinished";
const WRITABLE_BY_OTHERS: u32 = 0o022;
const OPEN_TO_OTHERS: u32 = 0o077;

/// Compiled code that this owner put into the cache for the plugin and engine that it was asked for. Only
/// `CodeCache::read` makes it.
pub struct Proven(Vec<u8>);

impl Proven {
    /// The code.
    pub fn code(&self) -> &[u8] {
        self.0.get(PROOF_BYTES..).unwrap_or_default()
    }
}

/// A folder of compiled code.
#[derive(Clone)]
pub struct CodeCache {
    path: PathBuf,
    folder: Arc<File>,
    key: [u8; KEY_BYTES],
    max_entries: usize,
    max_bytes: u64,
}

impl fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeCache").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a folder or a file is not used, in words.
type Refused = String;

impl CodeCache {
    /// Opens a folder; makes it when it is not there.
    ///
    /// # Errors
    /// Why it cannot be trusted, or not be used at all.
    pub fn open(path: &Path) -> Result<Self, Refused> {
        make_folder(path).map_err(|error| format!("it cannot be made: {error}"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(folder) => File::from(folder),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err("it is no folder of its own, but a link or a file".into()),
            Err(error) => return Err(format!("it cannot be opened: {error}")),
        };
        trusted(&folder, WRITABLE_BY_OTHERS)?;
        let key = key_of(&folder)?;
        let (max_entries, max_bytes) = (CODE_CACHE_MAX_ENTRIES, CODE_CACHE_MAX_BYTES);
        Ok(Self { path: path.to_path_buf(), folder: Arc::new(folder), key, max_entries, max_bytes })
    }

    /// What was kept for a plugin (its digest) and an engine; none when there is nothing that can be proven.
    pub fn read(&self, digest: &str, engine: &str) -> Option<Proven> {
        let name = entry_name(digest, engine);
        let refused = |why: Refused| {
            let file = self.path.join(&name);
            tracing::warn!(file = %file.display(), "compiled code is not loaded, the plugin is compiled: {why}");
        };
        let (file, bytes) = match self.read_file(&name) {
            Ok(found) => found?,
            Err(why) => {
                refused(why);
                return None;
            }
        };
        let (proof, code) = bytes.split_at_checked(PROOF_BYTES).unwrap_or((&[], &[]));
        if self.proof(&name, code).verify_slice(proof).is_err() {
            refused("it is not what was kept here".to_owned());
            return None;
        }
        // Used now: it goes later than others. When the time cannot be noted it goes earlier, which is no harm.
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        Some(Proven(bytes))
    }

    /// Keeps the compiled code of a plugin. A folder that cannot be written costs time at the next start, no more.
    pub fn keep(&self, digest: &str, engine: &str, code: &[u8]) {
        let name = entry_name(digest, engine);
        if let Err(error) = self.write(&name, code).and_then(|()| self.remove_oldest()) {
            tracing::warn!(folder = %self.path.display(), %error, "compiled code is not kept");
        }
    }

    fn read_file(&self, name: &str) -> Result<Option<(File, Vec<u8>)>, Refused> {
        let Some(mut file) = open_file(&self.folder, name)? else { return Ok(None) };
        let size_bytes = trusted(&file, WRITABLE_BY_OTHERS)?;
        if size_bytes > self.max_bytes {
            return Err(format!("it has {size_bytes} bytes, more than {}", self.max_bytes));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
        let read = Read::by_ref(&mut file).take(self.max_bytes).read_to_end(&mut bytes);
        read.map_err(|error| format!("it cannot be read: {error}"))?;
        Ok(Some((file, bytes)))
    }

    fn proof(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac: Hmac<Sha256> = KeyInit::new(&self.key.into());
        // The name has no byte 0, so where it ends is in the proof too.
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        if (code.len() + PROOF_BYTES) as u64 > self.max_bytes {
            return Err(io::Error::other(format!("its {} bytes are more than {}", code.len(), self.max_bytes)));
        }
        let proof = self.proof(name, code).finalize().into_bytes();
        let fresh = unfinished_name(name)?;
        let written = write_new(&self.folder, &fresh, &[&proof[..], code])
            .and_then(|()| Ok(rustix::fs::renameat(&self.folder, &*fresh, &self.folder, name)?));
        if written.is_err() {
            // What is left over goes with the oldest entries, if not now.
            let _ = rustix::fs::unlinkat(&self.folder, &*fresh, AtFlags::empty());
        }
        written
    }

    /// Removes what is beyond the bounds, and what writers that were killed left behind.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !name.ends_with(ENTRY) && !name.ends_with(UNFINISHED) {
                continue;
            }
            // Another process may have removed it by now.
            let Ok(stat) = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            entries.push((std::cmp::Reverse((stat.st_mtime, stat.st_mtime_nsec)), name.to_owned(), stat.st_size));
        }
        entries.sort();
        let mut all_bytes = 0;
        for (number, (_, name, size_bytes)) in entries.iter().enumerate() {
            all_bytes += u64::try_from(*size_bytes).unwrap_or_default();
            let unfinished = name.ends_with(UNFINISHED) && number > 0;
            if number >= self.max_entries || all_bytes > self.max_bytes || unfinished {
                match rustix::fs::unlinkat(&self.folder, name.as_str(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

fn entry_name(digest: &str, engine: &str) -> String {
    format!("{digest}-{engine}{ENTRY}")
}

/// A name that no other writer has.
fn unfinished_name(name: &str) -> io::Result<String> {
    Ok(format!("{name}.{}{UNFINISHED}", hex(&random::<8>()?)))
}

fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// Makes a folder for its owner alone; those above it as usual.
fn make_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A file in the folder, not through a link; none when there is none.
fn open_file(folder: &File, name: &str) -> Result<Option<File>, Refused> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err("it is a link".to_owned()),
        Err(error) => Err(format!("it cannot be opened: {error}")),
    }
}

/// The size of a file or folder that is this user's and has none of these permissions.
fn trusted(file: &File, forbidden: u32) -> Result<u64, Refused> {
    let metadata = file.metadata().map_err(|error| format!("its owner cannot be seen: {error}"))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(format!("it belongs to user {}, and this is user {user}", metadata.uid()));
    }
    if metadata.mode() & forbidden != 0 {
        return Err(format!("others than its owner have rights to it (mode {:o})", metadata.mode() & 0o777));
    }
    Ok(metadata.len())
}

fn write_new(folder: &File, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// The folder's key; a new folder gets one. Of several processes that come first together one's key stays.
fn key_of(folder: &File) -> Result<[u8; KEY_BYTES], Refused> {
    if open_file(folder, KEY_FILE).map_err(|why| format!("its key: {why}"))?.is_none() {
        make_key(folder).map_err(|error| format!("its key cannot be made: {error}"))?;
    }
    let wrong = |why: Refused| format!("its key: {why}");
    let gone = || "its key is gone".to_owned();
    let mut file = open_file(folder, KEY_FILE).map_err(wrong)?.ok_or_else(gone)?;
    if trusted(&file, OPEN_TO_OTHERS).map_err(wrong)? != KEY_BYTES as u64 {
        return Err("its key has not the right length; remove the folder".to_owned());
    }
    let mut key = [0; KEY_BYTES];
    file.read_exact(&mut key).map_err(|error| format!("its key cannot be read: {error}"))?;
    Ok(key)
}

fn make_key(folder: &File) -> io::Result<()> {
    let key = random::<KEY_BYTES>()?;
    let fresh = unfinished_name(KEY_FILE)?;
    write_new(folder, &fresh, &[&key])?;
    // A link is made only where there is none yet, and whole.
    let linked = rustix::fs::linkat(folder, &*fresh, folder, KEY_FILE, AtFlags::empty());
    rustix::fs::unlinkat(folder, &*fresh, AtFlags::empty())?;
    match linked {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
