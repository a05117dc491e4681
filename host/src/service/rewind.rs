//! `millstream rewind`: a host that stands still takes out of the lake what it read from a point on, so that a later run
//! reads it again. The promise and the commit: see [`crate::commit::Rewind`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::assembly::{Assembly, lakes};
use super::run::{Failure, assemble, settings_of};
use crate::commit::{
    CommitRecord, Copied, DataFolder, Epochs, GroupOffsets, LakeFile, Point, Recovered, RemovedFile, Rewind, Step,
    Transactions, positions_of, settle_all,
};
use crate::config::{Pipeline, Rejects, SourceKind};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::read_rejects;
use crate::output::{Explained, RecordRange, Token};
use crate::pipeline::Counts;
use crate::record::{Partition, REJECTS_SOURCE};
use crate::replay::{file_of, partition_file};
use crate::source::kafka::{JoinOptions, KafkaSource, Members, Reads, Wanted};
use crate::source::{Position, Positions};

/// What is wanted.
pub struct RewindSettings {
    /// By source and partition the first offset that is read again.
    pub to: Vec<(String, String, i64)>,
    /// All partitions of topics from the first record of this time on, in ms since 1970-01-01 UTC.
    pub to_time_ms: Option<i64>,
    /// Do it, and do not only say what would be done.
    pub yes: bool,
    /// Rows that go to topics may come there again.
    pub topics_again: bool,
    /// Kill the process with SIGKILL behind a step of an epoch (tests only).
    pub kill_at: Option<(Step, u64)>,
}

/// What was done, or would be.
pub struct Rewound {
    /// The points and the files.
    pub rewind: Rewind,
    /// The epoch whose commit says it.
    pub epoch: u64,
    /// Whether it was done.
    pub done: bool,
}

/// Goes back; without `yes` only finds what that comes to. Either begins as each start does: what a crash left is brought to
/// an end.
pub fn rewind(pipeline: Pipeline, settings: &RewindSettings) -> Result<Rewound, Failure> {
    may_come_again(&pipeline, settings)?;
    let pipeline = Arc::new(pipeline);
    let folder = DataFolder::open(&pipeline.data, Copied::Refused)?;
    let assembly = assemble(pipeline, &folder, Vec::new())?;
    let transactions = assembly.open_transactions()?;
    let (mut epochs, recovered) = Epochs::open(settings_of(&assembly, settings.kill_at, transactions.clone()))?;
    let done = go_back(&assembly, settings, transactions.as_ref(), &mut epochs, &recovered);
    assembly.close_transactions();
    Ok(done?)
}

fn go_back(
    assembly: &Assembly,
    settings: &RewindSettings,
    transactions: Option<&Arc<Transactions>>,
    epochs: &mut Epochs,
    recovered: &Recovered,
) -> Result<Rewound> {
    let Some(stamp) = recovered.plan.clone() else {
        let what = format!("nothing was read yet: {} has no commit", assembly.pipeline.data.display());
        return Err(Error::new(ErrorKind::Config, what).help("is `data` set as for the host (`--set data=..`)?"));
    };
    let tokens = settle_all(recovered, &assembly.opening(&stamp, 0, epochs.next_epoch()))?;
    if !tokens.is_empty() {
        epochs.commit(&stamp, &Positions::new(), tokens, Counts::default())?;
    }
    let topics = Topics::of(assembly)?;
    let Some(own) = epochs.last() else {
        return Err(Error::new(ErrorKind::Internal, "there is a plan and no commit"));
    };
    let others = topics.others(own, transactions)?;
    nobody_waits(&others)?;
    let known = known_positions(own, &others);
    let files = files(&assembly.pipeline, assembly)?;
    let mut wanted = wanted(assembly, settings, &known, &files)?;
    if let Some(time_ms) = settings.to_time_ms {
        add_time(&mut wanted, time_ms, &known, &topics.all)?;
    }
    let rewind = Rewind::of(wanted, files);
    can_be_read_again(&rewind.point, &known, &topics.all)?;
    replayed_here(&rewind, epochs)?;
    let read_again = rejects_read_again(&assembly.pipeline, &rewind.point, transactions, settings.yes)?;
    let epoch = epochs.next_epoch();
    if !settings.yes {
        return Ok(Rewound { rewind, epoch, done: false });
    }
    epochs.rewind(&rewind.point, &known);
    if let Some(transactions) = transactions {
        let point = rewind.point.clone();
        transactions.set_groups(move |positions| {
            let moved = positions.iter().filter(|(partition, _)| point.contains_key(*partition));
            let moved: Positions = moved.map(|(partition, position)| (partition.clone(), position.clone())).collect();
            topics.group_offsets(&moved)
        });
    }
    let removed = rewind.files.iter().map(|(output, files)| {
        let token = Token { removed: files.clone(), ..Token::default() };
        (output.clone(), token)
    });
    epochs.commit(&stamp, &read_again, removed.collect(), Counts::default())?;
    Ok(Rewound { rewind, epoch, done: true })
}

