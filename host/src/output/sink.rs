//! Outputs of any kind behind one face, and what they hand to the commit together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::kafka::KafkaWriter;
use super::reject::{RefusedBy, reject_again, reject_columns, reject_records, reject_rows, reject_settings};
use super::reject_json::reject_json;
use super::{
    Closing, Limits, ParquetWriter, Place, Prepared, ReadRange, StagedFile, is_too_old, merge_tails, obsolete,
};
use crate::commit::RemovedFile;
use crate::commit::{Host, Transactions};
use crate::config::{OutputKind, ParquetOutput, Pipeline, Rejects};
use crate::disk::Disk;
use crate::error::Result;
use crate::plan::{PlannedOutput, PlannedStage, Work};
use crate::record::{Batch, Records, Refusal};
use crate::schema::Column;

/// The name under which rejects stand among the outputs; no output may take it.
pub const REJECTS: &str = "rejects";

/// The longest that a topic's broker may take to acknowledge what an epoch wrote.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Rejects come in small numbers: their files are closed with every commit, so that they can be read at once.
const REJECTS_MEMORY_BYTES: u64 = 16 << 20;

/// What a worker's outputs are opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Who writes.
    pub host: Host,
    /// The worker.
    pub worker: usize,
    /// The epoch that is written first.
    pub epoch: u64,
    /// What one Parquet output of the worker may hold in memory.
    pub memory_bytes: u64,
    /// Entries of the footers.
    pub footer: Vec<(String, String)>,
    /// Where files go.
    pub disk: Arc<dyn Disk>,
    /// The host's, when a topic gets each row once.
    pub transactions: Option<Arc<Transactions>>,
}

impl Opening {
    fn place(&self, output: &str, lake: &Path) -> Place {
        Place {
            output: output.to_owned(),
            lake: lake.to_path_buf(),
            staging: crate::commit::staging_folder(lake, &self.host),
            host: self.host.id.clone(),
            incarnation: self.host.incarnation,
            worker: self.worker,
        }
    }
}

/// One worker's side of one output.
pub enum Sink {
    /// Parquet files.
    Parquet(Box<ParquetWriter>),
    /// A topic.
    Topic(Box<dyn TopicWriter>),
}

/// Writes rows to a topic: Kafka's, or the simulation's.
pub trait TopicWriter: Send {
    /// Hands over rows; waits while the way to the brokers is full.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Hands over values as they are.
    fn write_values(&mut self, values: &[String]) -> Result<()>;

    /// The longest value that it takes.
    fn most_value_bytes(&self) -> usize;

    /// Ends an epoch: its rows. At least once: when they were acknowledged. Exactly once: the commit waits for that.
    fn prepare(&mut self, timeout: Duration) -> Result<u64>;
}

/// What one worker's side of one output hands over at the end of an epoch.
#[derive(Debug)]
pub enum Staged {
    /// Files and spool.
    Parquet(Box<Prepared>),
    /// The epoch's rows in a topic: acknowledged by its broker, or not committed before they are.
    Topic(u64),
}

impl Sink {
    /// Opens a worker's side of an output.
    pub fn open(planned: &PlannedOutput, kind: &OutputKind, opening: &Opening) -> Result<Self> {
        match kind {
            OutputKind::Parquet(settings) => {
                let place = opening.place(&planned.name, &settings.path);
                let limits = Limits { memory_bytes: opening.memory_bytes, ..Limits::default() };
                let disk = Arc::clone(&opening.disk);
                let mut writer = ParquetWriter::new(place, settings, &planned.columns, limits, opening.epoch, disk)?;
                writer.set_footer(opening.footer.clone());
                Ok(Self::Parquet(Box::new(writer)))
            }
            OutputKind::Kafka(settings) => {
                let transactions = opening.transactions.as_ref();
                let writer = Box::new(KafkaWriter::new(&planned.name, settings, &planned.columns, transactions)?);
                Ok(Self::Topic(writer))
            }
        }
    }

    /// The number of the epoch that begins, before any of its rows.
    pub fn begin(&mut self, epoch: u64) {
        if let Self::Parquet(writer) = self {
            writer.set_epoch(epoch);
        }
    }

    /// Says which records the rows that come now are made of.
    pub fn set_read(&mut self, read: Option<&ReadRange>) {
        if let Self::Parquet(writer) = self {
            writer.set_read(read.cloned());
        }
    }

