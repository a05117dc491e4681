//! Reads parts of a topic, each from one offset to another, for those who are no source: the commit topic, and rejects.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;

use crate::config::BatchSettings;
use crate::error::Result;
use crate::record::Records;
use crate::source::{Read, Reader};

use super::client::{self, Context};
use super::reader::{KafkaReader, Wanted};
use super::topic::Start;

/// What is read in one go.
const AT_ONCE: BatchSettings = BatchSettings { rows: 1024, bytes: 4 << 20 };

/// The longest wait for a record at a time.
const CALL: Duration = Duration::from_secs(1);

/// A client for `PartsReader`; `isolation` is librdkafka's `isolation.level`.
pub(crate) fn part_client(mut config: ClientConfig, owner: &str, isolation: &str) -> Result<BaseConsumer<Context>> {
    config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("auto.offset.reset", "error");
    client::reader(&config, owner)
}

/// Parts of a topic that are read once.
pub(crate) struct PartsReader(KafkaReader);

impl PartsReader {
    /// Reads partitions, keys too, each from its first offset to its end.
    pub fn start(owner: &str, topic: &str, client: BaseConsumer<Context>, parts: &[(i32, i64, i64)]) -> Result<Self> {
        let start =
            |&(partition, offset, end): &(i32, i64, i64)| Start { partition, offset, end: Some(end), is_new: false };
        let starts: Vec<Start> = parts.iter().map(start).collect();
        let wanted = Wanted { keys: true, headers: false };
        KafkaReader::start(&owner.into(), &topic.into(), Some(client), &starts, wanted, true, None).map(Self)
    }

    /// Hands over every block. While nothing comes, `patience` is asked again and again with the time since the last one
    /// came; an error of it ends the reading.
    pub fn read(
        mut self,
        mut each: impl FnMut(&Records) -> Result<()>,
        patience: impl Fn(Duration) -> Result<()>,
    ) -> Result<()> {
        let mut heard = Instant::now();
        loop {
            match self.0.read(&AT_ONCE, CALL)? {
                Read::End => return Ok(()),
                Read::Idle => patience(heard.elapsed())?,
                Read::Records(records) => {
                    heard = Instant::now();
                    each(&records)?;
                }
            }
        }
    }
}