/// The rejects in a topic whose records are read again. They stay there, and count as replayed from now on: their records come
/// by themselves. `is_done`: it is about to be done, so the topic is claimed; else only looked at.
fn rejects_read_again(
    pipeline: &Pipeline,
    point: &Point,
    transactions: Option<&Arc<Transactions>>,
    is_done: bool,
) -> Result<Positions> {
    let mut read_again = Positions::new();
    let Rejects::Kafka(settings) = &pipeline.rejects else { return Ok(read_again) };
    let topic = &settings.topic.value;
    read_rejects(settings, |reject| {
        let text = |name: &str| reject.columns.get(name).and_then(Value::as_str).unwrap_or_default();
        let of = Partition { source: text("source").into(), key: text("partition").into() };
        let offset = reject.columns.get("offset").and_then(Value::as_i64);
        let first = point.get(&of).filter(|_| text("pipeline") == pipeline.name);
        if first.zip(offset).is_some_and(|(first, offset)| offset >= *first) {
            let partition =
                Partition { source: REJECTS_SOURCE.into(), key: partition_file(topic, reject.partition).into() };
            read_again.entry(partition).or_default().ranges.add(reject.offset, reject.offset + 1);
        }
        Ok(())
    })?;
    let other = transactions.filter(|_| !read_again.is_empty()).map(|transactions| match is_done {
        true => transactions.claim(topic),
        false => transactions.claimed_elsewhere(topic),
    });
    match other.transpose()?.flatten() {
        Some(host) => {
            let what = format!(
                "the rejects of topic {topic:?} are host {host}'s to replay, and some are of records that would be read again"
            );
            Err(Error::new(ErrorKind::Config, what).help(
                "rewind with the data folder of that host (`--set data=..`), which notes it; nothing was changed",
            ))
        }
        None => Ok(read_again),
    }
}

/// What reached a topic cannot be taken back.
pub(super) fn may_come_again(pipeline: &Pipeline, settings: &RewindSettings) -> Result<()> {
    let mut topics = pipeline.topics().filter(|_| !settings.topics_again);
    topics.next().map_or(Ok(()), |(output, topic)| {
        let what = format!(
            "output \"{output}\" goes to topic {:?}, and what reached a topic cannot be taken back",
            topic.topic.value
        );
        Err(Error::new(ErrorKind::Config, what).help(
            "with --topics-again the rows that are read again come there a second time; readers of the topic have to know",
        ))
    })
}

/// The sources that are topics; no group is joined.
pub(super) struct Topics {
    /// All of them.
    pub all: Vec<KafkaSource>,
    /// Where the transactions are that have groups' offsets in them.
    transacted_at: Option<String>,
}

impl Topics {
    /// Fails when somebody reads one whose group's offsets are in the transactions.
    pub fn of(assembly: &Assembly) -> Result<Self> {
        let (mut all, members) = (Vec::new(), Members::default());
        for source in &assembly.pipeline.sources {
            let SourceKind::Kafka(settings) = &source.kind else { continue };
            let options = JoinOptions {
                host: &assembly.host.id,
                members: &members,
                reads: Reads::Looking,
                until_caught_up: true,
                wanted: Wanted::default(),
                timeout: JoinOptions::TIMEOUT,
            };
            all.push(KafkaSource::join(&source.name.value, settings, &options)?);
        }
        let transacted_at = assembly.cluster().filter(|_| assembly.is_shared()).map(|cluster| cluster.brokers);
        let topics = Self { all, transacted_at };
        for topic in topics.shared() {
            let hosts = topic.group_hosts()?;
            if let Some(host) = hosts.iter().find(|host| **host != assembly.host.id) {
                let what = format!("source {:?}: host {host} is in group {:?}", topic.name(), topic.group());
                return Err(Error::new(ErrorKind::Config, what).help(
                    "stop all hosts of the group first: `millstream drain` does; a killed one is gone after its session",
                ));
            }
        }
        Ok(topics)
    }

