//! What has to be true whenever all hosts are at rest, row by row: this is what the simulation is for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::job::{self, Fate, LAKE, fate};
use super::kafka::{Cluster, Message};
use super::transactions::{COMMITS, GROUP, INPUT, OUTPUT};
use crate::disk::{Disk, MemoryDisk};
use crate::output::REJECTS;
use crate::pipeline::Counts;

/// What is looked at.
pub struct Looked<'a> {
    /// The cluster.
    pub cluster: &'a mut Cluster,
    /// The disk.
    pub disk: &'a MemoryDisk,
    /// By partition the offset to which everything is committed.
    pub positions: BTreeMap<usize, i64>,
    /// All hosts' rows.
    pub totals: Counts,
    /// Whether rows go to the topic too.
    pub has_topic: bool,
    /// Versions of which nothing may be seen.
    pub failed: BTreeSet<i64>,
}

/// Files that were read, by name: a file in a lake never changes.
#[derive(Default)]
pub struct Files(BTreeMap<PathBuf, Vec<RecordBatch>>);

/// A reject's version of the stage; none for one of the decoder.
type RefusedBy = Option<i64>;

/// What became of the rows.
#[derive(Default)]
struct Found {
    /// By id the versions that made its rows.
    lake: BTreeMap<i64, Vec<i64>>,
    topic: BTreeMap<i64, Vec<i64>>,
    /// By partition and offset.
    rejects: BTreeMap<(usize, i64), Vec<RefusedBy>>,
}

/// Every record below the positions is in the lake and in the topic as one version made it, or once among the rejects, or
/// left out; nothing else is there; and the counts say the same.
pub fn check(looked: &mut Looked<'_>, files: &mut Files) -> Result<(), String> {
    let mut found = Found::read(looked, files);
    let (mut records, mut filtered) = (0, 0);
    for (partition, messages) in looked.cluster.read_all(INPUT).into_iter().enumerate() {
        let to = looked.positions.get(&partition).copied().unwrap_or(0);
        for message in messages.iter().take_while(|message| message.offset < to) {
            records += 1;
            let place = format!("partition {partition}, offset {}", message.offset);
            let became = found.take(looked, partition, message).map_err(|wrong| format!("{place}: {wrong}"))?;
            filtered += u64::from(became == Fate::Filtered);
        }
    }
    found.is_used_up()?;
    let totals = &looked.totals;
    if !totals.is_conserved() || totals.total_read() != records || totals.total_filtered() != filtered {
        return Err(format!(
            "{records} records were read and {filtered} left out, but counted is: {}",
            totals.equation()
        ));
    }
    if looked.has_topic {
        check_positions(looked)?;
        check_epochs(looked.cluster)?;
    }
    Ok(())
}

/// The group's offsets are the positions.
fn check_positions(looked: &mut Looked<'_>) -> Result<(), String> {
    let offsets = looked.cluster.group(GROUP).offsets();
    let of_group: BTreeMap<usize, i64> = offsets.iter().map(|((_, partition), offset)| (*partition, *offset)).collect();
    if of_group != looked.positions {
        return Err(format!("the group is at {of_group:?}, the records at {:?}", looked.positions));
    }
    Ok(())
}

/// Each host's epochs count from 1, without a gap and without one twice; compaction may have taken the first ones.
fn check_epochs(cluster: &Cluster) -> Result<(), String> {
    let mut epochs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for Message { key, value, .. } in cluster.read_all(COMMITS).into_iter().flatten() {
        // The first part of a record begins with a line that says the epoch.
        if let Some(host) = key.strip_suffix("/0") {
            let head = value.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let head: serde_json::Value = serde_json::from_slice(head).map_err(|error| error.to_string())?;
            epochs.entry(host.to_owned()).or_default().extend(head["epoch"].as_u64());
        }
    }
    let is_compacted = cluster.is_compacted(COMMITS);
    let are_in_order = |epochs: &[u64]| {
        let first = epochs.first().copied().filter(|_| is_compacted).unwrap_or(1);
        epochs.iter().copied().eq(first..first + epochs.len() as u64)
    };
    match epochs.into_iter().find(|(_, epochs)| !are_in_order(epochs)) {
        Some((host, epochs)) => Err(format!("host {host} has the epochs {epochs:?}")),
        None => Ok(()),
    }
}

/// Nothing is left in a host's staging, nor in that of others that worked in its place.
pub fn check_staging(disk: &MemoryDisk, host: &str) -> Result<(), String> {
    let host = crate::commit::Host { id: host.to_owned(), incarnation: 0 };
    let mut left = Vec::new();
    for staging in [LAKE, REJECTS].map(|output| job::folder(output).join(".staging")) {
        let files = disk.files_below(&staging).unwrap_or_default();
        left.extend(files.into_iter().filter(|file| {
            let folder = file.strip_prefix(&staging).ok().and_then(|file| file.iter().next());
            folder.and_then(|folder| folder.to_str()).is_some_and(|folder| host.stages_in(folder))
        }));
    }
    if left.is_empty() { Ok(()) } else { Err(format!("left in staging: {left:?}")) }
}

