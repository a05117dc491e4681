//! What `plugin test` and `test` share: which cases, and how they are reported.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::case::{Case, Difference, Fate, Trial, compare, outcomes, table};
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

impl Tally {
    /// Compares what the rows of a case came to, and prints the differences.
    pub fn check(&mut self, case: &Case, trial: &Trial, fates: Vec<Fate>, args: &CaseArgs) -> Result<(), Failure> {
        let mut differences: Vec<Difference> = Vec::new();
        let mut changed = BTreeMap::new();
        let (mut unexpected, mut differing) = (Vec::new(), 0);
        for (index, (row, fate)) in case.rows.iter().zip(fates).enumerate() {
            let found =
                row.expected.as_ref().map(|expected| compare(row.line, expected, &fate, |to| trial.columns_of(to)));
            match found {
                Some(found) if found.is_empty() => {}
                Some(mut found) => {
                    differing += 1;
                    differences.append(&mut found);
                    changed.insert(index, fate);
                }
                None => {
                    unexpected.push((row.line, fate.clone()));
                    changed.insert(index, fate);
                }
            }
        }
        self.rows += case.rows.len();
        let mut out = std::io::stdout().lock();
        let (path, rows) = (case.path.display(), counted(case.rows.len(), "row"));
        if args.update {
            if changed.is_empty() {
                writeln!(out, "{path}: {rows}, nothing to update")?;
            } else {
                write_whole(&case.path, &case.updated(&changed))?;
                writeln!(out, "{path}: {} updated", counted(changed.len(), "row"))?;
            }
            return Ok(());
        }
        self.differing += differing;
        match (differing, unexpected.len()) {
            (0, 0) => writeln!(out, "{path}: {rows}, all as expected")?,
            (0, open) if open == case.rows.len() => writeln!(out, "{path}: {rows}, without an expectation")?,
            (0, open) => writeln!(out, "{path}: {rows}, {open} without an expectation, the others as expected")?,
            _ => writeln!(out, "{path}: {differing} of {rows} differ from what is expected")?,
        }
        if !differences.is_empty() {
            let more = differences.len().saturating_sub(SHOWN_DIFFERENCES);
            differences.truncate(SHOWN_DIFFERENCES);
            writeln!(out, "{}", table(&differences)?)?;
            if more > 0 {
                writeln!(out, "and {more} differences more")?;
            }
        }
        if !unexpected.is_empty() {
            let shown: Vec<(usize, &Fate)> =
                unexpected.iter().take(SHOWN_ROWS).map(|(line, fate)| (*line, fate)).collect();
            writeln!(out, "{}", outcomes(&shown)?)?;
            if unexpected.len() > SHOWN_ROWS {
                writeln!(out, "and {} rows more", unexpected.len() - SHOWN_ROWS)?;
            }
            writeln!(out, "--update writes this into the case, as what is expected")?;
        }
        Ok(())
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

/// Writes beside the file and renames: a case is never half there.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("jsonl.new");
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path)).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("{} cannot be written", path.display())).caused_by(error)
    })
}
