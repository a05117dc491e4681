//! The promise of this module, tried in memory: the machine stops at each single operation of the disk, forgets what
//! was not synced (a seed says how much), and starts again. At the end every record is in the lake exactly once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, BinaryArray};
use arrow::datatypes::Int64Type;
use millstream_sdk::LogicalType;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{CommitRecord, Epochs, Host, PlanStamp, Settings, Step, Transaction};
use crate::clock::{Clock, ManualClock};
use crate::config::{
    BatchSettings, ColumnFrom, Compression, Format, Located, OutputKind, ParquetOutput, PartitionBy,
    PartitionTransform, SourceColumn, Unknown,
};
use crate::decode::Decoder;
use crate::disk::{Disk, MemoryDisk, PoisonDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Combine, Opening, REJECTS, RejectSink, Sink, Staged, Token, reject_settings, settle};
use crate::pipeline::{Counts, Ending, Parts, Share, Worker};
use crate::plan::{Place, Plan, PlannedOutput, PlannedSource};
use crate::record::{Partition, Payload, Records};
use crate::schema::Column;
use crate::source::{Positions, Read, Reader};

const WORKERS: usize = 2;
const RECORDS: i64 = 240;
const BLOCK_RECORDS: i64 = 10;
/// Blocks that each worker reads in an epoch.
const EPOCH_BLOCKS: i64 = 4;
/// Every so many records one is no JSON.
const BAD_EVERY: i64 = 17;

fn lake() -> PathBuf {
    PathBuf::from("/lake/rows")
}

/// A partition in memory, read from a position on.
struct MemoryReader {
    partition: usize,
    next: i64,
}

impl Reader for MemoryReader {
    fn read(&mut self, _bounds: &BatchSettings, _wait: Duration) -> Result<Read> {
        let (first, end) = (self.next, (self.next + BLOCK_RECORDS).min(RECORDS));
        if first >= end {
            return Ok(Read::End);
        }
        self.next = end;
        let values = (first..end).map(|offset| record(self.partition, offset));
        Ok(Read::Records(Records {
            partition: partition(self.partition),
            partition_number: 0,
            payload: Payload::Bytes(BinaryArray::from_iter_values(values)),
            csv_header: None,
            offsets: (first..end).collect(),
            next_offset: end,
            timestamps_ms: Vec::new(),
            keys: None,
            headers: Vec::new(),
        }))
    }
}

fn partition(number: usize) -> Partition {
    Partition { source: "rows".into(), key: number.to_string().into() }
}

fn record(partition: usize, offset: i64) -> String {
    let id = partition as i64 * RECORDS + offset;
    if offset % BAD_EVERY == 0 { format!("{{\"id\": {id}") } else { format!("{{\"id\": {id}, \"shard\": {}}}", id % 3) }
}

/// Ids that have to be in the lake, ascending.
fn wanted() -> Vec<i64> {
    let of = |partition: usize| {
        (0..RECORDS).filter(|offset| offset % BAD_EVERY != 0).map(move |offset| partition as i64 * RECORDS + offset)
    };
    (0..WORKERS).flat_map(of).collect()
}

fn columns() -> Vec<Column> {
    ["id", "shard"].map(|name| Column { name: name.to_owned(), logical: LogicalType::Int64, nullable: false }).into()
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        number: 1,
        sources: vec![PlannedSource { name: "rows".into(), needed: vec![true, true], columns: columns() }],
        stages: Vec::new(),
        outputs: vec![PlannedOutput {
            name: "rows".into(),
            index: 0,
            from: Place::Source(0),
            take: vec![0, 1],
            columns: columns(),
        }],
    })
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

fn parquet(path: PathBuf) -> ParquetOutput {
    ParquetOutput {
        path,
        partition: vec![PartitionBy { column: located("shard".to_owned()), transform: PartitionTransform::Value }],
        target_file_bytes: 1 << 20,
        max_age: Duration::from_millis(2_500),
        compression: Compression::None,
    }
}