    /// Those whose groups' offsets are in the transactions.
    pub fn shared(&self) -> impl Iterator<Item = &KafkaSource> {
        self.all.iter().filter(|topic| self.transacted_at.as_deref() == Some(topic.brokers()))
    }

    /// The groups' offsets that stand for positions.
    pub fn group_offsets(&self, positions: &Positions) -> Result<Vec<GroupOffsets>> {
        self.shared().map(|topic| topic.offsets_outside(positions)).filter_map(Result::transpose).collect()
    }

    /// The last records of the other hosts that share the work.
    pub fn others(&self, own: &CommitRecord, transactions: Option<&Arc<Transactions>>) -> Result<Vec<CommitRecord>> {
        let Some(transactions) = transactions.filter(|_| self.shared().next().is_some()) else { return Ok(Vec::new()) };
        let mut records = transactions.read_records_of(&own.sharing.groups)?;
        records.retain(|record| record.host != own.host);
        Ok(records)
    }
}

fn nobody_waits(others: &[CommitRecord]) -> Result<()> {
    match others.iter().find(|record| record.outputs.values().any(Token::is_waiting)) {
        None => Ok(()),
        Some(waits) => {
            let what = format!("host {} was killed, and rows of its last commit wait for their files", waits.host);
            Err(Error::new(ErrorKind::Config, what)
                .help("start a host of the group and stop it again: it brings to an end what the other one left"))
        }
    }
}

/// Where a host, and all others that share the work with it, read to.
pub(super) fn known_positions(own: &CommitRecord, others: &[CommitRecord]) -> Positions {
    let mut known = own.positions.clone();
    known.extend(positions_of(others.iter().chain([own])));
    known
}