    /// Adds rows.
    pub fn write(&mut self, rows: &RecordBatch, now_ms: i64) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(rows, now_ms),
            Self::Topic(writer) => writer.write(rows),
        }
    }

    /// The memory that it holds.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Self::Parquet(writer) => writer.memory_bytes(),
            // Bounded by librdkafka's queue: a full one makes `write` wait.
            Self::Topic(_) => 0,
        }
    }

    /// Makes what was written durable; rows of topics that get each row once are so with the commit.
    pub fn prepare(&mut self, now_ms: i64, closing: Closing<'_>) -> Result<Staged> {
        match self {
            Self::Parquet(writer) => Ok(Staged::Parquet(Box::new(writer.prepare(now_ms, closing)?))),
            Self::Topic(writer) => Ok(Staged::Topic(writer.prepare(ACKNOWLEDGE_TIMEOUT)?)),
        }
    }
}

/// Where one worker's refused rows go.
pub struct RejectSink {
    sink: Sink,
    pipeline: String,
    digests: BTreeMap<String, String>,
}

impl RejectSink {
    /// Opens a worker's side of the rejects.
    pub fn open(pipeline: &Pipeline, digests: BTreeMap<String, String>, opening: &Opening) -> Result<Self> {
        match &pipeline.rejects {
            Rejects::File { path, .. } => {
                Self::to_files(&pipeline.name, reject_settings(path.clone()), digests, opening)
            }
            Rejects::Kafka(settings) => {
                Self::new(&pipeline.name, &OutputKind::Kafka(settings.clone()), digests, opening)
            }
        }
    }

    /// Opens a worker's side of rejects that go to files.
    pub fn to_files(
        pipeline: &str,
        settings: ParquetOutput,
        digests: BTreeMap<String, String>,
        opening: &Opening,
    ) -> Result<Self> {
        Self::new(pipeline, &OutputKind::Parquet(settings), digests, opening)
    }

    fn new(pipeline: &str, kind: &OutputKind, digests: BTreeMap<String, String>, opening: &Opening) -> Result<Self> {
        let columns: Vec<Column> = reject_columns();
        let planned = PlannedOutput {
            name: REJECTS.into(),
            index: 0,
            from: crate::plan::Place::Source(0),
            take: (0..columns.len()).collect(),
            columns,
        };
        let opening = Opening { memory_bytes: REJECTS_MEMORY_BYTES, ..opening.clone() };
        Ok(Self { sink: Sink::open(&planned, kind, &opening)?, pipeline: pipeline.to_owned(), digests })
    }

    /// Keeps records that the decoder refused.
    pub fn refuse_records(&mut self, records: &Arc<Records>, refused: &[Refusal], now_ms: i64) -> Result<()> {
        let blocks = reject_records(&self.pipeline, records, refused)?;
        blocks.iter().try_for_each(|rows| self.write(rows, now_ms))
    }

    /// Keeps rejects that were tried again and could not go in where they have to.
    pub fn refuse_again(&mut self, records: &Arc<Records>, refused: &[Refusal], now_ms: i64) -> Result<()> {
        let blocks = reject_again(&self.pipeline, records, refused)?;
        blocks.iter().try_for_each(|rows| self.write(rows, now_ms))
    }

    fn write(&mut self, rows: &RecordBatch, now_ms: i64) -> Result<()> {
        match &mut self.sink {
            Sink::Parquet(writer) => writer.write(rows, now_ms),
            Sink::Topic(writer) => writer.write_values(&reject_json(rows, writer.most_value_bytes())),
        }
    }

    /// Keeps rows that a stage refused.
    pub fn refuse_rows(&mut self, stage: &PlannedStage, batch: &Batch, refused: &[Refusal], now_ms: i64) -> Result<()> {
        let digest = match &stage.work {
            Work::Plugin(_) => self.digests.get(stage.name.as_ref()).map(String::as_str),
            Work::Lookup(_) => None,
        };
        let by = RefusedBy { stage: &stage.name, digest };
        let blocks = reject_rows(&self.pipeline, by, batch, refused)?;
        blocks.iter().try_for_each(|rows| self.write(rows, now_ms))
    }

    /// The sink behind it.
    pub fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    /// The memory that it holds.
    pub fn memory_bytes(&self) -> u64 {
        self.sink.memory_bytes()
    }

