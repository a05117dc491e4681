//! What a run did: for a person at its end, and as JSON for scripts and benchmarks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::assembly::{Assembly, lakes};
use crate::commit::CommitRecord;
use crate::dimension::Status;
use crate::pipeline::{Counts, Phases, each_reason, process_cpu_ns};
use crate::record::Partition;

/// Files of one output.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OutputFiles {
    /// Where they are.
    pub folder: PathBuf,
    /// How many were published.
    pub files: u64,
    /// Rows by their footers.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a run did.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The pipeline.
    pub pipeline: String,
    /// Wall time.
    pub seconds: f64,
    /// CPU time of the process in this run, all threads.
    pub cpu_seconds: f64,
    /// How much of that went by before the first record could be read: plugins compiled, the spool settled.
    pub start_cpu_seconds: f64,
    /// The largest resident memory of the process so far.
    pub peak_memory_bytes: u64,
    /// Records that were read.
    #[serde(rename = "in")]
    pub read: u64,
    /// Rows of this run.
    #[serde(flatten)]
    pub counts: Counts,
    /// Whether `in + multiplied = out + rejected + filtered`.
    pub conserved: bool,
    /// By output, rejects among them, what was published in this run.
    pub files: BTreeMap<String, OutputFiles>,
    /// By source, how many offsets were gone from its topic before they were read (`lost = "skip"`). A transaction's markers
    /// and compacted records have offsets too.
    pub lost: BTreeMap<String, u64>,
    /// Commits.
    pub epochs: u64,
    /// Plans that came in while it ran.
    pub swaps: u64,
    /// The longest time that all workers stood still for a commit.
    pub longest_pause_ms: f64,
    /// The longest such time in which a plan was swapped.
    pub longest_swap_pause_ms: f64,
    /// CPU nanoseconds by phase.
    pub phases: Phases,
    /// By dimension: rows, bytes, the path that lookups took.
    pub dimensions: BTreeMap<String, String>,
}

/// Adds up a run.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    cpu_ns: u64,
    start_cpu_ns: u64,
    rows: Arc<AtomicU64>,
    counts: Counts,
    outputs: BTreeMap<String, OutputFiles>,
    /// By partition and first offset, where the gap ends: a run that begins again finds the same one.
    gaps: BTreeMap<(Partition, i64), i64>,
    epochs: u64,
    swaps: u64,
    longest_pause: Duration,
    longest_swap_pause: Duration,
    phases: Phases,
}

