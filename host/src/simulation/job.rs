//! What the hosts of the simulation run: JSON records to rows, one stage that refuses, leaves out and multiplies, a lake, a
//! topic and rejects. What becomes of a record depends on its id and on the stage's version alone, so that the end can be
//! checked row by row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use millstream_sdk::LogicalType;

use super::transactions::{INPUT, MemoryTopic, MemoryTransactions};
use crate::commit::PlanStamp;
use crate::config::{
    ColumnFrom, Compression, Decision, Format, Located, OutputKind, ParquetOutput, PartitionBy, PartitionTransform,
    SourceColumn, StageConfig, Swap, Unknown,
};
use crate::contract::{Contract, Filtered, Given, Patch};
use crate::decode::Decoder;
use crate::error::Result;
use crate::output::{Combine, Opening, REJECTS, RejectSink, Sink, reject_settings};
use crate::pipeline::Parts;
use crate::plan::{Flow, Origin, Place, Plan, PlannedOutput, PlannedPlugin, PlannedSource, PlannedStage, Work};
use crate::record::{Batch, Refusal};
use crate::schema::Column;
use crate::service::{Change, Version};
use crate::stage::Stage;

/// The stage.
pub const STAGE: &str = "clean";
/// The output in the lake.
pub const LAKE: &str = "lake";

/// What differs from seed to seed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads of the real thing.
    pub workers: usize,
    /// Whether rows go to a topic too.
    pub has_topic: bool,
    /// How old a file may become.
    pub max_age_ms: u64,
    /// The size at which a file is closed.
    pub target_file_bytes: u64,
    /// What an output may hold in memory.
    pub memory_bytes: u64,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// So many rows.
    Copies(usize),
    /// A reject of the stage.
    Rejected,
    /// Left out.
    Filtered,
}

/// What a version of the stage makes of a record.
pub fn fate(id: i64, version: i64) -> Fate {
    if is_bad(version) && id % 3 != 0 {
        return Fate::Rejected;
    }
    match id % 10 {
        0 => Fate::Rejected,
        1 => Fate::Filtered,
        2 | 3 => Fate::Copies(if version % 2 == 0 { 2 } else { 3 }),
        _ => Fate::Copies(1),
    }
}

/// Whether a version refuses so much that it should not pass its probation.
fn is_bad(version: i64) -> bool {
    version % 3 == 2
}

/// The stage.
fn work(batch: &Batch, version: i64) -> Patch {
    let ids = batch.columns["id"].as_primitive::<Int64Type>();
    let (mut rows, mut rejects, mut filtered) = (Vec::new(), Vec::new(), Vec::new());
    for (row, id) in (0u32..).zip(ids.values()) {
        match fate(*id, version) {
            Fate::Copies(copies) => rows.extend(std::iter::repeat_n(row, copies)),
            Fate::Rejected => rejects.push(Refusal { row, reason: "odd".to_owned(), detail: id.to_string() }),
            Fate::Filtered => filtered.push(row),
        }
    }
    let versions: ArrayRef = Arc::new(Int64Array::from(vec![version; rows.len()]));
    let filtered =
        if filtered.is_empty() { vec![] } else { vec![Filtered { reason: "bot".to_owned(), rows: filtered }] };
    Patch { rows: Some(rows), columns: vec![versions], outputs: vec![], rejects, filtered }
}

/// How commits and rejects name a version.
pub fn digest(version: i64) -> String {
    format!("v{version}")
}

/// The version that a digest names.
pub fn version(digest: &str) -> Option<i64> {
    digest.strip_prefix('v')?.parse().ok()
}

/// The plan's stamp.
pub fn stamp(number: u64, version: i64) -> PlanStamp {
    let digests = BTreeMap::from([(STAGE.to_owned(), digest(version))]);
    PlanStamp { number, fingerprint: digest(version), digests, ..PlanStamp::default() }
}

/// A change of the stage, and how it is watched.
pub fn watched(before: i64, next: i64) -> Vec<(Change, Swap)> {
    let version = |version| Version { digest: digest(version), config: None };
    let change = Change { stage: STAGE.to_owned(), before: version(before), next: version(next) };
    let swap = Swap { decision: Decision::Auto, rejected: 0.3, slower: u32::MAX, probation: Duration::ZERO };
    vec![(change, swap)]
}

