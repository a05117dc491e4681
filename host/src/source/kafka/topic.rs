//! What a topic is when a run starts: its partitions, where each is read from, and where it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::config;
use crate::error::{Error, ErrorKind, Result};

use super::client::{Context, away};
use super::identity::{self, Answer};
use super::{From, Reads};

/// How long one request may take; then it is made again until the whole time is over.
const REQUEST: Duration = Duration::from_secs(5);

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub partition: i32,
    /// The first offset to read.
    pub offset: i64,
    /// The end as a read_committed reader saw it at the start, when the run ends there.
    pub end: Option<i64>,
    /// Whether nobody had a position, so that `start` of the pipeline file decided.
    pub is_new: bool,
}

/// Records that were not read and are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub partition: i32,
    /// The first offset that is gone.
    pub from: i64,
    /// The first one that is there.
    pub to: i64,
}

/// What is known of where partitions are read from.
pub(super) struct Known {
    /// By the commit records.
    pub committed: BTreeMap<i32, i64>,
    /// By the group.
    pub group: BTreeMap<i32, i64>,
    /// Which of them counts.
    pub reads: Reads,
    /// Whether what nobody knows of begins at its end: see `latest`.
    pub from_end: bool,
}

impl Known {
    /// Where to go on.
    fn position(&self, partition: i32) -> Option<i64> {
        let (group, committed) = (self.group.get(&partition), self.committed.get(&partition));
        match self.reads {
            Reads::Sharing(None | Some(From::Group)) => group.or(committed).copied(),
            Reads::Sharing(Some(From::Commit)) | Reads::Alone | Reads::Looking => committed.or(group).copied(),
        }
    }
}

/// The topic of a source, asked through a client that is in no group.
pub(super) struct Topic<'a> {
    pub source: &'a Arc<str>,
    pub settings: &'a config::KafkaSource,
    pub client: &'a BaseConsumer<Context>,
    pub timeout: Duration,
}

