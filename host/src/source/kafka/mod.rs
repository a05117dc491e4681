//! A Kafka topic as a source: the group deals its partitions out to hosts, a host divides its own among its workers.
//!
//! The promise: each record that a read_committed reader sees is handed out exactly once in committed work. It holds
//! because
//! - where the host's transactions hold the group's offsets, a partition is read from the group's offset on, whoever
//!   committed it; where the commit records of the hosts say another one, somebody else has moved it, and the host refuses
//!   until it is told what counts (`From`). A source on other brokers is read by one host alone, from the position of
//!   its own record on. Only where nobody knows a position does `start` count. So what counts is what was committed, not
//!   what was fetched;
//! - offsets go up within a partition and librdkafka never hands one out twice (a block drops what lies before its
//!   partition's position all the same);
//! - nobody else reads what the group has dealt out to this host: see `member`;
//! - an offset that is not in the topic any more is never a silent jump (`auto.offset.reset=error`): it is an error, or, if
//!   the pipeline file says so (`lost = "skip"`), a gap that is counted and said;
//! - offsets count only for the topic that they were read of: one that was made again under the same name has another id
//!   (`identity`), and is refused.
//!
//! What becomes of what:
//! - *Brokers away at the start*: waited for as long as `JoinOptions::timeout`, then an error of kind `Unavailable`; a host
//!   that follows may call `join` again. *Brokers away later*: logged once, readers are idle until they answer.
//! - *Aborted transactions and markers* leave gaps between offsets; see `Position::merge`. A run until caught up ends at
//!   the last stable offset of its start.
//! - *New partitions* are dealt out by the group like others, and read from their first record on, whatever `start` says.
//!   They are noticed within `topic.metadata.refresh.interval.ms`, 30 s.
//! - *Records that go while the run is under way*, with `lost = "skip"`: the epoch ends, what was read is committed, and the
//!   run begins again behind the gap.
//! - *A topic that is made again while the run is under way* is looked for every `LOOK_EVERY`.
//! - *`start = "latest"`* is made fast at the first join by committing the offsets it stands for: see `latest`.

pub(crate) mod client;
mod group;
mod identity;
mod latest;
mod member;
mod outside;
mod parts;
mod queue;
mod reader;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::commit::GroupOffsets;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Partition;

use super::Positions;
use client::{Context, Fixed};
pub use group::Members;
use identity::Answer;
pub use member::Member;
use member::Share;
pub(crate) use parts::{PartsReader, part_client};
pub use reader::{KafkaReader, Wanted};
use topic::{Gap, Known, Start, Topic};

/// What counts where the group's offset is not the one of the hosts' commit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The group's offsets: somebody moved them on purpose.
    Group,
    /// The commit records: the lake goes on where it ended.
    Commit,
}

/// Whose the topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nobody's: only look (`infer`, `preview`): no group is joined, nothing is committed, and reading starts where `start`
    /// says.
    Looking,
    /// The group's offsets follow the commits of this host, which alone may read.
    Alone,
    /// The group's offsets are committed with the hosts' transactions, and partitions are dealt out to several hosts.
    Sharing(Option<From>),
}

/// How a run takes part in a topic.
#[derive(Clone)]
pub struct JoinOptions<'a> {
    /// The host's id, stable over restarts: its name in the group.
    pub host: &'a str,
    /// Its places in groups.
    pub members: &'a Members,
    /// Whose the topic is.
    pub reads: Reads,
    /// Read to the end that the topic has now.
    pub until_caught_up: bool,
    /// What is copied of each record besides its value.
    pub wanted: Wanted,
    /// The longest wait for brokers and group.
    pub timeout: Duration,
}

impl JoinOptions<'_> {
    /// Long enough for a group whose last member vanished (its session ends after 10 s).
    pub const TIMEOUT: Duration = Duration::from_secs(30);
}

/// A source that reads a topic.
pub struct KafkaSource {
    name: Arc<str>,
    topic: Arc<str>,
    settings: config::KafkaSource,
    config: ClientConfig,
    timeout: Duration,
    wanted: Wanted,
    until_caught_up: bool,
    /// All of the topic's.
    partitions: Vec<i32>,
    starts: Mutex<Vec<Start>>,
    /// Partitions moved while this run began: it reads none, and what it knows of theirs may be old.
    reads_none: AtomicBool,
    /// In no group: asks for metadata and offsets.
    client: BaseConsumer<Context>,
    reads: Reads,
    /// The place in the group, and what it was given.
    held: Option<(Arc<Member>, Share)>,
    /// Of the topic; none when its brokers give none.
    id: Option<String>,
    looked: Mutex<Instant>,
    behind: Behind,
    gaps: Mutex<Vec<Gap>>,
}