fn columns(names: &[&str]) -> Vec<Column> {
    let column = |name: &&str| Column { name: (*name).to_owned(), logical: LogicalType::Int64, nullable: false };
    names.iter().map(column).collect()
}

/// The plan of a version.
pub fn plan(settings: &Settings, number: u64, version: i64) -> Arc<Plan> {
    let input = columns(&["id", "shard"]);
    let passed = input.iter().enumerate().map(|(index, column)| (column.clone(), Origin::Input(index)));
    let made = (columns(&["version"]).remove(0), Origin::Made(0));
    let stage = PlannedStage {
        name: STAGE.into(),
        index: 0,
        from: Place::Source(0),
        input: input.clone(),
        work: Work::Plugin(Box::new(PlannedPlugin {
            digest: digest(version).into(),
            config: StageConfig::from("{}"),
            given: Given::default(),
            contract: Contract { reads: columns(&["id"]), writes: columns(&["version"]), ..Contract::default() },
            reads: vec![0],
            lookups: Vec::new(),
            granted: Vec::new(),
        })),
        output: passed.chain([made]).map(|(column, origin)| Flow { column, origin }).collect(),
    };
    let output = |index: usize, name: &str| PlannedOutput {
        name: name.into(),
        index,
        from: Place::Stage(0),
        take: vec![0, 1, 2],
        columns: columns(&["id", "shard", "version"]),
    };
    let mut outputs = vec![output(0, LAKE)];
    if settings.has_topic {
        outputs.push(output(1, "topic"));
    }
    let sources = vec![PlannedSource { name: INPUT.into(), needed: vec![true, true], columns: input }];
    Arc::new(Plan { number, sources, stages: vec![stage], outputs })
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

/// The folder of an output.
pub fn folder(output: &str) -> PathBuf {
    Path::new("/lake").join(output)
}

fn parquet(settings: &Settings) -> ParquetOutput {
    ParquetOutput {
        path: folder(LAKE),
        partition: vec![PartitionBy { column: located("shard".to_owned()), transform: PartitionTransform::Value }],
        target_file_bytes: settings.target_file_bytes,
        max_age: Duration::from_millis(settings.max_age_ms),
        compression: Compression::None,
    }
}

/// How the workers' files become tokens.
pub fn combines(settings: &Settings, opening: &Opening) -> BTreeMap<String, Combine> {
    let outputs = [(LAKE, parquet(settings)), (REJECTS, rejects())];
    outputs.into_iter().map(|(name, output)| (name.to_owned(), Combine::new(name, &output, opening))).collect()
}

fn rejects() -> ParquetOutput {
    // Making a compressor takes longer than everything else that a seed does.
    ParquetOutput { compression: Compression::None, ..reject_settings(folder(REJECTS)) }
}

/// By output the folder of its files.
pub fn lakes() -> BTreeMap<String, PathBuf> {
    [LAKE, REJECTS].into_iter().map(|output| (output.to_owned(), folder(output))).collect()
}

/// What one worker runs.
pub fn parts(
    settings: &Settings,
    plan: &Plan,
    stamp: &PlanStamp,
    opening: &Opening,
    topic: Option<&Arc<MemoryTransactions>>,
) -> Result<Parts> {
    let columns = plan.sources[0].columns.iter().map(|column| SourceColumn {
        from: ColumnFrom::Field(vec![column.name.clone()]),
        name: located(column.name.clone()),
        logical: column.logical.clone(),
        nullable: column.nullable,
    });
    let columns: Vec<SourceColumn> = columns.collect();
    let mut outputs = vec![Sink::open(&plan.outputs[0], &OutputKind::Parquet(parquet(settings)), opening)?];
    if let Some(transactions) = topic {
        let writer = Box::new(MemoryTopic::new(transactions, opening.worker % 2));
        outputs.push(Sink::Topic(writer));
    }
    let version = stamp.digests.get(STAGE).and_then(|digest| version(digest)).unwrap_or(0);
    Ok(Parts {
        decoders: vec![Decoder::new(&columns, Format::Json, &Unknown::Ignore, &[true, true])?],
        stages: vec![Stage::native(&plan.stages[0], (work, version))],
        outputs,
        rejects: RejectSink::to_files("simulation", rejects(), stamp.digests.clone(), opening)?,
        taps: vec![None],
    })
}
