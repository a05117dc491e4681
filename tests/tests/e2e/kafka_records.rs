//! Promise: what real topics hold goes through, end to end: records of 10 MB, tombstones (rejected as such), headers, and
//! transactions of which only those that were committed are seen.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use arrow::array::AsArray;
use millstream_tests::host::{fail, millstream, succeed, text};
use millstream_tests::kafka::{Kafka, send};
use millstream_tests::lake::batches;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use tempfile::TempDir;

use crate::topics::{each_once, lake_ids};

struct Job {
    kafka: &'static Kafka,
    folder: TempDir,
}

impl Job {
    /// From a topic to a lake, and to a topic if `output` says how.
    fn new(name: &str, columns: &str, output: Option<&str>) -> Self {
        let kafka = Kafka::shared();
        let folder = tempfile::tempdir().unwrap();
        let brokers = kafka.brokers();
        let topic = output.map_or(String::new(), |more| {
            format!("[output.topic]\nfrom = \"source.events\"\nkafka = {{ brokers = \"{brokers}\", topic = \"{name}-out\", {more} }}\n")
        });
        let pipeline = format!(
            r#"
name = "{name}"
data = "state"
workers = 1

[source.events]
kafka   = {{ brokers = "{brokers}", topic = "{name}", group = "{name}" }}
format  = "json"
columns = {{ id = "int64", {columns} }}

[output.lake]
from    = "source.events"
parquet = {{ path = "lake" }}

[rejects]
file = {{ path = "rejects" }}

{topic}
"#
        );
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Self { kafka, folder }
    }

    fn run(&self) -> Command {
        let mut run = millstream();
        run.current_dir(self.folder.path()).args(["run", "pipeline.toml", "--until-caught-up", "--no-progress"]);
        run
    }
}

#[test]
fn records_of_ten_megabytes_go_in_and_out_and_too_large_ones_lose_nothing() {
    let large = "\"message.max.bytes\" = \"12000000\"";
    let job = Job::new("large", "text = \"utf8\"", Some(&format!("properties = {{ {large} }}")));
    job.kafka.create_topic_with("large", 1, &[("max.message.bytes", "12000000")]);
    // Of the brokers' default: about 1 MB.
    job.kafka.create_topic("large-out", 1);
    let producer = job.kafka.producer(&[("message.max.bytes", "12000000"), ("compression.codec", "none")]);
    // Text that no codec makes small.
    let mut random = 1_u64;
    let mut letter = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (random >> 33) as u8 % 26)
    };
    let wide: String = (0..10_000_000).map(|_| letter()).collect();
    for (id, wide) in [(0, ""), (1, &*wide), (2, "")] {
        send(&producer, BaseRecord::to("large").payload(format!("{{\"id\":{id},\"text\":\"{wide}\"}}").as_bytes()));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    // Over the brokers' limit, then over the producer's own.
    let said = fail(&mut job.run());
    assert!(said.contains("too large for topic \"large-out\"") && said.contains("max.message.bytes"), "{said}");
    assert!(job.kafka.read_all("large-out").is_empty(), "nothing of the epoch is seen");
    assert!(lake_ids(&job.folder.path().join("lake")).is_empty());
    let path = job.folder.path().join("pipeline.toml");
    let pipeline = fs::read_to_string(&path).unwrap();
    fs::write(&path, pipeline.replace(large, "\"message.max.bytes\" = \"2000000\"")).unwrap();
    let said = fail(&mut job.run());
    assert!(said.contains("a row of 100000") && said.contains("message.max.bytes"), "{said}");
    fs::write(&path, pipeline).unwrap();
    job.kafka.configure_topic("large-out", &[("max.message.bytes", "12000000")]);
    succeed(&mut job.run());
    let written = job.kafka.read_all("large-out");
    let values: Vec<usize> = written.iter().map(|(_, value)| value.as_ref().unwrap().len()).collect();
    assert_eq!(values.len(), 3);
    assert!(values[1] > 10_000_000, "{values:?}");
    assert_eq!(each_once(lake_ids(&job.folder.path().join("lake"))), [0, 1, 2]);
}

