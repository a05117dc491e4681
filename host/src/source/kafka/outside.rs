//! A group's offsets, set by a host that stands still and is in no group.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaSource;
use super::client::{self, Context};
use super::topic::Topic;
use crate::commit::GroupOffsets;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Positions;

impl KafkaSource {
    /// The first offset that a partition still has.
    pub fn first_offset(&self, partition: i32) -> Result<i64> {
        let topic = Topic { source: &self.name, settings: &self.settings, client: &self.client, timeout: self.timeout };
        topic.bounds(partition).map(|(first, _)| first)
    }

    /// The first offset of a partition whose record is of `time_ms` or later; none when there is no such record.
    pub fn offset_at(&self, partition: i32, time_ms: i64) -> Result<Option<i64>> {
        let failed = |error: KafkaError| {
            let what = format!("source {:?}: partition {partition} cannot be asked for a time", self.name);
            Error::new(ErrorKind::Unavailable, what).caused_by(error)
        };
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(&self.topic, partition, Offset::Offset(time_ms)).map_err(failed)?;
        let found = self.client.offsets_for_times(times, self.timeout).map_err(failed)?;
        let offset = found.find_partition(&self.topic, partition).map(|found| found.offset());
        Ok(match offset {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        })
    }

    /// The group's offsets for a transaction of a host that is no member of it; none where the positions have none of this
    /// source's.
    pub fn offsets_outside(&self, positions: &Positions) -> Result<Option<GroupOffsets>> {
        let owner = format!("source {:?}", self.name);
        let failed = |what: &str| Error::new(ErrorKind::Unavailable, format!("{owner}: {what}"));
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in self.offsets(positions) {
            offsets
                .add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| failed("an offset is none of a topic").caused_by(error))?;
        }
        if offsets.count() == 0 {
            return Ok(None);
        }
        let mut config = self.config.clone();
        config.set("group.id", self.group());
        let consumer: BaseConsumer<Context> = client::reader(&config, &owner)?;
        let group = consumer.group_metadata().ok_or_else(|| failed("its group has no name"))?;
        Ok(Some(GroupOffsets { offsets, group }))
    }
}
