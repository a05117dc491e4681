//! Promise: the writer of a topic, on a real broker: rows arrive as JSON, are counted when they are acknowledged, and what
//! it cannot promise it refuses.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use millstream::config;
use millstream::error::{ErrorKind, Result};
use millstream::output::TopicWriter;
use millstream::output::kafka::KafkaWriter;
use millstream::schema::Column;
use millstream_tests::kafka::Kafka;

use crate::sources::located;

/// Rows with an id each, every second with a name.
pub(crate) fn rows(range: std::ops::Range<i64>) -> RecordBatch {
    let names: ArrayRef =
        Arc::new(StringArray::from_iter(range.clone().map(|id| (id % 2 == 0).then(|| format!("n{id}")))));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("name", names, true)]).unwrap()
}

/// A writer with the defaults.
pub(crate) fn writer(kafka: &Kafka, topic: &str, key: Option<&str>) -> KafkaWriter {
    new_writer(kafka, topic, key, &[]).expect("a writer")
}

fn new_writer(kafka: &Kafka, topic: &str, key: Option<&str>, properties: &[(&str, &str)]) -> Result<KafkaWriter> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let settings = config::KafkaOutput {
        brokers: located(&kafka.brokers()),
        topic: located(topic),
        key: key.map(located),
        delivery: config::Delivery::AtLeastOnce,
        properties: properties.iter().map(owned).collect(),
    };
    let column = |field: &arrow::datatypes::Field| Column {
        name: field.name().clone(),
        logical: millstream::schema::logical_type(field.data_type()).unwrap(),
        nullable: field.is_nullable(),
    };
    let columns: Vec<Column> = rows(0..0).schema().fields().iter().map(|field| column(field)).collect();
    KafkaWriter::new("out", &settings, &columns, None)
}

#[test]
fn rows_reach_a_topic_as_json_with_their_key_and_are_counted() {
    let kafka = Kafka::shared();
    kafka.create_topic("written", 3);
    let mut writer = writer(kafka, "written", Some("name"));
    writer.write(&rows(0..2)).unwrap();
    assert_eq!(writer.prepare(Duration::from_secs(30)).unwrap(), 2);
    let mut records = kafka.read_all("written");
    records.sort();
    let text = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(records, [(None, text(r#"{"id":1,"name":null}"#)), (text("n0"), text(r#"{"id":0,"name":"n0"}"#))]);
}

#[test]
fn a_full_queue_holds_the_writer_up_and_keeps_all_rows_and_their_order() {
    let kafka = Kafka::shared();
    kafka.create_topic("held", 1);
    let mut writer = new_writer(kafka, "held", None, &[("queue.buffering.max.messages", "1000")]).unwrap();
    for batch in 0..20 {
        writer.write(&rows(batch * 1000..batch * 1000 + 1000)).unwrap();
    }
    assert_eq!(writer.prepare(Duration::from_secs(60)).unwrap(), 20_000);
    let name = |id: i64| if id % 2 == 0 { format!(r#""n{id}""#) } else { "null".to_owned() };
    let expected = (0..20_000).map(|id| (None, Some(format!(r#"{{"id":{id},"name":{}}}"#, name(id)).into_bytes())));
    assert!(kafka.read_all("held").into_iter().eq(expected), "all of them, in order");
}

#[test]
fn outputs_refuse_unknown_topics_keys_and_weaker_promises() {
    let kafka = Kafka::shared();
    kafka.create_topic("strict", 1);
    let cases = [
        (new_writer(kafka, "no-such-topic", None, &[]), "no-such-topic"),
        (new_writer(kafka, "strict", Some("nobody"), &[]), "nobody"),
        (new_writer(kafka, "strict", None, &[("acks", "1")]), "acks"),
        (new_writer(kafka, "strict", None, &[("enable.idempotence", "false")]), "enable.idempotence"),
    ];
    for (result, text) in cases {
        let error = result.err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(text), "{error}");
    }
    let batch = rows(0..2);
    let large: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(2_000_000), String::new()]));
    let batch = RecordBatch::try_new(batch.schema(), vec![batch.column(0).clone(), large]).unwrap();
    let error = writer(kafka, "strict", None).write(&batch).expect_err("beyond message.max.bytes");
    assert!(error.way_out().unwrap().contains("message.max.bytes"), "{error}");
}

#[test]
fn a_row_that_the_brokers_refuse_fails_the_epoch_and_names_the_output() {
    let kafka = Kafka::shared();
    kafka.create_topic("narrow", 1);
    let wide = [("message.max.bytes", "12000000"), ("compression.codec", "none")];
    let mut writer = new_writer(kafka, "narrow", None, &wide).unwrap();
    let batch = rows(0..2);
    let large: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(2_000_000), String::new()]));
    let batch = RecordBatch::try_new(batch.schema(), vec![batch.column(0).clone(), large]).unwrap();
    let written = writer.write(&batch);
    let error = written.and_then(|()| writer.prepare(Duration::from_secs(30))).expect_err("beyond the topic's limit");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("output \"out\"") && error.message().contains("too large"), "{error}");
    let narrow = [("message.max.bytes", "12000000"), ("queue.buffering.max.kbytes", "1024")];
    let error = new_writer(kafka, "narrow", None, &narrow).unwrap().write(&batch).expect_err("beyond the queue");
    assert!(error.way_out().unwrap().contains("queue.buffering.max.kbytes"), "{error}");
}
