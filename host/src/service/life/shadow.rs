//! A candidate beside the stream: both versions of a stage work on the batches that it has just seen, on instances of
//! their own, and what they make of each row is compared. The stream pays for it only with processor time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, make_comparator};
use arrow::compute::{SortOptions, cast};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::dimension::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{Sample, Stopwatch};
use crate::plan::PlannedStage;
use crate::plugin::Plugin;
use crate::record::{Batch, Partition, Payload, Records};
use crate::schema::{Column, arrow_type};
use crate::stage::{Applied, Stage};

/// Examples that are kept of each kind of difference.
const EXAMPLES: usize = 3;
/// The longest example, in characters.
const EXAMPLE_CHARS: usize = 120;

/// How two versions of a stage did on the same rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// Rows that both worked on.
    pub rows: u64,
    /// What runs.
    pub live: Side,
    /// What may run.
    pub candidate: Side,
    /// Rows that one kept and the other rejected or filtered, that became another number of rows, or took another route.
    pub other_fate: u64,
    /// Some of those: what became of the row on either side.
    pub fate_examples: Vec<Example>,
    /// The columns that both make and that differ in some row, of rows that both kept.
    pub columns: Vec<ColumnDifference>,
    /// Columns that only the candidate makes.
    pub added: Vec<String>,
    /// Columns that only the live one makes.
    pub dropped: Vec<String>,
}

/// What one version did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Rows that came out.
    pub kept: u64,
    /// Rejected rows by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Filtered rows by reason.
    pub filtered: BTreeMap<String, u64>,
    /// CPU nanoseconds a row.
    pub ns_a_row: u64,
}

impl Side {
    /// The share of rows that it rejected.
    pub fn rejected_share(&self, rows: u64) -> f64 {
        self.rejected.values().sum::<u64>() as f64 / rows.max(1) as f64
    }
}

/// A column in which the two differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDifference {
    /// Its name.
    pub column: String,
    /// Rows in which it differs.
    pub rows: u64,
    /// Rows that were compared.
    pub compared: u64,
    /// Some of the differences.
    pub examples: Vec<Example>,
}

/// The same place on either side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What the live version makes.
    pub live: String,
    /// What the candidate makes.
    pub candidate: String,
}

/// One version of a stage.
pub struct Contender<'a> {
    /// Its place in its plan.
    pub planned: &'a PlannedStage,
    /// Its plugin.
    pub plugin: Arc<Plugin>,
}

/// Compares two versions on samples.
///
/// # Errors
/// `Plugin` when the candidate cannot work on these rows at all; `Input` when it reads columns that the samples have not.
pub fn shadow(
    settings: &config::Stage,
    live: &Contender<'_>,
    candidate: &Contender<'_>,
    samples: &[Sample],
    tables: &[Snapshot],
) -> Result<Shadow> {
    // A share of rejects is compared, not judged.
    let mut settings = settings.clone();
    settings.limits.rejected = None;
    let make = |side: &Contender<'_>| Stage::new(side.planned, &settings, Some(Arc::clone(&side.plugin)));
    let (mut of_live, mut of_candidate) = (make(live)?, make(candidate)?);
    let mut report = Shadow::default();
    let names = |contender: &Contender<'_>| -> Vec<Column> {
        contender.planned.output.iter().map(|flow| flow.column.clone()).collect()
    };
    let (live_columns, candidate_columns) = (names(live), names(candidate));
    let only_in = |these: &[Column], those: &[Column]| -> Vec<String> {
        these.iter().filter(|a| !those.iter().any(|b| a.name == b.name)).map(|column| column.name.clone()).collect()
    };
    report.added = only_in(&candidate_columns, &live_columns);
    report.dropped = only_in(&live_columns, &candidate_columns);
    let mut cpu_ns = [0, 0];
    for (number, sample) in samples.iter().enumerate() {
        let inputs = [input(live.planned, sample)?, input(candidate.planned, sample)?];
        if number == 0 {
            // Once for nothing: the first call of an instance takes longer than the others.
            work(&mut of_live, &inputs[0], sample, tables)?;
            work(&mut of_candidate, &inputs[1], sample, tables)?;
        }
        let mut watch = Stopwatch::start();
        let made_live = work(&mut of_live, &inputs[0], sample, tables)?;
        cpu_ns[0] += watch.lap_ns();
        let made_candidate = work(&mut of_candidate, &inputs[1], sample, tables)?;
        cpu_ns[1] += watch.lap_ns();
        report.rows += sample.columns.num_rows() as u64;
        count(&mut report.live, &made_live);
        count(&mut report.candidate, &made_candidate);
        compare(&mut report, sample.columns.num_rows(), &made_live, &made_candidate, &live_columns)?;
    }
    report.live.ns_a_row = cpu_ns[0] / report.rows.max(1);
    report.candidate.ns_a_row = cpu_ns[1] / report.rows.max(1);
    report.columns.retain(|column| column.rows > 0);
    Ok(report)
}

fn work(stage: &mut Stage, batch: &Batch, sample: &Sample, tables: &[Snapshot]) -> Result<Applied> {
    stage.begin_epoch();
    stage.apply(batch, tables, sample.now_ms, Duration::ZERO)
}