    /// Makes what was written durable; the files are closed.
    pub fn prepare(&mut self, now_ms: i64) -> Result<Staged> {
        self.sink.prepare(now_ms, Closing::All)
    }
}

/// What one output, all its workers together, hands to the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Closed files, to be published.
    pub files: Vec<StagedFile>,
    /// What stays open, one a worker: complete, nothing of an older token is needed.
    pub waiting: Vec<Prepared>,
    /// Rows that a topic's broker acknowledged.
    pub acknowledged_rows: u64,
    /// Files that the commit takes out of the lake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedFile>,
    /// Staged files that nothing needs once the token is committed.
    #[serde(skip)]
    pub obsolete: Vec<PathBuf>,
}

impl Token {
    /// The files in staging that hold rows of open files.
    pub fn spool_files(&self) -> impl Iterator<Item = PathBuf> {
        self.waiting.iter().flat_map(|prepared| &prepared.open).flat_map(|file| file.needs().map(Path::to_path_buf))
    }

    /// Whether rows wait for their file to be closed.
    pub fn is_waiting(&self) -> bool {
        self.waiting.iter().any(|prepared| !prepared.open.is_empty())
    }

    /// Rows of closed files, from their footers.
    pub fn closed_rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Rows that wait for their file to be closed.
    pub fn waiting_rows(&self) -> u64 {
        self.waiting.iter().flat_map(|prepared| &prepared.open).map(|file| file.rows).sum()
    }
}

/// How the workers' files of one output become one token.
#[derive(Clone, Debug)]
pub struct Combine {
    place: Place,
    target_file_bytes: u64,
    max_age: Duration,
    disk: Arc<dyn Disk>,
}

impl Combine {
    /// For an output's Parquet files.
    pub fn new(output: &str, settings: &ParquetOutput, opening: &Opening) -> Self {
        Self {
            place: opening.place(output, &settings.path),
            target_file_bytes: settings.target_file_bytes,
            max_age: settings.max_age,
            disk: Arc::clone(&opening.disk),
        }
    }

    /// The partitions of which a worker has a file that is too old by now: all workers close theirs in the same epoch, so
    /// that the tails become one file.
    pub fn due(&self, token: &Token, now_ms: i64) -> BTreeSet<String> {
        let max_age_ms = i64::try_from(self.max_age.as_millis()).unwrap_or(i64::MAX);
        let open = token.waiting.iter().flat_map(|prepared| &prepared.open);
        let due = open.filter(|file| is_too_old(file.first_row_ms, now_ms, max_age_ms));
        due.map(|file| file.partition.clone()).collect()
    }

    /// Joins tails into larger files and makes the token.
    pub fn combine(&self, parts: Vec<Prepared>) -> Result<Token> {
        combine(parts, &self.place, self.target_file_bytes, &self.disk)
    }
}

fn combine(mut parts: Vec<Prepared>, place: &Place, target_file_bytes: u64, disk: &Arc<dyn Disk>) -> Result<Token> {
    // The footers' entries are those of the plan that made the tails: the first one's are taken over.
    merge_tails(&mut parts, place, target_file_bytes, &[], disk)?;
    let obsolete = obsolete(&parts);
    let mut token = Token { obsolete: obsolete.into_iter().collect(), ..Token::default() };
    for part in &mut parts {
        token.files.append(&mut part.full);
        token.files.append(&mut part.tails);
    }
    token.waiting = parts.into_iter().filter(|part| !part.open.is_empty()).collect();
    Ok(token)
}

/// Closes what a committed token left open, under the names and columns that it says: the one way back after a restart.
pub fn settle(token: &Token, opening: &Opening) -> Result<Token> {
    let mut parts = Vec::with_capacity(token.waiting.len());
    let mut lake = None;
    for waiting in token.waiting.iter().filter(|waiting| !waiting.open.is_empty()) {
        let place = opening.place(&waiting.output, &waiting.lake);
        let disk = Arc::clone(&opening.disk);
        let mut writer = ParquetWriter::finishing(waiting, place, Limits::default(), opening.epoch, disk)?;
        writer.set_footer(opening.footer.clone());
        parts.push(writer.prepare(0, Closing::All)?);
        lake = Some((waiting.output.clone(), waiting.lake.clone()));
    }
    match lake {
        Some((output, lake)) => {
            let place = opening.place(&output, &lake);
            combine(parts, &place, u64::MAX, &opening.disk)
        }
        None => Ok(Token::default()),
    }
}