/// How a reader says that the records it would go on with are gone, where a gap is allowed.
#[derive(Clone)]
struct Behind {
    is_lost: Arc<AtomicBool>,
    moved: Sender<()>,
}

impl Behind {
    fn say(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
        // One that waits there already says the same.
        let _ = self.moved.try_send(());
    }
}

/// How often a running host asks whether the topic is still the same.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long such a question may take.
const LOOK: Duration = Duration::from_secs(2);

/// Defaults that a pipeline file may change. Small queues and a short backoff are what makes librdkafka fast.
const DEFAULTS: &[(&str, &str)] = &[
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.message.max.bytes", "1048576"),
    ("reconnect.backoff.max.ms", "2000"),
    ("session.timeout.ms", "10000"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// The most that a reader's client holds of records that were fetched and not yet read.
const QUEUED_KBYTES: usize = 16 << 10;

/// The most records that a reader's client fetches ahead.
const QUEUED_MESSAGES: usize = 100_000;

const FIXED: &[Fixed] = &[
    Fixed { name: "group.id", value: None, reason: "`group` names it" },
    Fixed { name: "group.instance.id", value: None, reason: "it is the host's id" },
    Fixed {
        name: "group.protocol",
        value: Some("classic"),
        reason: "partitions are given away at the end of an epoch",
    },
    Fixed {
        name: "partition.assignment.strategy",
        value: Some("cooperative-sticky"),
        reason: "partitions are given away at the end of an epoch, and no others",
    },
    Fixed { name: "enable.auto.commit", value: Some("false"), reason: "offsets are committed with the epoch" },
    Fixed { name: "auto.commit.enable", value: None, reason: "offsets are committed with the epoch" },
    Fixed { name: "enable.auto.offset.store", value: Some("false"), reason: "offsets are committed with the epoch" },
    Fixed {
        name: "auto.offset.reset",
        value: Some("error"),
        reason: "`start` says where to begin, and a lost offset is an error, not a jump",
    },
    Fixed {
        name: "isolation.level",
        value: Some("read_committed"),
        reason: "records of aborted transactions must not reach the lake",
    },
    Fixed { name: "enable.partition.eof", value: Some("true"), reason: "`--until-caught-up` needs it" },
];

impl KafkaSource {
    /// Joins the group, and takes what it deals out. `start_at` has to follow.
    pub fn join(name: &str, settings: &config::KafkaSource, options: &JoinOptions<'_>) -> Result<Self> {
        let owner = format!("source {name:?}");
        let config = client::configure(&owner, &settings.brokers.value, &settings.properties, DEFAULTS, FIXED)?;
        let client = client::reader(&config, &owner)?;
        let name: Arc<str> = name.into();
        let serve = || drop(client.poll(Duration::from_millis(1)));
        client::reach(client.client(), &settings.brokers.value, options.timeout, serve)?;
        let topic = Topic { source: &name, settings, client: &client, timeout: options.timeout };
        let (partitions, id) = (topic.partitions()?, topic.id()?);
        let mut source = Self {
            topic: settings.topic.value.as_str().into(),
            settings: settings.clone(),
            config,
            timeout: options.timeout,
            wanted: options.wanted,
            until_caught_up: options.until_caught_up,
            partitions: Vec::new(),
            starts: Mutex::default(),
            reads_none: AtomicBool::new(false),
            client,
            reads: options.reads,
            held: None,
            id,
            looked: Mutex::new(Instant::now()),
            behind: Behind { is_lost: Arc::default(), moved: options.members.moved.clone() },
            gaps: Mutex::default(),
            name,
        };
        match options.reads {
            Reads::Looking => {}
            Reads::Alone | Reads::Sharing(_) => source.held = Some(source.hold(options, &owner, &partitions)?),
        }
        source.partitions = partitions;
        Ok(source)
    }

    /// Its name in the pipeline.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its brokers, as the pipeline file has them.
    pub fn brokers(&self) -> &str {
        &self.settings.brokers.value
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.settings.group.value
    }

    /// Finds where the partitions of this run are read from: the readers made from now on start there. `committed`: what
    /// commit records say (of which only this source's positions count), those of all hosts for a shared source, else the
    /// own one.
    pub fn start_at(&self, committed: &Positions) -> Result<()> {
        let committed: BTreeMap<i32, i64> = match self.check_same(committed) {
            Ok(()) => self.offsets(committed).collect(),
            Err(error) if self.reads == Reads::Sharing(Some(From::Group)) => {
                tracing::warn!("{error}: read from the group's offsets on, as `--from group` says");
                BTreeMap::new()
            }
            Err(error) => return Err(error),
        };
        let (partitions, group) = match &self.held {
            Some((member, share)) => {
                let group = topic::known_offsets(&member.committed(&share.partitions, self.timeout)?);
                (share.partitions.iter().copied().collect(), group)
            }
            None => (self.partitions.clone(), BTreeMap::new()),
        };
        let topic = Topic { source: &self.name, settings: &self.settings, client: &self.client, timeout: self.timeout };
        let mut known = Known { committed, group, reads: self.reads, from_end: false };
        let found = match self.settings.start {
            config::Start::Earliest => Some(topic.starts(&partitions, &known, self.until_caught_up)?),
            config::Start::Latest => self.starts_at_latest(&topic, &partitions, &mut known)?,
        };
        let Some((starts, gaps)) = found else {
            self.reads_none.store(true, Ordering::Relaxed);
            return Ok(());
        };
        for Gap { partition, from, to } in &gaps {
            tracing::warn!(
                source = &*self.name,
                topic = &*self.topic,
                partition,
                from,
                to,
                lost = to - from,
                "offsets that were not read are gone from the topic: the run goes on behind the gap (`lost = \"skip\"`)"
            );
        }
        *self.gaps.lock() = gaps;
        *self.starts.lock() = starts;
        Ok(())
    }

    /// Refuses positions of another topic than this one.
    fn check_same(&self, committed: &Positions) -> Result<()> {
        let Some(id) = &self.id else { return Ok(()) };
        let own = committed.iter().filter(|(partition, _)| partition.source == self.name);
        match own.filter_map(|(_, position)| position.topic_id.as_ref()).find(|before| *before != id) {
            Some(before) => Err(self.made_again(before, id)),
            None => Ok(()),
        }
    }

    fn made_again(&self, before: &str, id: &str) -> Error {
        let (topic, brokers) = (&self.topic, &self.settings.brokers.value);
        let what = format!(
            "source {:?}: topic {topic:?} at {brokers} was deleted and made again: its id was {before}, and is {id} now",
            self.name
        );
        let mut help =
            "offsets of the topic before mean nothing in this one. To read it from its start into the same lake, \
                        give the source another name and another group"
                .to_owned();
        if matches!(self.reads, Reads::Sharing(_)) {
            help.push_str(
                "; to read it from the group's offsets on, or where it has none from `start`, `run --from group`",
            );
        }
        Error::new(ErrorKind::Input, what).help(help)
    }

    /// Fails when the topic was made again since the run began. Asks now and then; brokers that do not answer are no reason.
    fn check_topic(&self) -> Result<()> {
        let Some(id) = &self.id else { return Ok(()) };
        let mut looked = self.looked.lock();
        if looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        // Takes what the client has to say, which nobody else does during a run.
        drop(self.client.poll(Duration::ZERO));
        let found = identity::topic_id(&self.client, &self.topic, LOOK);
        *looked = Instant::now();
        match found {
            Answer::Id(now) if now != *id => Err(self.made_again(id, &now)),
            _ => Ok(()),
        }
    }

    /// The topic's id, if its brokers give one.
    pub fn topic_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// By partition, from which offset to which one records were gone before they were read.
    pub fn gaps(&self) -> Vec<(Partition, i64, i64)> {
        let gaps = self.gaps.lock();
        gaps.iter().map(|gap| (self.partition(gap.partition), gap.from, gap.to)).collect()
    }

    /// The partitions that the group dealt out for this run.
    pub fn dealt(&self) -> Vec<Partition> {
        let share = self.held.iter().flat_map(|(_, share)| &share.partitions);
        share.map(|number| self.partition(*number)).collect()
    }

    /// The partitions of this run and where each is read from.
    pub fn starts(&self) -> Vec<(Partition, i64)> {
        let starts = self.starts.lock();
        starts.iter().map(|start| (self.partition(start.partition), start.offset)).collect()
    }

    fn partition(&self, number: i32) -> Partition {
        Partition { source: self.name.clone(), key: number.to_string().into() }
    }

    /// One reader a worker, each with its own client and its share of the partitions. Readers made before must be dropped.
    pub fn readers(&self, workers: usize) -> Result<Vec<KafkaReader>> {
        let workers = workers.max(1);
        let starts = self.starts.lock().clone();
        let mut shares = vec![Vec::new(); workers];
        for (index, start) in starts.into_iter().enumerate() {
            shares[index % workers].push(start);
        }
        shares.iter().map(|share| self.reader(share)).collect()
    }

    fn reader(&self, share: &[Start]) -> Result<KafkaReader> {
        let mut client = None;
        if !share.is_empty() {
            // librdkafka counts these for each partition; together they make the bound of the client.
            let mut config = self.config.clone();
            set_default(&mut config, "queued.max.messages.kbytes", (QUEUED_KBYTES / share.len()).max(1024));
            set_default(&mut config, "queued.min.messages", (QUEUED_MESSAGES / share.len()).max(1000));
            client = Some(client::reader(&config, &format!("source {:?}", self.name))?);
        }
        let behind = (self.settings.lost == config::Lost::Skip).then(|| self.behind.clone());
        KafkaReader::start(&self.name, &self.topic, client, share, self.wanted, self.until_caught_up, behind)
    }

    /// Whether partitions came or are wanted back since this run began, or records are gone that would be read next: it
    /// should end its epoch and begin again.
    pub fn is_moved(&self) -> bool {
        let is_lost = self.behind.is_lost.load(Ordering::Relaxed);
        is_lost || self.held.as_ref().is_some_and(|(member, share)| member.is_moved(share))
    }

    /// Whether partitions of this run were taken without asking.
    pub fn is_lost(&self) -> bool {
        self.held.as_ref().is_some_and(|(member, share)| member.is_lost(share))
    }

    /// Fails when the group refuses this host, or took partitions of this run without asking, or the topic was made again.
    /// To be called every epoch, before its commit.
    pub fn check_membership(&self) -> Result<()> {
        self.check_topic()?;
        self.held.as_ref().map_or(Ok(()), |(member, share)| member.check(share))
    }

    /// Commits the group's offsets, after the epoch's commit and publication. Our own commit record is the truth: when this
    /// fails with kind `Unavailable`, nothing is lost, and the next epoch's call makes up for it.
    pub fn commit_offsets(&self, positions: &Positions) -> Result<()> {
        self.held.as_ref().map_or(Ok(()), |(member, _)| member.commit(self.offsets(positions)))
    }

    /// The group's offsets for a transaction; none when they are in no transaction.
    pub fn group_offsets(&self, positions: &Positions) -> Result<Option<GroupOffsets>> {
        match (&self.held, self.reads) {
            (Some((member, share)), Reads::Sharing(_)) if !self.reads_none.load(Ordering::Relaxed) => {
                let of_share = |(partition, _): &(i32, i64)| share.partitions.contains(partition);
                member.group_offsets(share, self.offsets(positions).filter(of_share))
            }
            _ => Ok(None),
        }
    }

    /// Whether the group's offsets follow the commits, in no transaction.
    pub fn is_alone(&self) -> bool {
        self.reads == Reads::Alone
    }

    /// Where each of its partitions goes on.
    fn offsets(&self, positions: &Positions) -> impl Iterator<Item = (i32, i64)> {
        let own = positions.iter().filter(|(partition, _)| partition.source == self.name);
        own.filter_map(|(partition, position)| Some((partition.key.parse().ok()?, position.ranges.end()?)))
    }
}

/// The run is over: the group may take its partitions back.
impl Drop for KafkaSource {
    fn drop(&mut self) {
        if let Some((member, _)) = &self.held {
            member.release();
        }
    }
}

fn set_default(config: &mut ClientConfig, name: &str, value: usize) {
    if config.get(name).is_none() {
        config.set(name, value.to_string());
    }
}
