//! What tests of delivery run: records `{"id":1}` of a topic, once into a topic and once into a lake.

/// Further keys of a source, so that a host that is gone is noticed within seconds.
pub const SHORT_SESSION: &str = r#", properties = { "session.timeout.ms" = "2000", "heartbeat.interval.ms" = "300" }"#;

/// A pipeline's source and outputs.
pub struct Delivery<'a> {
    /// Of the topics.
    pub brokers: &'a str,
    /// The records' topic.
    pub topic: &'a str,
    /// Who reads it.
    pub group: &'a str,
    /// Further keys of the source, behind a comma.
    pub source: &'a str,
    /// The topic of the rows.
    pub out: &'a str,
    /// Further keys of the lake, behind a comma. Its folder is `lake`.
    pub lake: &'a str,
}

impl Delivery<'_> {
    /// The source `events` and the outputs `topic` and `lake`, for a pipeline file.
    pub fn toml(&self) -> String {
        let Self { brokers, topic, group, source, out, lake } = self;
        format!(
            r#"
[source.events]
kafka   = {{ brokers = "{brokers}", topic = "{topic}", group = "{group}", start = "earliest"{source} }}
format  = "json"
columns = {{ id = "int64" }}

[output.topic]
from  = "source.events"
kafka = {{ brokers = "{brokers}", topic = "{out}", key = "id" }}

[output.lake]
from    = "source.events"
parquet = {{ path = "lake"{lake} }}
"#
        )
    }
}