fn worker(number: usize, opening: &Opening, clock: &Arc<dyn Clock>) -> Result<Worker> {
    let columns: Vec<SourceColumn> = columns()
        .into_iter()
        .map(|column| SourceColumn {
            from: ColumnFrom::Field(vec![column.name.clone()]),
            name: located(column.name),
            logical: column.logical,
            nullable: column.nullable,
        })
        .collect();
    let opening = Opening { worker: number, ..opening.clone() };
    let plan = plan();
    let parts = Parts {
        decoders: vec![Decoder::new(&columns, Format::Json, &Unknown::Ignore, &[true, true])?],
        stages: Vec::new(),
        outputs: vec![Sink::open(&plan.outputs[0], &OutputKind::Parquet(parquet(lake())), &opening)?],
        rejects: RejectSink::to_files("crash", reject_settings("/lake/rejects".into()), BTreeMap::new(), &opening)?,
        taps: Vec::new(),
    };
    Ok(Worker::new(plan, vec![None], parts, Arc::default(), Arc::clone(clock)))
}

fn merge(
    shares: Vec<Share>,
    combines: &BTreeMap<String, Combine>,
) -> Result<(Positions, BTreeMap<String, Token>, Counts)> {
    let (mut read, mut counts) = (Positions::new(), Counts::default());
    let mut parts: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for share in shares {
        read.extend(share.positions);
        counts.merge(&share.counts);
        for (output, staged) in share.outputs {
            if let Staged::Parquet(part) = staged {
                parts.entry(output).or_default().push(*part);
            }
        }
    }
    let mut tokens = BTreeMap::new();
    for (output, parts) in parts {
        let combine = &combines[&output];
        tokens.insert(output.clone(), combine.combine(parts)?);
    }
    Ok((read, tokens, counts))
}

fn combines(opening: &Opening) -> BTreeMap<String, Combine> {
    let settings = [("rows", parquet(lake())), (REJECTS, reject_settings(PathBuf::from("/lake/rejects")))];
    settings.into_iter().map(|(name, settings)| (name.to_owned(), Combine::new(name, &settings, opening))).collect()
}

/// Stands for Kafka: what transactions made true, whatever becomes of the machine.
#[derive(Default)]
struct MemoryTopic {
    committed: Mutex<Vec<CommitRecord>>,
    asked: AtomicU64,
    /// This request for a commit gets no answer; and whether it is made.
    silent: Option<(u64, bool)>,
}

impl MemoryTopic {
    /// Each epoch is there once, and together they have all rows.
    fn check(&self, counts: &Counts, what: &str) {
        let committed = self.committed.lock();
        let epochs: Vec<u64> = committed.iter().map(|record| record.epoch).collect();
        assert_eq!(epochs, (1..=epochs.len() as u64).collect::<Vec<_>>(), "{what}: each epoch once");
        let rows: u64 = committed.iter().map(|record| record.counts.total_out()).sum();
        assert_eq!(rows, counts.total_out(), "{what}: rows in the topic");
    }
}

/// One life's side of it.
struct MemoryTransaction {
    topic: Arc<MemoryTopic>,
    last: Option<CommitRecord>,
}

impl Transaction for MemoryTransaction {
    fn last(&self) -> Option<&CommitRecord> {
        self.last.as_ref()
    }

    fn commit(&self, record: &CommitRecord) -> Result<()> {
        let asked = self.topic.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let silent = self.topic.silent.filter(|(request, _)| *request == asked);
        if silent.is_none_or(|(_, is_made)| is_made) {
            self.topic.committed.lock().push(record.clone());
        }
        match silent {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Unavailable, "no answer")),
        }
    }
}

/// One life of the host: recovers and runs to the end of the input, or until the disk fails.
pub(super) fn live(disk: &Arc<MemoryDisk>, incarnation: u64) -> Result<Counts> {
    live_with(disk, incarnation, None)
}