impl Topic<'_> {
    fn name(&self) -> &str {
        &self.settings.topic.value
    }

    /// The topic's partitions. Waits for brokers that are away.
    pub fn partitions(&self) -> Result<Vec<i32>> {
        let found = self.retry(|client| match client.fetch_metadata(Some(self.name()), REQUEST) {
            Ok(metadata) => match metadata.topics().first().map(|topic| (topic.error(), topic)) {
                Some((None, topic)) => Some(Ok(partition_numbers(topic))),
                Some((Some(error), _)) => self.topic_error(error).map(Err),
                None => None,
            },
            Err(_) => None,
        })?;
        let partitions = found?;
        if partitions.is_empty() {
            return Err(self.unknown());
        }
        Ok(partitions)
    }

    /// None: it may pass.
    fn topic_error(&self, error: RDKafkaRespErr) -> Option<Error> {
        match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::InvalidTopic => Some(self.unknown()),
            RDKafkaErrorCode::TopicAuthorizationFailed => Some(
                Error::new(
                    ErrorKind::Config,
                    format!("source {:?}: no right to read topic {:?}", self.source, self.name()),
                )
                .help("grant READ and DESCRIBE on the topic to the user of `properties_file`"),
            ),
            _ => None,
        }
    }

    fn unknown(&self) -> Error {
        let mut topics: Vec<String> = match self.client.fetch_metadata(None, REQUEST) {
            Ok(metadata) => metadata.topics().iter().map(|topic| topic.name().to_owned()).collect(),
            Err(_) => Vec::new(),
        };
        topics.retain(|topic| !topic.starts_with("__"));
        topics.sort();
        let meant = config::nearest(self.name(), topics.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("did you mean {meant:?}? ")).unwrap_or_default();
        let there = match topics.len() {
            0 => "there is no topic that may be seen: create it first".to_owned(),
            1..=20 => format!("there are: {}", topics.join(", ")),
            more => format!("there are {more} others, among them {}", topics[..20].join(", ")),
        };
        let brokers = &self.settings.brokers.value;
        Error::new(
            ErrorKind::Config,
            format!("source {:?}: there is no topic {:?} at {brokers}", self.source, self.name()),
        )
        .help(format!("{meant}{there}"))
    }

    /// The topic's id; none where brokers know of no ids.
    pub fn id(&self) -> Result<Option<String>> {
        self.retry(|client| match identity::topic_id(client, self.name(), REQUEST) {
            Answer::Id(id) => Some(Some(id)),
            Answer::NoIds => Some(None),
            Answer::Silence => None,
        })
    }

    /// The first offset that is still there and the end that a read_committed reader sees.
    pub fn bounds(&self, partition: i32) -> Result<(i64, i64)> {
        self.retry(|client| client.fetch_watermarks(self.name(), partition, REQUEST).ok())
    }

    /// Where each partition starts.
    pub fn starts(&self, partitions: &[i32], known: &Known, until_caught_up: bool) -> Result<(Vec<Start>, Vec<Gap>)> {
        self.check_moved(partitions, known)?;
        let mut starts = Vec::with_capacity(partitions.len());
        let mut gaps = Vec::new();
        for &partition in partitions {
            let (first, end) = self.bounds(partition)?;
            let position = known.position(partition);
            let offset = match position {
                Some(offset) if offset < first && self.settings.lost == config::Lost::Skip => {
                    gaps.push(Gap { partition, from: offset, to: first });
                    first
                }
                Some(offset) if offset < first => {
                    let text = format!("the topic starts at {first} now");
                    return Err(out_of_range(self.source, self.name(), partition, offset, &text));
                }
                Some(offset) if known.committed.get(&partition) == Some(&offset) && offset > end => {
                    return Err(shorter(self.source, self.name(), partition, offset, end));
                }
                Some(offset) => offset,
                None if known.from_end => end,
                None => first,
            };
            let end = until_caught_up.then_some(end);
            starts.push(Start { partition, offset, end, is_new: position.is_none() });
        }
        Ok((starts, gaps))
    }

    /// Refuses when somebody else moved the group's offsets, and nobody said what counts.
    fn check_moved(&self, partitions: &[i32], known: &Known) -> Result<()> {
        let moved = partitions.iter().filter_map(|partition| {
            let (group, committed) = (known.group.get(partition)?, known.committed.get(partition)?);
            (group != committed).then(|| format!("partition {partition}: the group {group}, the commits {committed}"))
        });
        let moved: Vec<String> = moved.collect();
        if moved.is_empty() || known.reads != Reads::Sharing(None) {
            return Ok(());
        }
        let (source, topic, group) = (self.source, self.name(), &self.settings.group.value);
        let what = format!(
            "source {source:?}: the offsets of group {group:?} for topic {topic:?} are not those that were committed with \
             the rows: {}",
            moved.join("; ")
        );
        Err(Error::new(ErrorKind::Config, what).help(
            "somebody moved them. `run --from group` reads from the group's offsets on (rows may be missing or come twice), \
             `run --from commit` goes on where the lake ended",
        ))
    }

    /// Repeats a request until it is answered or the time is over.
    fn retry<T>(&self, mut request: impl FnMut(&BaseConsumer<Context>) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(answer) = request(self.client) {
                self.client.context().log.answered();
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                let owner = self.client.context().log.owner();
                return Err(away(owner, &self.settings.brokers.value, self.timeout, &self.client.context().log));
            }
            // Errors and log lines come this way, and it is the pause between two requests.
            self.client.poll(Duration::from_millis(100));
        }
    }
}

fn partition_numbers(topic: &MetadataTopic) -> Vec<i32> {
    let mut numbers: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    numbers.sort_unstable();
    numbers
}

/// The group's committed offsets.
pub(super) fn known_offsets(list: &rdkafka::TopicPartitionList) -> BTreeMap<i32, i64> {
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    };
    list.elements().iter().filter_map(offset).collect()
}

/// The topic ends before the offset to go on from.
fn shorter(source: &str, topic: &str, partition: i32, offset: i64, end: i64) -> Error {
    Error::new(
        ErrorKind::Input,
        format!("source {source:?}: partition {partition} of topic {topic:?} was read up to offset {offset}, but the topic ends at {end}"),
    )
    .help(
        "the brokers lost records (an unclean leader election, a restored copy), or the topic was made again: what comes next \
         has offsets that were read before. To read it from its start, give the source another name and another group",
    )
}

/// The offset to go on from is not in the topic.
pub(super) fn out_of_range(source: &str, topic: &str, partition: i32, offset: i64, text: &str) -> Error {
    Error::new(
        ErrorKind::Input,
        format!("source {source:?}: partition {partition} of topic {topic:?} has no offset {offset} any more ({text})"),
    )
    .help(
        "the topic's retention took records that were not read: to go on at the first one that is there, with the gap \
         counted, set `lost = \"skip\"` of the source; to lose none the next time, raise the topic's retention.ms",
    )
}