impl Found {
    fn read(looked: &Looked<'_>, files: &mut Files) -> Self {
        let mut found = Self::default();
        for batch in files.batches(looked.disk, &job::folder(LAKE)) {
            let (ids, versions) = (integers(batch, "id"), integers(batch, "version"));
            for (id, version) in ids.into_iter().zip(versions) {
                found.lake.entry(id).or_default().push(version);
            }
        }
        for Message { value, .. } in looked.cluster.read_all(OUTPUT).into_iter().flatten() {
            let text = String::from_utf8(value).expect("text");
            let (id, version) = text.split_once(',').expect("id and version");
            found.topic.entry(id.parse().expect("an id")).or_default().push(version.parse().expect("a version"));
        }
        for batch in files.batches(looked.disk, &job::folder(REJECTS)) {
            let (partitions, offsets, digests) =
                (texts(batch, "partition"), integers(batch, "offset"), texts(batch, "digest"));
            for ((partition, offset), digest) in partitions.into_iter().zip(offsets).zip(digests) {
                let partition = partition.and_then(|partition| partition.parse().ok()).expect("a partition");
                let by = digest.map(|digest| job::version(&digest).expect("a version"));
                found.rejects.entry((partition, offset)).or_default().push(by);
            }
        }
        found
    }

    /// What became of a record; everything of it is taken out.
    fn take(&mut self, looked: &Looked<'_>, partition: usize, message: &Message) -> Result<Fate, String> {
        let rejects = self.rejects.remove(&(partition, message.offset)).unwrap_or_default();
        let record: Option<serde_json::Value> = serde_json::from_slice(&message.value).ok();
        let Some(id) = record.and_then(|record| record["id"].as_i64()) else {
            return if rejects == [None] { Ok(Fate::Rejected) } else { Err(format!("no JSON, rejects {rejects:?}")) };
        };
        let (lake, topic) = (self.lake.remove(&id).unwrap_or_default(), self.topic.remove(&id).unwrap_or_default());
        let wrong = || format!("id {id}: lake {lake:?}, topic {topic:?}, rejects {rejects:?}");
        if looked.has_topic && lake != topic {
            return Err(wrong());
        }
        let version = rejects.first().copied().flatten().or(lake.first().copied());
        if version.is_some_and(|version| looked.failed.contains(&version)) {
            return Err(format!("{}: its version failed its probation", wrong()));
        }
        // What was left out leaves no trace: no version that runs for long lets such an id through.
        let becomes = fate(id, version.unwrap_or(0));
        let is_right = match becomes {
            Fate::Copies(copies) => {
                rejects.is_empty() && lake.len() == copies && lake.iter().all(|other| Some(*other) == version)
            }
            Fate::Rejected => lake.is_empty() && rejects.len() == 1 && version.is_some(),
            Fate::Filtered => lake.is_empty() && rejects.is_empty(),
        };
        if is_right { Ok(becomes) } else { Err(wrong()) }
    }

    /// Nothing is there that no record accounts for.
    fn is_used_up(&self) -> Result<(), String> {
        if self.lake.is_empty() && self.topic.is_empty() && self.rejects.is_empty() {
            return Ok(());
        }
        Err(format!("of no committed record: lake {:?}, topic {:?}, rejects {:?}", self.lake, self.topic, self.rejects))
    }
}

impl Files {
    /// The rows of all files in a folder.
    fn batches(&mut self, disk: &MemoryDisk, folder: &Path) -> impl Iterator<Item = &RecordBatch> {
        let files = disk.files_below(folder).unwrap_or_default();
        let files: Vec<PathBuf> =
            files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect();
        for path in &files {
            if !self.0.contains_key(path) {
                self.0.insert(path.clone(), read(disk, path));
            }
        }
        let known = &self.0;
        files.into_iter().filter_map(|path| known.get(&path)).flatten()
    }
}

fn read(disk: &MemoryDisk, path: &Path) -> Vec<RecordBatch> {
    let bytes = bytes::Bytes::from(disk.read(path).expect("a file that is there"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
    let reader = reader.unwrap_or_else(|error| panic!("{} is not whole: {error}", path.display()));
    reader.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{} is not whole: {error}", path.display()))
}

fn integers(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch[column].as_primitive::<Int64Type>().values().to_vec()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let texts = cast(&batch[column], &DataType::Utf8).expect("text");
    let texts = texts.as_string::<i32>();
    (0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row).to_owned())).collect()
}