/// The same, with rows that go to a topic.
fn live_with(disk: &Arc<MemoryDisk>, incarnation: u64, topic: Option<&Arc<MemoryTopic>>) -> Result<Counts> {
    let clock: Arc<ManualClock> = Arc::new(ManualClock::new(1_000_000));
    let host = Host { id: "0badcafe".to_owned(), incarnation };
    let shared: Arc<dyn Disk> = Arc::new(PoisonDisk::new(disk.clone()));
    let stamp = PlanStamp { number: 1, fingerprint: "one".to_owned(), ..PlanStamp::default() };
    let settings = Settings {
        disk: Arc::clone(&shared),
        clock: clock.clone(),
        folder: PathBuf::from("/data"),
        host: host.clone(),
        lakes: BTreeMap::from([("rows".to_owned(), lake()), (REJECTS.to_owned(), PathBuf::from("/lake/rejects"))]),
        transaction: topic.map(|topic| {
            let last = topic.committed.lock().last().cloned();
            Arc::new(MemoryTransaction { topic: Arc::clone(topic), last }) as Arc<dyn Transaction>
        }),
        is_host: true,
        reached: Box::new(|_: Step, _| {}),
    };
    let (mut epochs, recovered) = Epochs::open(settings)?;
    let opening = |epoch| Opening {
        host: host.clone(),
        worker: 0,
        epoch,
        memory_bytes: 1 << 20,
        footer: Vec::new(),
        disk: Arc::clone(&shared),
        transactions: None,
    };
    if recovered.outputs.values().any(Token::is_waiting) {
        let mut tokens = BTreeMap::new();
        for (output, token) in recovered.outputs.iter().filter(|(_, token)| token.is_waiting()) {
            tokens.insert(output.clone(), settle(token, &opening(epochs.next_epoch()))?);
        }
        epochs.commit(&stamp, &Positions::new(), tokens, Counts::default())?;
    }
    let positions = epochs.last().map(|last| last.positions.clone()).unwrap_or_default();
    let first = opening(epochs.next_epoch());
    let combines = combines(&first);
    let time: Arc<dyn Clock> = clock.clone();
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let next = positions.get(&partition(number)).and_then(|position| position.ranges.end()).unwrap_or(0);
        workers.push((worker(number, &first, &time)?, MemoryReader { partition: number, next }));
    }
    let bounds = BatchSettings { rows: 10, bytes: 1 << 20 };
    loop {
        let mut at_end = 0;
        for (worker, reader) in &mut workers {
            for _ in 0..EPOCH_BLOCKS {
                match reader.read(&bounds, Duration::ZERO)? {
                    Read::Records(records) => worker.process(0, records)?,
                    _ => {
                        at_end += 1;
                        break;
                    }
                }
            }
        }
        clock.advance_ms(1_000);
        let ending = match epochs.last() {
            _ if at_end == WORKERS => Ending::All,
            Some(last) => Ending::due(&combines, &last.outputs, clock.now_ms()),
            None => Ending::default(),
        };
        let shares = workers.iter_mut().map(|(worker, _)| worker.prepare(&ending)).collect::<Result<Vec<_>>>()?;
        let (read, tokens, counts) = merge(shares, &combines)?;
        epochs.commit(&stamp, &read, tokens, counts)?;
        if at_end == WORKERS {
            return Ok(epochs.totals());
        }
    }
}

/// The ids in all published files, ascending.
fn lake_ids(disk: &MemoryDisk) -> Vec<i64> {
    let mut ids = Vec::new();
    for path in disk.files_below(&lake()).unwrap() {
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let bytes = bytes::Bytes::from(disk.read(&path).unwrap());
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            ids.extend(batch.unwrap()["id"].as_primitive::<Int64Type>().values().iter().copied());
        }
    }
    ids.sort_unstable();
    ids
}

pub(super) fn check(disk: &MemoryDisk, counts: &Counts, what: &str) {
    assert_eq!(lake_ids(disk), wanted(), "{what}: the lake");
    assert_eq!(counts.total_read(), (WORKERS as i64 * RECORDS) as u64, "{what}: read");
    assert!(counts.is_conserved(), "{what}: {}", counts.equation());
    assert!(counts.total_rejected() > 0, "{what}: there are bad records");
    let left: Vec<PathBuf> = disk
        .files_below(Path::new("/lake"))
        .unwrap()
        .into_iter()
        .filter(|path| path.starts_with("/lake/rows/.staging"))
        .collect();
    assert!(left.is_empty(), "{what}: left in staging: {left:?}");
}

#[test]
fn a_run_without_a_crash_puts_every_record_into_the_lake_once() {
    let disk = Arc::new(MemoryDisk::new());
    let counts = live(&disk, 1).unwrap();
    check(&disk, &counts, "no crash");
    assert!(disk.operations() > 100, "the run is long enough to be stopped in many places");
}

