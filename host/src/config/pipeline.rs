//! The pipeline file as values, read and checked for itself (`super::read`); what it says about columns is checked
//! against sources, tables and contracts by the plan.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use millstream_sdk::LogicalType;
use tracing::level_filters::LevelFilter;

use super::StageConfig;

/// A value with the bytes of the pipeline file that it stands at.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Byte range in the text; empty at 0 for a default or `--set`.
    pub span: Range<usize>,
}

/// A pipeline: one TOML file. Relative paths were resolved against the file's folder.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `name`
    pub name: String,
    /// The file that it was read from.
    pub path: PathBuf,
    /// The file's text, for messages that show the place.
    pub text: String,
    /// Where commit log, plugins by digest, dimensions and staging lie: `data`, by default `data/<name>` beside the file.
    pub data: PathBuf,
    /// Worker threads: `workers`, by default one a core.
    pub workers: usize,
    /// `commit`
    pub commit: CommitTo,
    /// `[epoch]`
    pub epoch: EpochSettings,
    /// `[batch]`
    pub batch: BatchSettings,
    /// `[source.NAME]`, in order.
    pub sources: Vec<Source>,
    /// `[dimension.NAME]`, in order.
    pub dimensions: Vec<Dimension>,
    /// `[[stage]]`, in order.
    pub stages: Vec<Stage>,
    /// `[output.NAME]`, in order.
    pub outputs: Vec<Output>,
    /// `[rejects]`, by default files in `rejects` below the data folder.
    pub rejects: Rejects,
}

impl Pipeline {
    /// The topics that rows go to, with the output's name; rejects among them under `rejects`.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &KafkaOutput)> {
        let outputs = self.outputs.iter().filter_map(|output| match &output.kind {
            OutputKind::Kafka(topic) => Some((output.name.value.as_str(), topic)),
            OutputKind::Parquet(_) => None,
        });
        let rejects = match &self.rejects {
            Rejects::Kafka(topic) => Some(("rejects", topic)),
            Rejects::File { .. } => None,
        };
        outputs.chain(rejects)
    }
}

/// `commit`: where epochs become true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitTo {
    /// `kafka`: in a transaction, where a source or an output is a topic; else in the data folder.
    #[default]
    Kafka,
    /// `log`: in the data folder. Groups' offsets follow.
    Log,
}

/// `[epoch]`
#[derive(Clone, Debug)]
pub struct EpochSettings {
    /// `interval`: time between two commits; 100 ms to 10 min, by default 10 s.
    pub interval: Duration,
    /// `memory`: an epoch ends earlier when its outputs hold this much; by default 256 MiB.
    pub memory_bytes: u64,
}

/// `[batch]`
#[derive(Clone, Debug)]
pub struct BatchSettings {
    /// `rows`: most records in a batch; by default 4,096.
    pub rows: usize,
    /// `bytes`: most bytes of record values in a batch (one record may be larger); by default 4 MiB.
    pub bytes: usize,
}

/// `[source.NAME]`
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: Located<String>,
    /// Where records come from.
    pub kind: SourceKind,
    /// `format`: `json`, `csv` or `parquet`.
    pub format: Located<Format>,
    /// `unknown`: what happens to fields that no column names.
    pub unknown: Unknown,
    /// `event_time`: the timestamp column that says when the event happened.
    pub event_time: Option<Located<String>>,
    /// `columns`, in order.
    pub columns: Vec<SourceColumn>,
}

/// Where a source's records come from.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// `file = { .. }`
    File(FileSource),
    /// `kafka = { .. }`
    Kafka(KafkaSource),
}

/// `file = { path = ".." }` of a source.
#[derive(Clone, Debug)]
pub struct FileSource {
    /// One path or glob, or several; `.gz` and `.zst` are decompressed.
    pub paths: Vec<Located<String>>,
}

/// `kafka = { brokers, topic, group, start, lost, properties_file, properties }` of a source.
#[derive(Clone, Debug)]
pub struct KafkaSource {
    /// `host:port`, separated by commas.
    pub brokers: Located<String>,
    /// The topic.
    pub topic: Located<String>,
    /// The consumer group whose committed offsets are the truth.
    pub group: Located<String>,
    /// Where to begin when the group has no offsets.
    pub start: Start,
    /// What becomes of a run that would go on at records which are gone.
    pub lost: Lost,
    /// librdkafka's own settings, from `properties_file` (`name=value` lines) and then `properties`.
    pub properties: BTreeMap<String, String>,
}

/// `start` of a Kafka source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// `earliest`
    Earliest,
    /// `latest`
    Latest,
}

/// `lost` of a Kafka source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// `fail`: the run ends with an error.
    Fail,
    /// `skip`: it goes on at the first record that is there, and counts the gap.
    Skip,
}