/// All files of a pipeline's outputs, with what they were made of.
pub(super) fn files(pipeline: &Pipeline, assembly: &Assembly) -> Result<Vec<LakeFile>> {
    let mut files = Vec::new();
    for (output, lake) in lakes(pipeline) {
        let unlisted =
            |error| Error::new(ErrorKind::Storage, format!("{} cannot be listed", lake.display())).caused_by(error);
        for path in assembly.disk.files_below(&lake).map_err(unlisted)? {
            if path.extension().is_some_and(|extension| extension == "parquet")
                && let Some(file) = lake_file(&pipeline.name, &output, &path)?
            {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// A file of this pipeline; none when another one made it.
fn lake_file(pipeline: &str, output: &str, path: &Path) -> Result<Option<LakeFile>> {
    let explained = Explained::read(path)?;
    if explained.pipeline.as_deref() != Some(pipeline) {
        return Ok(None);
    }
    let read = explained.read.ok_or_else(|| {
        Error::new(ErrorKind::Input, format!("{} does not say in its footer what it was made of", path.display()))
            .help("an older release wrote it: move it away, then what is read again replaces it")
    })?;
    let rows = u64::try_from(explained.rows).unwrap_or(0);
    let file = RemovedFile { path: path.to_path_buf(), rows, bytes: explained.size_bytes };
    Ok(Some(LakeFile { output: output.to_owned(), file, read }))
}

/// Adds all partitions of topics from a time on, as far as they were read.
pub(super) fn add_time(point: &mut Point, time_ms: i64, known: &Positions, topics: &[KafkaSource]) -> Result<()> {
    for (partition, position) in known.iter().filter(|(partition, _)| !partition.is_of_rejects()) {
        let topic = topics.iter().find(|topic| topic.name() == &*partition.source);
        let (Some(topic), Ok(number)) = (topic, partition.key.parse()) else {
            let what = format!("source \"{}\" is no topic, so --to-time finds no place in it", partition.source);
            return Err(Error::new(ErrorKind::Config, what)
                .help(format!("name an offset: --to-offset {}/{}=0", partition.source, partition.key)));
        };
        let offset = topic.offset_at(number, time_ms)?;
        let read = |offset: &i64| position.ranges.end().is_some_and(|end| *offset < end);
        if let Some(offset) = offset.filter(read) {
            let wanted = point.entry(partition.clone()).or_insert(offset);
            *wanted = (*wanted).min(offset);
        }
    }
    Ok(())
}

/// What is taken out of the lake has to be there still where it came from.
pub(super) fn can_be_read_again(point: &Point, known: &Positions, topics: &[KafkaSource]) -> Result<()> {
    for (partition, offset) in point.iter().filter(|(partition, _)| !partition.is_of_rejects()) {
        let Partition { source, key } = partition;
        let lost = |what: String| {
            Err(Error::new(ErrorKind::Input, format!("source \"{source}\": {what}, so it cannot be read again"))
                .help("name a later offset; nothing was changed"))
        };
        if known.get(partition).is_some_and(|position| position.file.is_some()) {
            if !Path::new(&**key).is_file() {
                return lost(format!("file {key} is gone"));
            }
        } else if let Some(topic) = topics.iter().find(|topic| topic.name() == &**source)
            && let Ok(number) = key.parse()
        {
            let first = topic.first_offset(number)?;
            if *offset < first {
                return lost(format!("partition {key} begins at offset {first} by now, behind {offset}"));
            }
        }
    }
    Ok(())
}

/// Rejects that stay count as replayed where it was noted: in the data folder of the host that did it.
fn replayed_here(rewind: &Rewind, epochs: &Epochs) -> Result<()> {
    let own = |file: &str| {
        let noted = epochs.last().into_iter().flat_map(|last| last.positions.keys());
        noted.filter(|partition| partition.is_of_rejects()).any(|partition| file_of(&partition.key) == file)
    };
    match rewind.not_replayed().into_iter().find(|file| !own(file)) {
        None => Ok(()),
        Some(file) => {
            let what =
                format!("rows from there on were replayed from {file} by another host, whose data folder notes it");
            Err(Error::new(ErrorKind::Config, what).help(
                "name an offset before the records of these rejects (`rejects list` has them), or rewind with the data \
                 folder of that host (`--set data=..`); nothing was changed",
            ))
        }
    }
}

/// The wanted points, each at the beginning of a record.
pub(super) fn wanted(
    assembly: &Assembly,
    settings: &RewindSettings,
    known: &Positions,
    files: &[LakeFile],
) -> Result<Point> {
    let mut point = Point::new();
    for (source, partition, offset) in &settings.to {
        let key = key_of(assembly, source, partition, known)?;
        let position = &known[&key];
        let end = position.ranges.end().unwrap_or(0);
        if *offset < 0 || *offset > end {
            let what = format!("{source}/{partition}={offset}: it was read up to offset {end}");
            return Err(Error::new(ErrorKind::Config, what).help(format!("name an offset from 0 to {end}")));
        }
        let ranges = || files.iter().flat_map(|file| &file.read);
        let offset = match &position.file {
            Some(_) => beginning(*offset, &key, position, ranges()),
            None => *offset,
        };
        point.insert(key, offset);
    }
    Ok(point)
}

/// In a file a record begins only where some other one ended: the last such place that is known, at or before an offset.
fn beginning<'a>(
    offset: i64,
    key: &Partition,
    position: &Position,
    ranges: impl Iterator<Item = &'a RecordRange>,
) -> i64 {
    let of_file = ranges.filter(|range| range.source == *key.source && range.partition == *key.key);
    let ends = of_file.flat_map(|range| [range.first, range.end]);
    let read = position.ranges.as_slice().iter().flat_map(|(first, end)| [*first, *end]);
    ends.chain(read).filter(|place| *place <= offset).max().unwrap_or(0)
}

/// A partition that was read; a file's may be named from the pipeline file's folder.
fn key_of(assembly: &Assembly, source: &str, partition: &str, known: &Positions) -> Result<Partition> {
    let folder = assembly.pipeline.path.parent().unwrap_or(Path::new(""));
    let below = folder.join(partition).to_string_lossy().into_owned();
    let of_source = || known.keys().filter(|known| *known.source == *source);
    if let Some(key) = of_source().find(|known| *known.key == *partition || *known.key == *below) {
        return Ok(key.clone());
    }
    let mut names: Vec<&str> = of_source().map(|known| &*known.key).collect();
    let what = if names.is_empty() {
        names = known.keys().map(|known| &*known.source).collect();
        names.dedup();
        format!("nothing was read of a source \"{source}\"")
    } else {
        format!("nothing was read of {partition:?} of source \"{source}\"")
    };
    Err(Error::new(ErrorKind::Config, what).help(format!("there are {}", names.join(", "))))
}

/// By output how many files go, and their rows.
pub fn removed(rewind: &Rewind) -> BTreeMap<&str, (usize, u64)> {
    let of = |files: &Vec<RemovedFile>| (files.len(), files.iter().map(|file| file.rows).sum());
    rewind.files.iter().map(|(output, files)| (output.as_str(), of(files))).collect()
}