#[test]
fn a_crash_at_any_operation_loses_and_doubles_nothing() {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    for operation in 1..=whole.operations() {
        let disk = Arc::new(MemoryDisk::new());
        disk.crash_at(operation);
        let what = format!("crash at operation {operation}");
        let died = live(&disk, 1);
        assert!(died.is_err() || !disk.has_crashed(), "{what}: a life goes on behind a crash");
        disk.crash(operation);
        let counts = live(&disk, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
    }
}

#[test]
fn with_a_topic_a_crash_at_any_operation_loses_and_doubles_nothing() {
    let whole = Arc::new(MemoryDisk::new());
    live_with(&whole, 1, Some(&Arc::default())).unwrap();
    for operation in 1..=whole.operations() {
        let (disk, topic) = (Arc::new(MemoryDisk::new()), Arc::<MemoryTopic>::default());
        disk.crash_at(operation);
        let what = format!("crash at operation {operation}");
        let died = live_with(&disk, 1, Some(&topic));
        assert!(died.is_err() || !disk.has_crashed(), "{what}: a life goes on behind a crash");
        disk.crash(operation);
        let counts = live_with(&disk, 2, Some(&topic)).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
        topic.check(&counts, &what);
    }
}

#[test]
fn a_commit_without_an_answer_is_found_out_by_the_next_life() {
    let whole = Arc::<MemoryTopic>::default();
    live_with(&Arc::new(MemoryDisk::new()), 1, Some(&whole)).unwrap();
    let requests = whole.asked.load(Ordering::Relaxed);
    assert!(requests > 3, "several epochs");
    for (request, is_made) in (1..=requests).flat_map(|request| [(request, false), (request, true)]) {
        let topic = Arc::new(MemoryTopic { silent: Some((request, is_made)), ..MemoryTopic::default() });
        let disk = Arc::new(MemoryDisk::new());
        let what = format!("request {request}, made: {is_made}");
        assert!(live_with(&disk, 1, Some(&topic)).is_err(), "{what}: the life ends");
        let counts = live_with(&disk, 1, Some(&topic)).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
        topic.check(&counts, &what);
    }
}

#[test]
fn crashes_on_the_way_back_lose_and_double_nothing() {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    for seed in 0..300_u64 {
        let disk = Arc::new(MemoryDisk::new());
        let what = format!("seed {seed}");
        let mut life = 1;
        for crash in 0..3 {
            // A fixed walk over the operations: later lives are shorter, and may well end before the crash.
            let at = (seed * 7_919 + crash * 104_729) % whole.operations() / (crash + 1) + 1;
            let before = disk.operations();
            disk.crash_at(before + at);
            let died = live(&disk, life);
            assert!(died.is_err() || !disk.has_crashed(), "{what}: a life goes on behind a crash");
            disk.crash(seed ^ crash);
            life += 1;
        }
        let counts = live(&disk, life).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
    }
}

#[test]
fn a_failed_operation_ends_the_run_and_the_next_one_goes_on() {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    for operation in (1..=whole.operations()).step_by(3) {
        let disk = Arc::new(MemoryDisk::new());
        disk.fail_at(operation);
        let what = format!("failure of operation {operation}");
        assert!(live(&disk, 1).is_err(), "{what}: it is noticed");
        let counts = live(&disk, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
    }
}

#[test]
fn a_record_that_was_written_and_not_synced_is_not_lost_behind_its_files() {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    for operation in 1..=whole.operations() {
        let disk = Arc::new(MemoryDisk::new());
        // The process ends, and nothing is lost yet; the power goes a little later, in the life behind it.
        disk.fail_at(operation);
        let what = format!("failure of operation {operation}, then a loss of power");
        assert!(live(&disk, 1).is_err(), "{what}: it is noticed");
        disk.crash_at(disk.operations() + 1 + operation * 7_919 % 50);
        assert!(live(&disk, 2).is_err() || !disk.has_crashed(), "{what}: a life goes on behind a crash");
        disk.crash(operation);
        let counts = live(&disk, 3).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
    }
}
