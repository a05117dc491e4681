//! What `plugin test` and `test` share: which cases, and how they are reported.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::case::{Case, Difference, Fate, Trial, compare, outcomes, table};
use crate::disk::{RealDisk, write_whole};
use crate::error::{Error, ErrorKind, Result};

/// Most rows without an expectation that are shown.
const SHOWN_ROWS: usize = 20;
/// Most differences of a case that are shown.
const SHOWN_DIFFERENCES: usize = 100;

/// Which cases are run, and what is done with what they come to.
#[derive(Args)]
pub(super) struct CaseArgs {
    /// Write what came into the cases, as what is expected from now on.
    #[arg(long)]
    update: bool,
}

/// The cases at some paths: files, and all `.jsonl` files of folders. Without paths, those of `folder`/cases.
pub(super) fn case_files(given: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    let default = [folder.join("cases")];
    let paths = if given.is_empty() { &default } else { given };
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |error| {
            Error::new(ErrorKind::Config, format!("there are no cases in {}: it cannot be read", path.display()))
                .caused_by(error)
                .help("a case is a file of rows with what should become of them: docs/cases.md")
        };
        if path.is_file() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "jsonl") {
                found.push(file);
            }
        }
        if found.is_empty() {
            let message = format!("there is no case in {}: no file ends in .jsonl", path.display());
            return Err(Error::new(ErrorKind::Config, message).help("docs/cases.md describes the file of a case"));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// What cases came to, together.
#[derive(Default)]
pub(super) struct Tally {
    rows: usize,
    differing: usize,
}

/// What the rows of a case came to.
#[derive(Default)]
struct Judged {
    differences: Vec<Difference>,
    differing: usize,
    /// Line and fate of the rows without an expectation.
    open: Vec<(usize, Fate)>,
    /// By row, what an update writes.
    changed: BTreeMap<usize, Fate>,
}

impl Judged {
    fn new(case: &Case, trial: &Trial, fates: Vec<Fate>) -> Self {
        let mut judged = Self::default();
        for (index, (row, fate)) in case.rows.iter().zip(fates).enumerate() {
            match &row.expected {
                None => judged.open.push((row.line, fate.clone())),
                Some(expected) => {
                    let mut found = compare(row.line, expected, &fate, |to| trial.columns_of(to));
                    if found.is_empty() {
                        continue;
                    }
                    judged.differing += 1;
                    judged.differences.append(&mut found);
                }
            }
            judged.changed.insert(index, fate);
        }
        judged
    }

    fn show(&self, case: &Case, out: &mut impl Write) -> Result<(), Failure> {
        let (path, rows) = (case.path.display(), counted(case.rows.len(), "row"));
        match (self.differing, self.open.len()) {
            (0, 0) => writeln!(out, "{path}: {rows}, all as expected")?,
            (0, open) if open == case.rows.len() => writeln!(out, "{path}: {rows}, without an expectation")?,
            (0, open) => writeln!(out, "{path}: {rows}, {open} without an expectation, the others as expected")?,
            (differing, _) => writeln!(out, "{path}: {differing} of {rows} differ from what is expected")?,
        }
        if !self.differences.is_empty() {
            let shown = &self.differences[..self.differences.len().min(SHOWN_DIFFERENCES)];
            writeln!(out, "{}", table(shown)?)?;
            if shown.len() < self.differences.len() {
                writeln!(out, "and {} differences more", self.differences.len() - shown.len())?;
            }
        }
        if !self.open.is_empty() {
            let shown = self.open.iter().take(SHOWN_ROWS).map(|(line, fate)| (*line, fate));
            writeln!(out, "{}", outcomes(&shown.collect::<Vec<_>>())?)?;
            if self.open.len() > SHOWN_ROWS {
                writeln!(out, "and {} rows more", self.open.len() - SHOWN_ROWS)?;
            }
            writeln!(out, "--update writes this into the case, as what is expected")?;
        }
        Ok(())
    }

    fn update(&self, case: &Case, out: &mut impl Write) -> Result<(), Failure> {
        let (path, rows) = (case.path.display(), counted(case.rows.len(), "row"));
        if self.changed.is_empty() {
            return Ok(writeln!(out, "{path}: {rows}, nothing to update")?);
        }
        write_whole(&RealDisk, &case.path, case.updated(&self.changed).as_bytes())
            .map_err(|error| Error::new(ErrorKind::Storage, format!("{path} cannot be written")).caused_by(error))?;
        Ok(writeln!(out, "{path}: {} updated", counted(self.changed.len(), "row"))?)
    }
}

impl Tally {
    /// Compares what the rows of a case came to, and prints the differences, or writes them into the case.
    pub fn check(&mut self, case: &Case, trial: &Trial, fates: Vec<Fate>, args: &CaseArgs) -> Result<(), Failure> {
        if !args.update {
            trial.knows_outputs_of(case)?;
        }
        let judged = Judged::new(case, trial, fates);
        let mut out = std::io::stdout().lock();
        if args.update {
            return judged.update(case, &mut out);
        }
        self.rows += case.rows.len();
        self.differing += judged.differing;
        judged.show(case, &mut out)
    }

    /// The end: an error when something differed.
    pub fn end(self) -> Result<(), Failure> {
        if self.differing == 0 {
            return Ok(());
        }
        let message = format!("{} of {} differ from what is expected", self.differing, counted(self.rows, "row"));
        Err(Error::new(ErrorKind::Plugin, message)
            .help("mend the code or the case; when what came is right, --update writes it into the case")
            .into())
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
