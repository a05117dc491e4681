//! `millstream capture`

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::stage::PlaceArgs;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::service::control::shapes::{CAPTURE_MAX_ROWS, CAPTURE_MAX_WAIT_SECONDS, CaptureRequest};
use crate::service::{Captures, remove_when_over};

/// Take rows in front of a stage of a running pipeline into a file, which `millstream plugin test FOLDER --cases FILE`
/// runs the plugin on. The file is the owner's alone. It says how long the rows may be kept: then the host removes it, or
/// the next capture into its folder.
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
        let place = self.place.find()?;
        let captures = Captures::of(&place.data);
        let (client, stage) = place.of_stage()?;
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
        // Before it is there: no capture stays without anybody who knows of it.
        captures.note(&std::path::absolute(&self.out)?, SystemClock.now_ms())?;
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
        remove_when_over(&file, now_ms);
    }
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