/// The batch that a stage's plan wants, of a sample; row `i` is record `i` of nothing.
fn input(planned: &PlannedStage, sample: &Sample) -> Result<Batch> {
    let schema = sample.columns.schema_ref();
    let index = |column: &Column| {
        schema.index_of(&column.name).map_err(|_| {
            let message = format!(
                "stage \"{}\" reads column \"{}\", which the rows that were just seen do not have",
                planned.name, column.name
            );
            Error::new(ErrorKind::Input, message)
        })
    };
    let read = planned.input.iter().map(index).collect::<Result<Vec<usize>>>()?;
    let failed = |error| Error::new(ErrorKind::Internal, "a sample cannot be used").caused_by(error);
    let columns = sample.columns.project(&read).map_err(failed)?;
    let records = Records {
        partition: Partition { source: "sample".into(), key: "".into() },
        partition_number: 0,
        payload: Payload::Bytes(BinaryArray::from_iter_values(std::iter::empty::<&[u8]>())),
        csv_header: None,
        offsets: Vec::new(),
        next_offset: 0,
        timestamps_ms: Vec::new(),
        keys: None,
        headers: Vec::new(),
    };
    Ok(Batch { columns, records: Arc::new(records), record_of_row: None })
}

fn count(side: &mut Side, made: &Applied) {
    side.kept += made.kept.rows() as u64;
    for reject in &made.rejects {
        *side.rejected.entry(reject.reason.clone()).or_default() += 1;
    }
    for left_out in &made.filtered {
        *side.filtered.entry(left_out.reason.clone()).or_default() += left_out.rows.len() as u64;
    }
}

/// What became of each input row.
struct Fates<'a> {
    made: &'a Applied,
    /// For each input row the range of output rows.
    kept: Vec<(usize, usize)>,
    /// For each input row that was not kept why.
    lost: BTreeMap<u32, String>,
}

impl<'a> Fates<'a> {
    fn of(made: &'a Applied, rows: usize) -> Self {
        let mut kept = vec![(0, 0); rows];
        for output in 0..made.kept.rows() {
            // `record_of` is the input row: see `input`.
            if let Some(range) = kept.get_mut(made.kept.record_of(output) as usize) {
                *range = if range.1 == 0 { (output, output + 1) } else { (range.0, output + 1) };
            }
        }
        let rejected = made.rejects.iter().map(|reject| (reject.row, format!("rejected: {}", reject.reason)));
        let filtered = made
            .filtered
            .iter()
            .flat_map(|left_out| left_out.rows.iter().map(|row| (*row, format!("filtered: {}", left_out.reason))));
        Self { made, kept, lost: rejected.chain(filtered).collect() }
    }

    fn text(&self, row: usize) -> String {
        let (start, end) = self.kept[row];
        if let Some(lost) = u32::try_from(row).ok().and_then(|row| self.lost.get(&row)) {
            return lost.clone();
        }
        match self.made.routes.get(start..end) {
            Some(routes) if !routes.is_empty() => format!("kept {} times, to outputs {routes:?}", end - start),
            _ => format!("kept {} times", end - start),
        }
    }
}

fn compare(report: &mut Shadow, rows: usize, live: &Applied, candidate: &Applied, columns: &[Column]) -> Result<()> {
    let fates = [Fates::of(live, rows), Fates::of(candidate, rows)];
    let mut pairs = Vec::with_capacity(live.kept.rows());
    for row in 0..rows {
        let texts = [fates[0].text(row), fates[1].text(row)];
        if texts[0] == texts[1] {
            let (mine, theirs) = (fates[0].kept[row], fates[1].kept[row]);
            pairs.extend((mine.0..mine.1).zip(theirs.0..theirs.1));
        } else {
            report.other_fate += 1;
            keep(&mut report.fate_examples, || {
                let [live, candidate] = texts;
                Example { live, candidate }
            });
        }
    }
    for column in columns {
        let names =
            (live.kept.columns.column_by_name(&column.name), candidate.kept.columns.column_by_name(&column.name));
        if let (Some(mine), Some(theirs)) = names {
            compare_column(report, column, mine, theirs, &pairs)?;
        }
    }
    Ok(())
}

fn compare_column(
    report: &mut Shadow,
    column: &Column,
    live: &ArrayRef,
    candidate: &ArrayRef,
    pairs: &[(usize, usize)],
) -> Result<()> {
    let failed = |error| {
        let message = format!("column \"{}\" cannot be compared", column.name);
        Error::new(ErrorKind::Internal, message).caused_by(error)
    };
    let plain = arrow_type(&column.logical);
    let (live, candidate) = (cast(live, &plain).map_err(failed)?, cast(candidate, &plain).map_err(failed)?);
    let order = make_comparator(live.as_ref(), candidate.as_ref(), SortOptions::default()).map_err(failed)?;
    let options = FormatOptions::default().with_null("null");
    let text = |array| ArrayFormatter::try_new(array, &options).map_err(failed);
    let (live, candidate) = (text(live.as_ref())?, text(candidate.as_ref())?);
    let at = match report.columns.iter().position(|known| known.column == column.name) {
        Some(at) => at,
        None => {
            let column = column.name.clone();
            report.columns.push(ColumnDifference { column, rows: 0, compared: 0, examples: Vec::new() });
            report.columns.len() - 1
        }
    };
    let difference = &mut report.columns[at];
    difference.compared += pairs.len() as u64;
    for &(mine, theirs) in pairs {
        if order(mine, theirs).is_ne() {
            difference.rows += 1;
            keep(&mut difference.examples, || Example {
                live: cut(&live.value(mine)),
                candidate: cut(&candidate.value(theirs)),
            });
        }
    }
    Ok(())
}

fn cut(text: &dyn std::fmt::Display) -> String {
    text.to_string().chars().take(EXAMPLE_CHARS).collect()
}

/// Keeps an example that is not there yet, up to a few.
fn keep(examples: &mut Vec<Example>, example: impl FnOnce() -> Example) {
    if examples.len() < EXAMPLES {
        let example = example();
        if !examples.contains(&example) {
            examples.push(example);
        }
    }
}
