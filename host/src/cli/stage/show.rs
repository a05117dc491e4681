//! Answers as people read them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Result, Write};
use std::path::Path;

use super::place::quoted;
use crate::cli::columns::write_columns;
use crate::digest::short;
use crate::output::{Explained, RecordRange};
use crate::service::Version;
use crate::service::life::{By, Candidate, Entry, Example, ProposeOutcome, RolledBack, Shadow, StageState, What};

/// Most files that a rollback shows one by one.
const SHOWN_FILES: usize = 20;

fn config(version: &Version) -> String {
    version.config.as_ref().map_or_else(|| "the file's".to_owned(), ToString::to_string)
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn instant(ms: i64) -> String {
    let instant = jiff::Timestamp::from_millisecond(ms).ok();
    or_dash(instant.map(|instant| instant.strftime("%Y-%m-%d %H:%M:%S")))
}

/// A stage's file, marked when it is not what runs.
fn file(state: &StageState) -> String {
    match &state.file_digest {
        Some(found) if *found == state.live.digest => state.file.clone(),
        Some(found) => format!("{} (another: {})", state.file, short(found)),
        None => format!("{} (cannot be read)", state.file),
    }
}

/// What runs in each stage.
pub(super) fn stages(out: &mut dyn Write, stages: &[StageState]) -> Result<()> {
    let row = |state: &StageState| {
        let waits = state.candidate.as_ref().map(|candidate| short(&candidate.version.digest));
        vec![
            state.stage.clone(),
            short(&state.live.digest),
            config(&state.live),
            state.plan.to_string(),
            or_dash(state.pinned.as_deref().map(short)),
            or_dash(waits),
            file(state),
        ]
    };
    let rows: Vec<Vec<String>> = stages.iter().map(row).collect();
    write_columns(out, &["stage", "runs", "config", "plan", "pinned to", "waits", "file"], &rows)?;
    for state in stages {
        if let Some(Candidate { version, why, .. }) = &state.candidate {
            writeln!(out, "\nstage {}: {version} waits: {why}", state.stage)?;
        }
        let waits = state.candidate.as_ref().map(|candidate| &candidate.version.digest);
        let idle = state.file_digest.as_ref().filter(|found| **found != state.live.digest && Some(*found) != waits);
        if let Some(idle) = idle {
            let StageState { stage, file, .. } = state;
            let found = short(idle);
            writeln!(
                out,
                "\nstage {stage}: its file is {found}, which does not run: `millstream stage history` says why when it was \
                 refused; `millstream stage propose PIPELINE.toml/{stage} --plugin {file}` proposes it"
            )?;
        }
    }
    Ok(())
}

/// What became of versions.
pub(super) fn history(out: &mut dyn Write, entries: &[Entry]) -> Result<()> {
    let row = |entry: &Entry| {
        vec![
            instant(entry.at_ms),
            entry.stage.clone(),
            short(&entry.version.digest),
            config(&entry.version),
            what(entry.what).to_owned(),
            by(entry.by).to_owned(),
            or_dash(entry.plan),
            or_dash(entry.epoch),
            or_dash(entry.why.as_deref()),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let head = ["when (UTC)", "stage", "version", "config", "what", "by", "plan", "epoch", "why"];
    write_columns(out, &head, &rows)
}

fn what(what: What) -> &'static str {
    match what {
        What::Refused => "refused",
        What::Held => "held",
        What::Accepted => "accepted",
        What::InPlace => "in place",
        What::Passed => "passed",
        What::Failed => "failed",
        What::RolledBack => "rolled back",
        What::Pinned => "pinned",
        What::Unpinned => "unpinned",
    }
}

fn by(by: By) -> &'static str {
    match by {
        By::File => "file",
        By::Person => "person",
        By::Host => "host",
    }
}

/// What became of a request.
pub(super) fn outcome(out: &mut dyn Write, outcome: &ProposeOutcome) -> Result<()> {
    writeln!(out, "{}", outcome.message)?;
    match &outcome.shadow {
        Some(shadow) => difference(out, shadow),
        None => Ok(()),
    }
}

/// A candidate that waits.
pub(super) fn candidate(out: &mut dyn Write, stage: &str, candidate: &Candidate) -> Result<()> {
    writeln!(out, "stage {stage}: {} waits: {}", candidate.version, candidate.why)?;
    match &candidate.shadow {
        Some(shadow) => difference(out, shadow),
        None => writeln!(out, "it was not tried beside the stream: no rows were seen yet that it could work on"),
    }
}

fn difference(out: &mut dyn Write, shadow: &Shadow) -> Result<()> {
    let Shadow { rows, live, candidate, .. } = shadow;
    writeln!(out, "\non the {rows} rows that were seen last:")?;
    let row = |name: &str, live: u64, candidate: u64| vec![name.to_owned(), live.to_string(), candidate.to_string()];
    let mut counts = vec![row("rows out", live.kept, candidate.kept)];
    for (what, of_live, of_candidate) in
        [("rejected", &live.rejected, &candidate.rejected), ("filtered", &live.filtered, &candidate.filtered)]
    {
        counts.push(row(what, of_live.values().sum(), of_candidate.values().sum()));
        let reasons: BTreeSet<&String> = of_live.keys().chain(of_candidate.keys()).collect();
        let count = |side: &BTreeMap<String, u64>, reason: &String| side.get(reason).copied().unwrap_or(0);
        let by_reason = |reason| row(&format!("  {reason}"), count(of_live, reason), count(of_candidate, reason));
        counts.extend(reasons.into_iter().map(by_reason));
    }
    counts.push(row("ns a row", live.ns_a_row, candidate.ns_a_row));
    write_columns(out, &["", "runs", "candidate"], &counts)?;
    for (what, columns) in [("new columns", &shadow.added), ("columns that go", &shadow.dropped)] {
        if !columns.is_empty() {
            writeln!(out, "{what}: {}", columns.join(", "))?;
        }
    }
    if shadow.other_fate > 0 {
        writeln!(out, "\n{} rows have another fate, such as", shadow.other_fate)?;
        examples(out, &shadow.fate_examples)?;
    }
    if shadow.columns.is_empty() && live.kept > 0 && candidate.kept > 0 {
        return writeln!(out, "\nno value differs in rows that both keep");
    }
    for column in &shadow.columns {
        let share = column.rows as f64 * 100.0 / column.compared.max(1) as f64;
        let (name, rows, compared) = (&column.column, column.rows, column.compared);
        writeln!(out, "\ncolumn {name} differs in {rows} of {compared} rows ({share:.1}%), such as")?;
        examples(out, &column.examples)?;
    }
    Ok(())
}

fn examples(out: &mut dyn Write, examples: &[Example]) -> Result<()> {
    let rows = examples.iter().map(|example| vec![String::new(), example.live.clone(), example.candidate.clone()]);
    write_columns(out, &["", "runs", "candidate"], &rows.collect::<Vec<_>>())
}

/// What a rollback did, and where the rows are that the version before made.
pub(super) fn rolled_back(out: &mut dyn Write, stage: &str, back: &RolledBack, rewind: &str) -> Result<()> {
    let RolledBack { from, to, epochs, files } = back;
    writeln!(out, "stage {stage}: {to} takes over at the end of this epoch, in the place of {from}")?;
    let spans = epochs.iter().map(|(first, last)| match last {
        Some(last) if last == first => first.to_string(),
        Some(last) => format!("{first} to {last}"),
        None => format!("{first} on"),
    });
    let spans: Vec<String> = spans.collect();
    if spans.is_empty() {
        return writeln!(out, "no epoch was made by {from}");
    }
    writeln!(out, "epochs made by {from}: {}", spans.join(", "))?;
    if files.is_empty() {
        return writeln!(
            out,
            "no closed file has its rows yet: `millstream explain FILE` says of each that comes which version made it"
        );
    }
    writeln!(out, "\nfiles with its rows:")?;
    files.iter().take(SHOWN_FILES).try_for_each(|file| writeln!(out, "  {file}"))?;
    if files.len() > SHOWN_FILES {
        writeln!(out, "  and {} more; --json has them all", files.len() - SHOWN_FILES)?;
    }
    let records = records_of(files);
    if records.is_empty() { Ok(()) } else { write_records(out, &records, rewind) }
}

/// By source and partition the offsets of the records in files, from their footers.
fn records_of(files: &[String]) -> BTreeMap<(String, String), (i64, i64)> {
    let mut records = BTreeMap::new();
    // A file that is gone by now, or another program's, has no footer of ours.
    let read = files.iter().filter_map(|file| Explained::read(Path::new(file)).ok()?.read);
    let of_rejects = |range: RecordRange| if range.records.is_empty() { vec![range] } else { range.records };
    for range in read.flatten().flat_map(of_rejects) {
        let known = records.entry((range.source, range.partition)).or_insert((range.first, range.end));
        *known = (known.0.min(range.first), known.1.max(range.end));
    }
    records
}

fn write_records(out: &mut dyn Write, records: &BTreeMap<(String, String), (i64, i64)>, rewind: &str) -> Result<()> {
    let row = |((source, partition), (first, end)): (&(String, String), &(i64, i64))| {
        vec![source.clone(), partition.clone(), first.to_string(), end.saturating_sub(1).to_string()]
    };
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    writeln!(out, "\nthey stay as they are; to replace them, read these records again:")?;
    write_columns(out, &["source", "partition", "first offset", "last offset"], &rows)?;
    let point = |((source, partition), (first, _)): (&(String, String), &(i64, i64))| {
        format!(" --to-offset {}", quoted(&format!("{source}/{partition}={first}")))
    };
    let points: String = records.iter().map(point).collect();
    writeln!(
        out,
        "\nthis does it once the host is stopped, and everything read since then is read again with it; without"
    )?;
    writeln!(out, "--yes it shows what it would do:\n  {rewind}{points}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::life::{ColumnDifference, Side};

    #[test]
    fn a_difference_is_shown_by_reason_and_by_column() {
        let example = |live: &str, candidate: &str| Example { live: live.to_owned(), candidate: candidate.to_owned() };
        let column = ColumnDifference {
            column: "host".to_owned(),
            rows: 1,
            compared: 8,
            examples: vec![example("a.example", "A.example")],
        };
        let shadow = Shadow {
            rows: 10,
            live: Side { kept: 10, ns_a_row: 120, ..Side::default() },
            candidate: Side { kept: 8, rejected: [("bad_url".to_owned(), 2)].into(), ns_a_row: 90, ..Side::default() },
            other_fate: 2,
            fate_examples: vec![example("kept", "rejected: bad_url")],
            columns: vec![column],
            added: vec!["port".to_owned()],
            dropped: vec![],
        };
        let mut out = Vec::new();
        difference(&mut out, &shadow).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "
on the 10 rows that were seen last:
           runs  candidate
rows out   10    8
rejected   0     2
  bad_url  0     2
filtered   0     0
ns a row   120   90
new columns: port

2 rows have another fate, such as
  runs  candidate
  kept  rejected: bad_url

column host differs in 1 of 8 rows (12.5%), such as
  runs       candidate
  a.example  A.example
"
        );
    }
}