/// `format` of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a record (JSONL in files).
    Json,
    /// Comma-separated with a header line (RFC 4180).
    Csv,
    /// Parquet files.
    Parquet,
}

/// `unknown` of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// `"ignore"`: left out, counted.
    Ignore,
    /// `"reject"`: the record is rejected.
    Reject,
    /// `{ keep = "column" }`: kept as one JSON object in a nullable utf8 column of this name.
    Keep(String),
}

/// One entry of a source's `columns`.
#[derive(Clone, Debug)]
pub struct SourceColumn {
    /// The column's name.
    pub name: Located<String>,
    /// Its type.
    pub logical: LogicalType,
    /// `?`: a missing field or a JSON null is null; otherwise such a record is rejected.
    pub nullable: bool,
    /// `from`, by default the field of the column's own name.
    pub from: ColumnFrom,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnFrom {
    /// A field of the record; `device.os` goes into objects.
    Field(Vec<String>),
    /// `@key`: Kafka's key (utf8 or binary).
    Key,
    /// `@timestamp`: the record's timestamp (timestamp).
    Timestamp,
    /// `@partition`: Kafka's partition (int32).
    Partition,
    /// `@offset`: where the record starts in its partition (int64).
    Offset,
    /// `@headers.NAME`: the last header of the name (utf8 or binary).
    Header(String),
}

/// `[dimension.NAME]`
#[derive(Clone, Debug)]
pub struct Dimension {
    /// Its name.
    pub name: Located<String>,
    /// The table's file: `.csv`, `.jsonl` (also `.json`) or `.parquet`; `.gz` and `.zst` are decompressed.
    pub path: Located<PathBuf>,
    /// The columns that make the key, in order.
    pub key: Vec<Located<String>>,
    /// `columns`: names and types (required for CSV and JSONL; a Parquet file brings its own).
    pub columns: Vec<SourceColumn>,
    /// `duplicates`: what a key that stands twice means.
    pub duplicates: Duplicates,
    /// `shrink`: the share of rows (0 to 1) that a reload may lose before it is refused; by default 0.5.
    pub shrink: f64,
    /// `memory`: up to this size the table is resident; by default 1 GiB.
    pub memory_bytes: u64,
}

/// What a key that stands twice in a table's file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// `"refuse"`: the file is refused.
    Refuse,
    /// `"first"`: the first row counts.
    First,
    /// `"last"`: the last row counts.
    Last,
}

/// `[[stage]]`
#[derive(Clone, Debug)]
pub struct Stage {
    /// `name`
    pub name: Located<String>,
    /// `from`: `source.NAME`, a stage's name, or `STAGE.OUTPUT`; by default the stage above, or the only source.
    pub from: Option<Located<String>>,
    /// What it does.
    pub kind: StageKind,
    /// `limits`
    pub limits: Limits,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum StageKind {
    /// `plugin = { file, rename, tables, sha256 }` and `config`.
    Plugin(PluginStage),
    /// `lookup = { table, key, add, missing }`
    Lookup(LookupStage),
}

/// A stage that a plugin makes.
#[derive(Clone, Debug)]
pub struct PluginStage {
    /// The component.
    pub file: Located<PathBuf>,
    /// The plugin's name of a column, table or output -> the pipeline's.
    pub rename: BTreeMap<String, String>,
    /// `tables`: the dimensions it may read (declared lookups and get-many); none given: those its contract declares.
    pub tables: Option<Vec<Located<String>>>,
    /// `sha256`: anything else is refused.
    pub sha256: Option<Located<String>>,
    /// `config` as a JSON object; `{}` when absent. It is printed with secrets as names.
    pub config: Located<StageConfig>,
    /// `swap`
    pub swap: Swap,
}

/// How a changed plugin or config takes over.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// `decision`: who decides; by default the thresholds below.
    pub decision: Decision,
    /// `rejected`: the share of rows (0 to 1) that it may reject beyond what the plugin before does; by default 0.01.
    pub rejected: f64,
    /// `slower`: how many times as long a row may take; by default 3.
    pub slower: u32,
    /// `probation`: the least time that its first epoch is held open; by default as long as any epoch.
    pub probation: Duration,
}

/// Who lets a candidate take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Within the thresholds it takes over by itself.
    Auto,
    /// A person accepts it.
    Manual,
}

/// A native lookup.
#[derive(Clone, Debug)]
pub struct LookupStage {
    /// The dimension.
    pub table: Located<String>,
    /// The columns that make the key, in the order of the table's key.
    pub key: Vec<Located<String>>,
    /// New column -> the table's column, in order.
    pub add: Vec<(Located<String>, Located<String>)>,
    /// `missing`: what becomes of a row whose key is not in the table.
    pub missing: Missing,
}

