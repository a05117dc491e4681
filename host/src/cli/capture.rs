//! `millstream capture`

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::stage::PlaceArgs;
use crate::case::{Case, Kind};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::service::control::shapes::{CAPTURE_MAX_ROWS, CAPTURE_MAX_WAIT_SECONDS, CaptureRequest};

/// A longer first line is no header of a capture.
const HEADER_MAX_BYTES: u64 = 1 << 20;

/// Take rows in front of a stage of a running pipeline into a file, which `millstream plugin test FOLDER --cases FILE`
/// runs the plugin on. The file is the owner's alone. It says how long the rows may be kept: captures in its folder whose
/// time is over are removed by the next capture.
#[derive(Args)]
pub(super) struct Capture {
    #[command(flatten)]
    place: PlaceArgs,
    /// How many rows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CAPTURE_MAX_ROWS as u64))]
    rows: u64,
    /// Only rows that the stage rejects.
    #[arg(long)]
    rejected: bool,
    /// A column whose values stay on the host: equal texts become equal pseudonyms, anything else null or nothing.
    #[arg(long, value_name = "COLUMN")]
    mask: Vec<String>,
    /// Where the rows go; a file that is there is not replaced.
    #[arg(long, value_name = "FILE.jsonl")]
    out: PathBuf,
    /// How long to wait for the rows, in seconds; then what came is written.
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=CAPTURE_MAX_WAIT_SECONDS))]
    wait: u64,
    /// How many days the rows may be kept.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=365))]
    keep: u32,
}

impl Capture {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        // Before anybody waits for rows.
        if self.out.exists() {
            return Err(self.exists().into());
        }
        if !self.folder().is_dir() {
            let what =
                format!("{} cannot be written: there is no folder {}", self.out.display(), self.folder().display());
            return Err(Error::new(ErrorKind::Config, what).help("make the folder, or name another file").into());
        }
        remove_expired(self.folder());
        let request = CaptureRequest {
            rows: usize::try_from(self.rows).unwrap_or(CAPTURE_MAX_ROWS),
            rejected: self.rejected,
            mask: self.mask.clone(),
            wait_seconds: self.wait,
            keep_days: self.keep,
        };
        let case = client.capture(&stage, &request)?;
        let rows = case.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"in\":")).count();
        if rows == 0 {
            let (what, wait) = (if self.rejected { "rejected row" } else { "row" }, self.wait);
            let message = format!("no {what} came to stage \"{stage}\" within {wait} s; nothing is written");
            return Err(Error::new(ErrorKind::Unavailable, message).help("wait longer with --wait").into());
        }
        self.write(&case)?;
        let out = self.out.display();
        let mut stdout = std::io::stdout().lock();
        match rows as u64 == self.rows {
            true => writeln!(stdout, "{rows} rows: {out}")?,
            false => writeln!(stdout, "{rows} of {} rows came within {} s: {out}", self.rows, self.wait)?,
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn exists(&self) -> Error {
        Error::new(ErrorKind::Config, format!("{} is there already", self.out.display())).help("name another file")
    }

    /// Whole, or not at all; for the owner alone from the first byte on.
    fn write(&self, case: &[u8]) -> Result<()> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => self.exists(),
            _ => Error::new(ErrorKind::Storage, format!("{} cannot be written", self.out.display())).caused_by(error),
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.out).map_err(failed)?;
        file.write_all(case).and_then(|()| file.sync_all()).map_err(|error| {
            // What is half there is no capture.
            let _ = fs::remove_file(&self.out);
            failed(error)
        })
    }
}

/// Removes captures whose time is over. What cannot be read is left alone.
fn remove_expired(folder: &Path) {
    let now_ms = SystemClock.now_ms();
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "jsonl")) {
        if until_ms(&file).is_some_and(|until_ms| until_ms < now_ms) && !is_test(&file) {
            match fs::remove_file(&file) {
                Ok(()) => tracing::warn!(file = %file.display(), "a capture whose time was over is removed"),
                Err(error) => tracing::warn!(file = %file.display(), %error, "a capture's time is over"),
            }
        }
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
    fn captures_go_when_their_time_is_over_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let header = |until: &str| format!("{{\"millstream\":\"case/1\",\"captured\":{{\"until\":\"{until}\"}}}}\n");
        let row = "{\"in\":{\"n\":1}}\n";
        write("old.jsonl", &(header("2020-01-01T00:00:00Z") + row));
        write("young.jsonl", &(header("2999-01-01T00:00:00Z") + row));
        write("test.jsonl", &(header("2020-01-01T00:00:00Z") + "{\"in\": {\"n\":1}, \"out\": {\"m\":2}}\n"));
        write("compact.jsonl", &(header("2020-01-01T00:00:00Z") + "{\"in\":{\"n\":1},\"out\":{\"m\":2}}\n"));
        write("damaged.jsonl", &(header("2020-01-01T00:00:00Z") + "{\"in\""));
        write("case.jsonl", &("{\"millstream\":\"case/1\"}\n".to_owned() + row));
        write("old.txt", &(header("2020-01-01T00:00:00Z") + row));
        write("broken.jsonl", "{");
        remove_expired(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let kept =
            ["broken.jsonl", "case.jsonl", "compact.jsonl", "damaged.jsonl", "old.txt", "test.jsonl", "young.jsonl"];
        assert_eq!(left, kept);
    }
}