#[test]
fn tombstones_are_rejected_and_headers_keys_and_times_are_kept() {
    let columns =
        "key = { type = \"utf8?\", from = \"@key\" }, trace = { type = \"utf8?\", from = \"@headers.trace\" }";
    let job = Job::new("meta-run", columns, None);
    job.kafka.create_topic("meta-run", 1);
    let producer = job.kafka.producer(&[]);
    let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("first") });
    let headers = headers.insert(Header { key: "trace", value: Some("last") });
    let record = BaseRecord::<[u8], [u8]>::to("meta-run");
    send(&producer, record.key(&b"a"[..]).payload(br#"{"id":1}"#).headers(headers));
    send(&producer, BaseRecord::to("meta-run").key(&b"gone"[..]));
    send(&producer, BaseRecord::to("meta-run").payload(br#"{"id":2}"#));
    producer.flush(Duration::from_secs(30)).unwrap();
    let said = text(&succeed(&mut job.run()).stdout);
    assert!(said.contains("out 2 + rejected 1") && said.contains("tombstone"), "{said}");
    let mut rows = BTreeMap::new();
    for batch in batches(&job.folder.path().join("lake")) {
        let ids = batch["id"].as_primitive::<arrow::datatypes::Int64Type>();
        let text = |name: &str| arrow::compute::cast(&batch[name], &arrow::datatypes::DataType::Utf8).unwrap();
        let (keys, traces) = (text("key"), text("trace"));
        let value = |array: &arrow::array::ArrayRef, row| {
            let array = array.as_string::<i32>();
            (!arrow::array::Array::is_null(array, row)).then(|| array.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            rows.insert(ids.value(row), (value(&keys, row), value(&traces, row)));
        }
    }
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(rows, BTreeMap::from([(1, (some("a"), some("last"))), (2, (None, None))]));
    let rejects: Vec<_> = batches(&job.folder.path().join("rejects")).collect();
    let reject = &rejects[0];
    assert_eq!(reject.num_rows(), 1);
    assert!(arrow::array::Array::is_null(&reject["record_value"], 0), "a tombstone has no value");
}

#[test]
fn of_transactions_only_those_that_were_committed_are_in_the_lake_and_in_the_topic() {
    let job = Job::new("transacted-in", "", Some("key = \"id\""));
    job.kafka.create_topic("transacted-in", 1);
    job.kafka.create_topic("transacted-in-out", 1);
    let producer = job.kafka.producer(&[("transactional.id", "transacted-in")]);
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).unwrap();
    for (ids, is_committed) in [(0..10, true), (10..20, false), (20..30, true), (30..40, false)] {
        producer.begin_transaction().unwrap();
        for id in ids {
            send(&producer, BaseRecord::to("transacted-in").payload(format!("{{\"id\":{id}}}").as_bytes()));
        }
        producer.flush(wait).unwrap();
        if is_committed {
            producer.commit_transaction(wait).unwrap();
        } else {
            producer.abort_transaction(wait).unwrap();
        }
    }
    // One that is open while the run reads.
    producer.begin_transaction().unwrap();
    send(&producer, BaseRecord::to("transacted-in").payload(br#"{"id":40}"#));
    producer.flush(wait).unwrap();
    let seen: Vec<i64> = (0..10).chain(20..30).collect();
    let holds = |wanted: &[i64]| {
        succeed(&mut job.run());
        assert_eq!(each_once(lake_ids(&job.folder.path().join("lake"))), wanted);
        assert_eq!(each_once(crate::topics::topic_ids(job.kafka, "transacted-in-out")), wanted);
    };
    holds(&seen);
    producer.commit_transaction(wait).unwrap();
    holds(&[&seen[..], &[40]].concat());
}
