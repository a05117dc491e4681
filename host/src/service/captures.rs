//! Captures and their lifetime. A capture says itself until when it may be kept; where it lies is noted in the data folder of
//! the host that it was taken from, one small file each, before it is there. So the host removes it when its time is over.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case::{Case, Kind};
use crate::disk::{RealDisk, way_out, write_whole};
use crate::error::{Error, ErrorKind, Result};

/// A longer first line is no header of a capture.
const HEADER_MAX_BYTES: u64 = 1 << 20;

/// A capture that is not there so long behind its note was never written, or went elsewhere.
const UNWRITTEN_MS: i64 = 3_600_000;

/// The captures that were taken from one host.
pub struct Captures {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Note {
    path: PathBuf,
    at_ms: i64,
}

impl Captures {
    /// Of a data folder.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join("captures") }
    }

    /// Notes where a capture will be; the path is absolute.
    pub fn note(&self, path: &Path, now_ms: i64) -> Result<()> {
        let failed = |what: &Path, error: std::io::Error| {
            let help = way_out(&error);
            Error::new(ErrorKind::Storage, format!("{} cannot be written", what.display())).caused_by(error).help(help)
        };
        let id = crate::commit::fresh_id().map_err(|error| failed(&self.folder, error))?;
        let note = self.folder.join(format!("{id}.json"));
        let text = serde_json::to_vec(&Note { path: path.to_path_buf(), at_ms: now_ms })
            .map_err(|error| Error::new(ErrorKind::Internal, "a note has no JSON form").caused_by(error))?;
        write_whole(&RealDisk, &note, &text).map_err(|error| failed(&note, error))
    }

    /// Removes the captures whose time is over, and forgets those that are gone or are tests by now.
    ///
    /// # Errors
    /// `Storage` when the notes cannot be listed.
    pub fn remove_expired(&self, now_ms: i64) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Storage, format!("{} cannot be listed", self.folder.display())).caused_by(error)
        };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let note = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
            if note.is_some_and(|note| is_done_with(&note, now_ms))
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(note = %path.display(), %error, "a note of a capture stays");
            }
        }
        Ok(())
    }
}

/// Removes what was noted when its time is over; whether nothing is left to do about it.
fn is_done_with(note: &Note, now_ms: i64) -> bool {
    match note.path.exists() {
        true => remove_when_over(&note.path, now_ms) != Fate::Stays,
        false => note.at_ms.saturating_add(UNWRITTEN_MS) < now_ms,
    }
}

/// What became of a file when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is a capture whose time was over, and is gone.
    Removed,
    /// It is a capture that may be kept, or cannot be removed now.
    Stays,
    /// It is no capture, or was made a test.
    None,
}

/// Removes a capture whose time is over; anything else, and what cannot be read, is left alone.
pub fn remove_when_over(file: &Path, now_ms: i64) -> Fate {
    match until_ms(file) {
        None => Fate::None,
        Some(until_ms) if until_ms >= now_ms => Fate::Stays,
        Some(_) if is_test(file) => Fate::None,
        Some(_) => match fs::remove_file(file) {
            Ok(()) => {
                tracing::warn!(file = %file.display(), "a capture whose time was over is removed");
                Fate::Removed
            }
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a capture's time is over, and it is still there");
                Fate::Stays
            }
        },
    }
}

/// Until when a capture may be kept; none for any other file.
fn until_ms(file: &Path) -> Option<i64> {
    let mut lines = BufReader::new(File::open(file).ok()?.take(HEADER_MAX_BYTES));
    let mut header = String::new();
    lines.read_line(&mut header).ok()?;
    let header: Value = serde_json::from_str(&header).ok()?;
    let until = header.get("captured")?.get("until")?.as_str()?.parse::<jiff::Timestamp>().ok()?;
    Some(until.as_millisecond())
}

/// Whether a capture was made a test: then it is one no more.
fn is_test(file: &Path) -> bool {
    // What cannot be read as a case is not ours to judge.
    !Case::read(file, Kind::Plugin).is_ok_and(|case| case.rows.iter().all(|row| row.expected.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_goes_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let captures = Captures::of(folder.path());
        captures.remove_expired(0).unwrap();
        let write = |name: &str, until: &str, row: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("{{\"millstream\":\"case/1\",\"captured\":{{\"until\":\"{until}\"}}}}\n{row}\n"))
                .unwrap();
            captures.note(&path, 0).unwrap();
            path
        };
        let over = write("over.jsonl", "1970-01-01T00:00:01Z", "{\"in\":{\"n\":1}}");
        let young = write("young.jsonl", "1970-01-01T00:00:03Z", "{\"in\":{\"n\":1}}");
        let test = write("test.jsonl", "1970-01-01T00:00:01Z", "{\"in\":{\"n\":1},\"out\":{\"m\":2}}");
        captures.note(&folder.path().join("unwritten.jsonl"), 0).unwrap();
        let notes = || fs::read_dir(folder.path().join("captures")).unwrap().count();
        captures.remove_expired(2_000).unwrap();
        assert_eq!([&over, &young, &test].map(|path| path.exists()), [false, true, true]);
        assert_eq!(notes(), 2, "of the young one, and of the one that may come");
        captures.remove_expired(UNWRITTEN_MS + 1).unwrap();
        assert_eq!((young.exists(), notes()), (false, 0));
    }
}
