//! Rejects of a topic, read again: what `reject_json` wrote there.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use serde_json::{Map, Value};

use crate::config::KafkaOutput;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Records;
use crate::source::kafka::client::{Context, configure, reach};
use crate::source::kafka::{PartsReader, part_client};

const OWNER: &str = "[rejects]";

/// How long brokers may take to answer, or to send the next record.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A reject in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicReject {
    /// The topic's partition.
    pub partition: i32,
    /// Its offset in it.
    pub offset: i64,
    /// When it was written, in ms since 1970-01-01 UTC.
    pub written_at_ms: i64,
    /// Its fields: `reject_columns`, as JSON.
    pub columns: Map<String, Value>,
}

/// Of each partition of a topic of rejects the first offset that is still there.
///
/// # Errors
/// `Unavailable` when the brokers are, `Input` when there is no such topic.
pub fn first_offsets(settings: &KafkaOutput) -> Result<BTreeMap<i32, i64>> {
    Ok(look(settings)?.1.into_iter().map(|(partition, first, _)| (partition, first)).collect())
}

/// Of each partition its number, the first offset and the end.
type Bounds = Vec<(i32, i64, i64)>;

/// A client for a topic of rejects, and what is there.
fn look(settings: &KafkaOutput) -> Result<(BaseConsumer<Context>, Bounds)> {
    let (brokers, topic) = (&settings.brokers.value, &settings.topic.value);
    let failed = |error: KafkaError| {
        Error::new(ErrorKind::Unavailable, format!("{OWNER}: topic {topic:?} cannot be read")).caused_by(error)
    };
    let config = configure(OWNER, brokers, &settings.properties, &[], &[])?;
    let client = part_client(config, OWNER, "read_committed")?;
    reach(client.client(), brokers, TIMEOUT, || drop(client.poll(Duration::from_millis(1))))?;
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
    let mut parts = Bounds::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (first, end) = client.fetch_watermarks(topic, partition.id(), TIMEOUT).map_err(failed)?;
        parts.push((partition.id(), first, end));
    }
    if parts.is_empty() {
        return Err(Error::new(ErrorKind::Input, format!("{OWNER}: there is no topic {topic:?} at {brokers}"))
            .help("is it the right one? a run makes none"));
    }
    Ok((client, parts))
}

/// Hands over every reject of a topic that a reader of committed records sees now; those of a partition in their order.
/// Gives the end of each partition.
///
/// # Errors
/// `Unavailable` when the brokers are, `Input` for a record that is no reject, and what `each` returns.
pub fn read_rejects(
    settings: &KafkaOutput,
    mut each: impl FnMut(TopicReject) -> Result<()>,
) -> Result<BTreeMap<i32, i64>> {
    let topic = &settings.topic.value;
    let (client, parts) = look(settings)?;
    let each = |records: &Records| {
        for (index, offset) in records.offsets.iter().enumerate() {
            let partition = records.partition_number;
            let columns = records.value(index).and_then(|value| serde_json::from_slice(value).ok());
            let columns = columns.ok_or_else(|| {
                let what = format!("record {offset} of partition {partition} of topic {topic:?} is no reject");
                Error::new(ErrorKind::Input, what).help("keep other records out of the topic of rejects")
            })?;
            let written_at_ms = records.timestamps_ms.get(index).copied().unwrap_or(0);
            each(TopicReject { partition, offset: *offset, written_at_ms, columns })?;
        }
        Ok(())
    };
    let patience = |silence| {
        if silence < TIMEOUT {
            return Ok(());
        }
        let what = format!("{OWNER}: topic {topic:?} sent nothing for {} s", TIMEOUT.as_secs());
        Err(Error::new(ErrorKind::Unavailable, what).help("are the brokers up?"))
    };
    PartsReader::start(OWNER, topic, client, &parts)?.read(each, patience)?;
    Ok(parts.into_iter().map(|(partition, _, end)| (partition, end)).collect())
}