impl Tally {
    /// Starts the clocks.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            cpu_ns: process_cpu_ns(),
            start_cpu_ns: 0,
            rows: Arc::default(),
            counts: Counts::default(),
            outputs: BTreeMap::new(),
            gaps: BTreeMap::new(),
            epochs: 0,
            swaps: 0,
            longest_pause: Duration::ZERO,
            longest_swap_pause: Duration::ZERO,
            phases: Phases::default(),
        }
    }

    /// The commits so far.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// The records that were read, counted as they are.
    pub fn rows(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.rows)
    }

    /// Adds a commit.
    pub fn add(&mut self, record: &CommitRecord) {
        self.epochs += 1;
        self.counts.merge(&record.counts);
        for (output, token) in &record.outputs {
            let files = self.outputs.entry(output.clone()).or_default();
            files.files += token.files.len() as u64;
            files.rows += token.files.iter().map(|file| file.rows).sum::<u64>();
            files.bytes += token.files.iter().map(|file| file.bytes).sum::<u64>();
        }
    }

    /// Adds records that were gone before they were read.
    pub fn add_gaps(&mut self, gaps: Vec<(Partition, i64, i64)>) {
        for (partition, from, to) in gaps {
            let end = self.gaps.entry((partition, from)).or_insert(to);
            *end = to.max(*end);
        }
    }

    fn lost(&self) -> BTreeMap<String, u64> {
        let mut lost = BTreeMap::<String, u64>::new();
        for ((partition, from), to) in &self.gaps {
            *lost.entry(partition.source.to_string()).or_default() += u64::try_from(to - from).unwrap_or(0);
        }
        lost
    }

    /// Adds a pause.
    pub fn add_pause(&mut self, pause: Duration, swapped: bool) {
        self.longest_pause = self.longest_pause.max(pause);
        if swapped {
            self.swaps += 1;
            self.longest_swap_pause = self.longest_swap_pause.max(pause);
        }
    }

    /// Adds the CPU time since `began_ns`, in which no record could be read.
    pub fn add_start(&mut self, began_ns: u64) {
        self.start_cpu_ns += process_cpu_ns().saturating_sub(began_ns);
    }

    /// Adds CPU time.
    pub fn add_phases(&mut self, phases: &Phases) {
        self.phases.merge(phases);
    }

    /// The sum.
    pub fn finish(mut self, assembly: &Assembly) -> Summary {
        for (output, lake) in lakes(&assembly.pipeline) {
            self.outputs.entry(output).or_default().folder = lake;
        }
        let dimensions = assembly.tables.iter().map(|table| (table.table().name.clone(), describe(&table.status())));
        Summary {
            lost: self.lost(),
            pipeline: assembly.pipeline.name.clone(),
            seconds: self.began.elapsed().as_secs_f64(),
            cpu_seconds: process_cpu_ns().saturating_sub(self.cpu_ns) as f64 / 1e9,
            start_cpu_seconds: self.start_cpu_ns as f64 / 1e9,
            peak_memory_bytes: peak_memory_bytes(),
            read: self.counts.total_read(),
            conserved: self.counts.is_conserved(),
            counts: self.counts,
            files: self.outputs,
            epochs: self.epochs,
            swaps: self.swaps,
            longest_pause_ms: self.longest_pause.as_secs_f64() * 1e3,
            longest_swap_pause_ms: self.longest_swap_pause.as_secs_f64() * 1e3,
            phases: self.phases,
            dimensions: dimensions.collect(),
        }
    }
}

fn describe(status: &Status) -> String {
    let keys = status.resident.keys + status.rocksdb.keys;
    format!(
        "{} rows, generation {}, served from {}; {keys} keys looked up, {} in memory, {} in RocksDB",
        status.rows, status.generation, status.served_from, status.resident.keys, status.rocksdb.keys
    )
}

/// Linux's `VmHWM`; 0 where there is no such thing.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.read;
        writeln!(
            f,
            "{}: {read} records in {:.2} s, {:.0} a second, {:.0} ns of CPU a record, {} MiB of memory at most",
            self.pipeline,
            self.seconds,
            read as f64 / self.seconds.max(1e-9),
            (self.cpu_seconds - self.start_cpu_seconds).max(0.0) * 1e9 / (read.max(1)) as f64,
            self.peak_memory_bytes >> 20,
        )?;
        for (output, rows) in &self.counts.out {
            let files = self.files.get(output);
            let at =
                files.map(|files| format!("{} files in {}", files.files, files.folder.display())).unwrap_or_default();
            writeln!(f, "  output    {output:<22} {rows:>12} rows  {at}")?;
        }
        for (kind, counts) in [("rejected", &self.counts.rejected), ("filtered", &self.counts.filtered)] {
            for (place, reason, rows) in each_reason(counts) {
                writeln!(f, "  {kind}  {:<22} {rows:>12} rows  {reason}", place)?;
            }
        }
        if let Some(rejects) = self.files.get(crate::output::REJECTS).filter(|rejects| rejects.files > 0) {
            writeln!(f, "  rejects are kept in {}", rejects.folder.display())?;
        }
        for (source, offsets) in &self.lost {
            writeln!(
                f,
                "  lost      {source:<22} {offsets:>12} offsets were gone from the topic before they were read"
            )?;
        }
        for (dimension, status) in &self.dimensions {
            writeln!(f, "  dimension {dimension:<22} {status}")?;
        }
        let verdict = if self.conserved { "conserved" } else { "NOT CONSERVED" };
        writeln!(f, "  {verdict}: {}", self.counts.equation())?;
        write!(f, "  {} commits, {} swaps, longest pause {:.1} ms", self.epochs, self.swaps, self.longest_pause_ms)
    }
}
