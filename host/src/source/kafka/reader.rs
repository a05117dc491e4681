//! One worker's reader: its own client, and a queue for each of its partitions. A block comes from one partition; the
//! partitions take turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use crate::config::BatchSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Headers, Partition, Payload, Records};
use crate::source::block::ByteColumn;
use crate::source::{Read, Reader};

use super::Behind;
use super::client::Context;
use super::queue::{Message, PartitionQueue, Waker};
use super::topic::Start;

/// How often a waiting reader looks at its client's log lines and errors.
const SERVE_EVERY: Duration = Duration::from_millis(250);

/// What is copied of each record besides its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Keys, for `@key` columns.
    pub keys: bool,
    /// Headers, for `@headers.NAME` columns.
    pub headers: bool,
}

struct Part {
    queue: PartitionQueue,
    partition: Partition,
    number: i32,
    /// Everything before it was handed out or does not exist.
    position: i64,
    /// Where the run ends; none when it follows.
    end: Option<i64>,
    last_rows: usize,
    last_bytes: usize,
}

impl Part {
    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

/// One worker's share of a topic's partitions.
pub struct KafkaReader {
    topic: Arc<str>,
    wanted: Wanted,
    parts: Vec<Part>,
    turn: usize,
    ends: bool,
    /// Who is told of records that are gone; none where that is an error.
    behind: Option<Behind>,
    waker: Arc<Waker>,
    /// None when the worker has no partition.
    client: Option<Arc<BaseConsumer<Context>>>,
}

impl KafkaReader {
    /// Starts to fetch the partitions of `starts` through `client`. `ends`: whether there is an end to the run.
    pub(super) fn start(
        source: &Arc<str>,
        topic: &Arc<str>,
        client: Option<BaseConsumer<Context>>,
        starts: &[Start],
        wanted: Wanted,
        ends: bool,
        behind: Option<Behind>,
    ) -> Result<Self> {
        let waker = Arc::<Waker>::default();
        let client = client.map(Arc::new);
        let mut parts = Vec::with_capacity(starts.len());
        for start in starts {
            let Some(client) = &client else { break };
            let queue = PartitionQueue::start(client.clone(), topic, start.partition, start.offset, waker.clone())
                .map_err(|code| {
                    let what = format!("source {source:?}: partition {} of topic {topic:?}", start.partition);
                    Error::new(ErrorKind::Unavailable, format!("{what} cannot be read: {code}"))
                })?;
            parts.push(Part {
                queue,
                partition: Partition { source: source.clone(), key: start.partition.to_string().into() },
                number: start.partition,
                position: start.offset,
                end: start.end,
                last_rows: 0,
                last_bytes: 0,
            });
        }
        Ok(Self { topic: topic.clone(), wanted, parts, turn: 0, ends, behind, waker, client })
    }

    /// Log lines and errors of the client. Messages never come this way.
    fn serve(&self) {
        if let Some(client) = &self.client {
            client.poll(Duration::ZERO);
        }
    }

    fn next_block(&mut self, bounds: &BatchSettings) -> Result<Option<Records>> {
        for _ in 0..self.parts.len() {
            let turn = self.turn;
            self.turn = (turn + 1) % self.parts.len();
            let part = &mut self.parts[turn];
            if part.is_done() {
                continue;
            }
            if let Some(records) = fill(part, bounds, self.wanted, &self.topic, self.behind.as_ref())? {
                if let Some(client) = &self.client {
                    client.context().log.answered();
                }
                return Ok(Some(records));
            }
        }
        Ok(None)
    }
}

impl Reader for KafkaReader {
    fn read(&mut self, bounds: &BatchSettings, wait: Duration) -> Result<Read> {
        let deadline = Instant::now() + wait;
        loop {
            self.serve();
            if let Some(records) = self.next_block(bounds)? {
                return Ok(Read::Records(records));
            }
            if self.ends && self.parts.iter().all(Part::is_done) {
                return Ok(Read::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Read::Idle);
            }
            self.waker.wait(left.min(SERVE_EVERY));
        }
    }
}

/// A block while it is filled.
struct Block {
    values: ByteColumn,
    offsets: Vec<i64>,
    timestamps_ms: Vec<i64>,
    keys: Option<ByteColumn>,
    headers: Vec<Headers>,
    wanted: Wanted,
}

impl Block {
    fn new(rows: usize, bytes: usize, wanted: Wanted) -> Self {
        Self {
            values: ByteColumn::with_capacity(rows, bytes),
            offsets: Vec::with_capacity(rows),
            timestamps_ms: Vec::with_capacity(rows),
            keys: wanted.keys.then(|| ByteColumn::with_capacity(rows, 0)),
            headers: Vec::new(),
            wanted,
        }
    }

