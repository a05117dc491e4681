//! A Kafka topic as a source: one host a group, the partitions divided among the workers.
//!
//! The promise: each record that a read_committed reader sees is handed out exactly once in committed work. It holds
//! because
//! - a partition is read from the position of our own commit record on; only where there is none from the group's offset,
//!   and only where the group has none from `start`. So what counts is what was committed, not what was fetched;
//! - offsets go up within a partition and librdkafka never hands one out twice (a block drops what lies before its
//!   partition's position all the same);
//! - nobody else reads for the group: see `member`;
//! - an offset that is not in the topic any more is an error, never a silent jump (`auto.offset.reset=error`).
//!
//! What becomes of what:
//! - *Brokers away at the start*: waited for as long as `JoinOptions::timeout`, then an error of kind `Unavailable`; a host
//!   that follows may call `join` again. *Brokers away later*: logged once, readers are idle until they answer.
//! - *Aborted transactions and markers* leave gaps between offsets; see `Position::merge`. A run until caught up ends at
//!   the last stable offset of its start.
//! - *New partitions* make `check_membership` fail with kind `Unavailable`: join again, and they are read from their first
//!   record on, whatever `start` says. librdkafka looks for them every five minutes.
//! - *`start = "latest"`* is made fast at the first join by committing the offsets it stands for.

pub(crate) mod client;
mod member;
mod queue;
mod reader;
mod topic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::commit::GroupOffsets;
use crate::config;
use crate::error::Result;

use super::Positions;
use client::{Context, Fixed};
use member::Member;
pub use reader::{KafkaReader, Wanted};
use topic::{Start, Topic};

/// How a run takes part in a topic.
#[derive(Clone, Debug)]
pub struct JoinOptions<'a> {
    /// The host's id, stable over restarts: its name in the group. None: only look (`infer`, `preview`): no group is joined,
    /// nothing is committed, and reading starts where `start` says.
    pub host: Option<&'a str>,
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
    partitions: Vec<i32>,
    starts: Mutex<Vec<Start>>,
    /// In no group: asks for metadata and offsets.
    client: BaseConsumer<Context>,
    member: Option<Member>,
}

/// Defaults that a pipeline file may change. Small queues and a short backoff are what makes librdkafka fast.
const DEFAULTS: &[(&str, &str)] = &[
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.message.max.bytes", "1048576"),
    ("reconnect.backoff.max.ms", "2000"),
    ("session.timeout.ms", "10000"),
];

/// The most that a reader's client holds of records that were fetched and not yet read.
const QUEUED_KBYTES: usize = 16 << 10;

/// The most records that a reader's client fetches ahead.
const QUEUED_MESSAGES: usize = 100_000;

