//! Which file a position belongs to. A name is not enough: offsets into one file mean nothing in another that took its
//! name, and reading on from them would lose and invent rows without anybody noticing. So a position carries the digest of
//! the file's head and its length, and both are compared with the file every time it is opened.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::digest::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::source::FileIdentity;

/// How much of the start of a file tells it from others.
const HEAD_BYTES: u64 = 64 << 10;

/// Looks at a file: its length and the digest of its head as they are now.
pub(crate) fn look(path: &Path, file: &mut File) -> Result<FileIdentity> {
    let length_bytes = file.metadata().map_err(|error| cannot_read(path, error))?.len();
    let head_bytes = length_bytes.min(HEAD_BYTES);
    let head_sha256 = head_digest(file, head_bytes).map_err(|error| cannot_read(path, error))?;
    Ok(FileIdentity { length_bytes, head_bytes, head_sha256 })
}

/// Checks that a file is still the one that `known` describes (it may have grown); returns how it is now.
pub(crate) fn check(path: &Path, file: &mut File, known: &FileIdentity) -> Result<FileIdentity> {
    let now = look(path, file)?;
    if now.length_bytes < known.length_bytes {
        return Err(replaced(
            path,
            &format!("it has {} bytes, but had {} when it was read", now.length_bytes, known.length_bytes),
        ));
    }
    let same_head = if now.head_bytes == known.head_bytes {
        now.head_sha256 == known.head_sha256
    } else {
        let digest = head_digest(file, known.head_bytes).map_err(|error| cannot_read(path, error))?;
        digest == known.head_sha256
    };
    if !same_head {
        return Err(replaced(path, &format!("its first {} bytes are not those that were read", known.head_bytes)));
    }
    Ok(now)
}

fn head_digest(file: &mut File, bytes: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::with_capacity(bytes as usize);
    Read::by_ref(file).take(bytes).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(digest(&head))
}

fn replaced(path: &Path, how: &str) -> Error {
    Error::new(ErrorKind::Input, format!("file {} is not the file that was read before: {how}", path.display())).help(
        "put the old file back, or give the new one a name of its own: a file that was read may only grow at its end",
    )
}

/// The error of a file that does not answer.
pub(super) fn cannot_read(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => ErrorKind::Input,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot read {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn identity(file: &tempfile::NamedTempFile) -> FileIdentity {
        look(file.path(), &mut File::open(file.path()).unwrap()).unwrap()
    }

    #[test]
    fn a_file_may_grow_beyond_its_head() {
        let mut file = file_with(&[7; 100]);
        let known = identity(&file);
        assert_eq!((known.length_bytes, known.head_bytes), (100, 100));
        file.write_all(&[8; 200_000]).unwrap();
        let now = check(file.path(), &mut File::open(file.path()).unwrap(), &known).unwrap();
        assert_eq!((now.length_bytes, now.head_bytes), (200_100, HEAD_BYTES));
        assert_ne!(now.head_sha256, known.head_sha256, "the head covers more now");
    }

    #[test]
    fn another_head_or_a_shorter_file_is_refused() {
        let file = file_with(&[7; 100]);
        let known = identity(&file);
        for other in [&[8; 100][..], &[7; 99]] {
            let other = file_with(other);
            let error = check(other.path(), &mut File::open(other.path()).unwrap(), &known).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input);
            assert!(error.message().contains("is not the file that was read before"), "{error}");
        }
    }
}