    #[inline]
    fn push(&mut self, message: Message<'_>) -> Result<()> {
        self.values.push(message.value())?;
        self.offsets.push(message.offset());
        self.timestamps_ms.push(message.timestamp_ms());
        if let Some(keys) = &mut self.keys {
            keys.push(message.key())?;
        }
        if self.wanted.headers {
            self.headers.push(message.headers());
        }
        Ok(())
    }
}

/// The next block of a partition from what has arrived; none when nothing has.
fn fill(
    part: &mut Part,
    bounds: &BatchSettings,
    wanted: Wanted,
    topic: &str,
    behind: Option<&Behind>,
) -> Result<Option<Records>> {
    let rows = bounds.rows.max(1);
    if part.queue.peek().is_none() && !part.queue.refill(rows) {
        return Ok(None);
    }
    let mut block = Block::new(part.last_rows, part.last_bytes, wanted);
    while block.values.len() < rows && !part.is_done() {
        let Some(message) = part.queue.peek() else {
            if part.queue.refill(rows - block.values.len()) {
                continue;
            }
            break;
        };
        if let Some(code) = message.error() {
            if block.values.len() > 0 {
                break;
            }
            let text = message.value().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
            take_event(part, code, &text, topic, behind)?;
            continue;
        }
        let offset = message.offset();
        if part.end.is_some_and(|end| offset >= end) {
            // What is between the last record before the end and this one (transaction markers) was passed.
            part.position = part.end.unwrap_or(offset);
            break;
        }
        if offset < part.position {
            part.queue.pop();
            continue;
        }
        let bytes = message.value().map_or(0, <[u8]>::len);
        if block.values.len() > 0 && block.values.bytes() + bytes > bounds.bytes {
            break;
        }
        block.push(message)?;
        part.queue.pop();
        part.position = offset + 1;
    }
    if block.values.len() == 0 {
        return Ok(None);
    }
    (part.last_rows, part.last_bytes) = (block.values.len(), block.values.bytes());
    Ok(Some(records(part, block)))
}

fn records(part: &Part, block: Block) -> Records {
    let next_offset = block.offsets.last().map_or(part.position, |last| last + 1);
    Records {
        partition: part.partition.clone(),
        partition_number: part.number,
        payload: Payload::Bytes(block.values.finish()),
        csv_header: None,
        offsets: block.offsets,
        next_offset,
        timestamps_ms: block.timestamps_ms,
        keys: block.keys.map(ByteColumn::finish),
        headers: block.headers,
    }
}

/// An event at the head of the partition's queue: its end, or an error.
fn take_event(part: &mut Part, code: RDKafkaErrorCode, text: &str, topic: &str, behind: Option<&Behind>) -> Result<()> {
    let (source, number, position) = (&part.partition.source, part.number, part.position);
    match code {
        RDKafkaErrorCode::PartitionEOF => {
            let offset = part.queue.peek().map_or(position, |message| message.offset());
            part.position = part.position.max(offset);
            part.queue.pop();
            Ok(())
        }
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => match behind {
            // The partition stands still from here on: the run begins again behind the gap.
            Some(behind) => {
                behind.say();
                part.queue.pop();
                Ok(())
            }
            None => Err(super::topic::out_of_range(source, topic, number, position, text)),
        },
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => Err(Error::new(
            ErrorKind::Input,
            format!("source {source:?}: partition {number} of topic {topic:?} is not there any more ({text})"),
        )
        .help("was the topic deleted? A topic made again is another topic: use a new group for it")),
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            Err(Error::new(ErrorKind::Config, format!("source {source:?}: no right to read topic {topic:?} ({text})"))
                .help("grant READ on the topic to the user of `properties_file`"))
        }
        _ => {
            // librdkafka goes on by itself.
            tracing::warn!(%source, topic, partition = number, %code, "{text}");
            part.queue.pop();
            Ok(())
        }
    }
}