const FIXED: &[Fixed] = &[
    Fixed { name: "group.id", value: None, reason: "`group` names it" },
    Fixed { name: "group.instance.id", value: None, reason: "it is the host's id" },
    Fixed { name: "group.protocol", value: Some("classic"), reason: "a second member is noticed by its rebalances" },
    Fixed {
        name: "partition.assignment.strategy",
        value: Some("range"),
        reason: "a second member is noticed by the partitions that it is given",
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
    /// Joins the group, checks that it is ours alone and finds where to read from. `committed` is our own commit record (of
    /// which only this source's positions count).
    pub fn join(
        name: &str,
        settings: &config::KafkaSource,
        committed: &Positions,
        options: &JoinOptions<'_>,
    ) -> Result<Self> {
        let owner = format!("source {name:?}");
        let config = client::configure(&owner, &settings.brokers.value, &settings.properties, DEFAULTS, FIXED)?;
        let client = client::reader(&config, &owner)?;
        let name: Arc<str> = name.into();
        let topic = Topic { source: &name, settings, client: &client, timeout: options.timeout };
        let partitions = topic.partitions()?;
        let mut source = Self {
            topic: settings.topic.value.as_str().into(),
            settings: settings.clone(),
            config,
            timeout: options.timeout,
            wanted: options.wanted,
            until_caught_up: options.until_caught_up,
            partitions,
            starts: Mutex::default(),
            client,
            member: None,
            name,
        };
        if let Some(host) = options.host {
            source.member = Some(source.join_group(host, &owner)?);
        }
        source.rewind(committed)?;
        source.fix_latest()?;
        Ok(source)
    }

    fn join_group(&self, host: &str, owner: &str) -> Result<Member> {
        let mut config = self.config.clone();
        config.set("group.id", &self.settings.group.value);
        let own = format!("{host}-");
        let others = self.group_members().iter().any(|member| !member.starts_with(&own));
        let instance = (!others).then_some(host);
        let mut member = Member::new(&config, owner, &self.topic, &self.partitions, instance)?;
        member.join(self.timeout)?;
        // A topic with one partition is dealt out whole, whoever gets it: so the members are counted as well.
        if self.group_members().len() > 1 {
            return Err(member.second_member());
        }
        Ok(member)
    }

    /// The ids of the group's members; none when they cannot be asked for.
    fn group_members(&self) -> Vec<String> {
        let group = &self.settings.group.value;
        match self.client.fetch_group_list(Some(group), Duration::from_secs(5)) {
            Ok(list) => {
                let members = list.groups().iter().flat_map(|group| group.members());
                members.map(|member| member.id().to_owned()).collect()
            }
            Err(error) => {
                tracing::debug!(source = %self.name, group, %error, "the group's members cannot be listed");
                Vec::new()
            }
        }
    }

    /// Takes the source back to a commit: the readers made from now on start there.
    pub fn rewind(&self, committed: &Positions) -> Result<()> {
        let committed: BTreeMap<i32, i64> = self.offsets(committed).collect();
        let group = match &self.member {
            Some(member) => topic::known_offsets(&member.committed(self.timeout)?),
            None => BTreeMap::new(),
        };
        let topic = Topic { source: &self.name, settings: &self.settings, client: &self.client, timeout: self.timeout };
        let starts = topic.starts(&self.partitions, &committed, &group, self.until_caught_up)?;
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner) = starts;
        Ok(())
    }

    /// Makes `latest` mean the end at the first start, also for a run that stops before it read anything.
    fn fix_latest(&self) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
        if self.settings.start != config::Start::Latest {
            return Ok(());
        }
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        member.commit(starts.iter().filter(|start| start.is_new).map(|start| (start.partition, start.offset)))
    }

    /// The number of the topic's partitions: more workers than that have nothing to read.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// One reader a worker, each with its own client and its share of the partitions. Readers made before must be dropped.
    pub fn readers(&self, workers: usize) -> Result<Vec<KafkaReader>> {
        let workers = workers.max(1);
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
        KafkaReader::start(&self.name, &self.topic, client, share, self.wanted, self.until_caught_up)
    }

    /// Fails when the group is not ours alone any more, or the topic has new partitions. To be called every epoch, before
    /// its commit.
    pub fn check_membership(&self) -> Result<()> {
        match &self.member {
            Some(member) => member.check(|| Some(self.group_members().len()).filter(|members| *members > 0)),
            None => Ok(()),
        }
    }

    /// Commits the group's offsets, after the epoch's commit and publication. Our own commit record is the truth: when this
    /// fails with kind `Unavailable`, nothing is lost, and the next epoch's call makes up for it.
    pub fn commit_offsets(&self, positions: &Positions) -> Result<()> {
        self.member.as_ref().map_or(Ok(()), |member| member.commit(self.offsets(positions)))
    }

    /// The group's offsets for a transaction on these brokers; none when the topic is on others.
    pub fn group_offsets(&self, brokers: &str, positions: &Positions) -> Result<Option<GroupOffsets>> {
        let member = self.member.as_ref().filter(|_| self.is_at(brokers));
        member.map_or(Ok(None), |member| member.group_offsets(self.offsets(positions)))
    }

    /// Whether the topic is on these brokers.
    pub fn is_at(&self, brokers: &str) -> bool {
        self.settings.brokers.value == brokers
    }

    /// Where each of its partitions goes on.
    fn offsets(&self, positions: &Positions) -> impl Iterator<Item = (i32, i64)> {
        let own = positions.iter().filter(|(partition, _)| partition.source == self.name);
        own.filter_map(|(partition, position)| Some((partition.key.parse().ok()?, position.ranges.end()?)))
    }
}

fn set_default(config: &mut ClientConfig, name: &str, value: usize) {
    if config.get(name).is_none() {
        config.set(name, value.to_string());
    }
}