/// `missing` of a native lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// `"null"`: the added columns are null.
    Null,
    /// `"reject"`: the row is rejected with reason `lookup_missing`.
    Reject,
    /// `"filter"`: the row is filtered with reason `lookup_missing`.
    Filter,
}

/// `limits` of a stage.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `memory`: most memory of one instance; by default 64 MiB.
    pub memory_bytes: u64,
    /// `deadline`: longest call for a full batch; by default 2 s.
    pub deadline: Duration,
    /// `rejected`: the share (0 to 1) of rows over a time beyond which the pipeline stops; by default none.
    pub rejected: Option<RejectedShare>,
    /// `trap_calls`: most calls an epoch that bisection of trapping batches may cost; by default 1,000.
    pub trap_calls: u32,
    /// `log`: which of the plugin's lines may go to the log; by default all.
    pub log: LevelFilter,
}

/// `rejected = "5% over 1m"`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RejectedShare {
    /// 0 to 1.
    pub share: f64,
    /// The time over which it is measured.
    pub over: Duration,
}

/// `[output.NAME]`
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name.
    pub name: Located<String>,
    /// `from`: as a stage's; by default the last stage.
    pub from: Option<Located<String>>,
    /// `columns`: all when absent.
    pub columns: Option<Vec<Located<String>>>,
    /// Where rows go.
    pub kind: OutputKind,
}

/// Where an output's rows go.
#[derive(Clone, Debug)]
pub enum OutputKind {
    /// `parquet = { .. }`
    Parquet(ParquetOutput),
    /// `kafka = { .. }`
    Kafka(KafkaOutput),
}

/// `parquet = { path, partition, target_file, max_age, compression }`
#[derive(Clone, Debug)]
pub struct ParquetOutput {
    /// The output's folder in the lake.
    pub path: PathBuf,
    /// The partition transforms, outermost first.
    pub partition: Vec<PartitionBy>,
    /// `target_file`: a file is closed at about this size; by default 128 MiB.
    pub target_file_bytes: u64,
    /// `max_age`: a file is closed this long after its first row; by default 60 s.
    pub max_age: Duration,
    /// `compression`
    pub compression: Compression,
}

/// One partition transform.
#[derive(Clone, Debug)]
pub struct PartitionBy {
    /// The column.
    pub column: Located<String>,
    /// What is made of it.
    pub transform: PartitionTransform,
}

/// What a partition transform makes of a column. The folder is `NAME=value`, as Hive has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionTransform {
    /// `column`: the value itself, folder `column=value`.
    Value,
    /// `day(column)`: folder `day=2013-01-31`.
    Day,
    /// `hour(column)`: folder `hour=00` to `hour=23`.
    Hour,
}

impl PartitionTransform {
    /// Whether it can be made of a column of this type.
    pub fn takes(self, logical: &LogicalType) -> bool {
        match self {
            Self::Day => matches!(logical, LogicalType::Timestamp(_) | LogicalType::Date),
            Self::Hour => matches!(logical, LogicalType::Timestamp(_)),
            Self::Value => matches!(
                logical,
                LogicalType::Utf8
                    | LogicalType::Bool
                    | LogicalType::Int8
                    | LogicalType::Int16
                    | LogicalType::Int32
                    | LogicalType::Int64
                    | LogicalType::Decimal { .. }
                    | LogicalType::Date
                    | LogicalType::Uuid
            ),
        }
    }
}

/// Parquet's compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `none`
    None,
    /// `snappy`
    Snappy,
    /// `lz4`
    Lz4,
    /// `zstd(level)`, level 1 to 22; `zstd(1)` is the default.
    Zstd(i32),
}

/// `kafka = { brokers, topic, key, format, properties_file, properties }` of an output.
#[derive(Clone, Debug)]
pub struct KafkaOutput {
    /// `host:port`, separated by commas.
    pub brokers: Located<String>,
    /// The topic.
    pub topic: Located<String>,
    /// `key`: the column whose text is the record's key.
    pub key: Option<Located<String>>,
    /// `delivery`; by default exactly once.
    pub delivery: Delivery,
    /// librdkafka's own settings.
    pub properties: BTreeMap<String, String>,
}

/// How often a row reaches a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// `exactly_once`: rows are in the transaction that the epoch's commit ends.
    #[default]
    ExactlyOnce,
    /// `at_least_once`: rows of an epoch that failed come again.
    AtLeastOnce,
}

/// `[rejects]`
#[derive(Clone, Debug)]
pub enum Rejects {
    /// `file = { path, keep }`: Parquet files in this folder.
    File {
        /// The folder.
        path: PathBuf,
        /// `keep`: how long after their commit files are kept; by default for good.
        keep: Option<Duration>,
    },
    /// `kafka = { .. }`
    Kafka(KafkaOutput),
}
