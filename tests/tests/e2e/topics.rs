//! Promise: a row reaches a topic exactly once for whoever reads committed records, together with its file in the lake, its
//! reject and the group's offsets, whatever is killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream::commit::last_commit;
use millstream_tests::delivery::Delivery;
use millstream_tests::host::{Host, append, caught_up, fail, millstream, succeed, text};
use millstream_tests::kafka::{Kafka, KeyAndValue};
use millstream_tests::lake::batches;
use millstream_tests::patience::{PATIENCE, find_within};
use tempfile::TempDir;

use crate::recovery::steps;

const RECORDS: i64 = 150_000;
const PARTITIONS: i32 = 3;
/// Each so many records one is none.
const BROKEN_EVERY: i64 = 1_000;

/// A pipeline from a topic to a topic, files and rejects in a topic.
struct Job {
    kafka: &'static Kafka,
    name: String,
    folder: TempDir,
}

impl Job {
    fn new(name: &str) -> Self {
        let kafka = Kafka::shared();
        kafka.create_topic(&format!("{name}-out"), 2);
        kafka.create_topic(&format!("{name}-rejects"), 1);
        let folder = tempfile::tempdir().unwrap();
        let brokers = kafka.brokers();
        let out = format!("{name}-out");
        let delivery = Delivery {
            brokers: &brokers,
            topic: "topics-in",
            group: name,
            source: "",
            out: &out,
            lake: r#", max_age = "300ms""#,
        };
        let pipeline = format!(
            r#"
name = "{name}"
workers = 2
epoch = {{ interval = "100ms" }}
batch = {{ rows = 500 }}
{}
[rejects]
kafka = {{ brokers = "{brokers}", topic = "{name}-rejects" }}
"#,
            delivery.toml()
        );
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Self { kafka, name: name.to_owned(), folder }
    }

    /// The records that all jobs read, made once.
    fn fill() {
        static FILLED: std::sync::Once = std::sync::Once::new();
        FILLED.call_once(|| {
            let kafka = Kafka::shared();
            kafka.create_topic("topics-in", PARTITIONS);
            let records = (0..RECORDS).map(|id| event(id, id % BROKEN_EVERY == 7));
            kafka.produce("topics-in", PARTITIONS, records);
        });
    }

    fn run(&self) -> Command {
        caught_up(&self.folder.path().join("pipeline.toml"))
    }

    /// Every record is once in the topic and once in the lake, or once among the rejects; the group is at the end.
    fn holds(&self) {
        let wanted: Vec<i64> = (0..RECORDS).filter(|id| id % BROKEN_EVERY != 7).collect();
        assert_eq!(each_once(topic_ids(self.kafka, &format!("{}-out", self.name))), wanted, "the topic");
        assert_eq!(each_once(lake_ids(&self.folder.path().join("lake"))), wanted, "the lake");
        let rejects = self.kafka.read_all(&format!("{}-rejects", self.name));
        assert_eq!(rejects.len() as i64, RECORDS - wanted.len() as i64, "the rejects");
        let committed = self.kafka.committed_offsets(&self.name, "topics-in", PARTITIONS);
        let ends = self.kafka.end_offsets("topics-in").into_iter().map(Some).collect::<Vec<_>>();
        assert_eq!(committed, ends, "the group's offsets");
    }
}

/// The record of an id, or one that is none.
pub(crate) fn event(id: i64, is_broken: bool) -> String {
    if is_broken { "{\"id\":".to_owned() } else { format!("{{\"id\":{id}}}") }
}

pub(crate) fn topic_ids(kafka: &Kafka, topic: &str) -> Vec<i64> {
    let id = |(key, value): &KeyAndValue| {
        let row: serde_json::Value = serde_json::from_slice(value.as_ref().unwrap()).unwrap();
        let id = row["id"].as_i64().unwrap();
        assert_eq!(key.as_deref(), Some(id.to_string().as_bytes()));
        id
    };
    kafka.read_all(topic).iter().map(id).collect()
}

pub(crate) fn lake_ids(lake: &Path) -> Vec<i64> {
    let mut ids = Vec::new();
    for batch in batches(lake) {
        ids.extend(batch["id"].as_primitive::<Int64Type>().values());
    }
    ids
}

/// By id how often it is there.
pub(crate) fn times(ids: Vec<i64>) -> BTreeMap<i64, u32> {
    let mut times = BTreeMap::<i64, u32>::new();
    ids.into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    times
}

/// The ids, ascending.
pub(crate) fn each_once(ids: Vec<i64>) -> Vec<i64> {
    let times = times(ids);
    let often: Vec<_> = times.iter().filter(|(_, times)| **times > 1).take(5).collect();
    assert!(often.is_empty(), "more than once: {often:?}");
    times.into_keys().collect()
}

#[test]
fn a_kill_at_each_step_of_a_transaction_loses_and_doubles_nothing() {
    Job::fill();
    for (step, found) in steps("a transaction was committed that the log does not have") {
        let job = Job::new(&format!("topics-{step}"));
        let killed = job.run().env("MILLSTREAM_KILL_AT", format!("{step}:2")).output().unwrap();
        assert_eq!(killed.status.code(), None, "{step}: the run was killed\n{}", text(&killed.stderr));
        let log = text(&succeed(&mut job.run()).stderr);
        assert!(log.contains(found), "{step}: the next start says what it found: {found:?}\n{log}");
        job.holds();
    }
}

#[test]
fn kills_at_any_time_lose_and_double_nothing_in_topics() {
    Job::fill();
    let job = Job::new("topics-kills");
    for kill in 0..12 {
        let mut host = Host::start(&mut job.run());
        host.wait_for("running");
        // A fixed walk over the times at which a run of some seconds can be hit.
        if let Some(status) = host.ends_within(Duration::from_millis(20 + kill * 97 % 500)) {
            assert!(status.success(), "{status}\n{}", host.rest());
        }
        host.kill();
    }
    succeed(&mut job.run());
    job.holds();
}

/// A pipeline from a file to a topic.
fn file_to_topic(name: &str, folder: &Path, brokers: &str) -> PathBuf {
    let path = folder.join("pipeline.toml");
    let pipeline = format!(
        r#"
name = "{name}"
workers = 1
epoch = {{ interval = "100ms" }}

[source.events]
file    = {{ path = "events.jsonl" }}
format  = "json"
columns = {{ id = "int64" }}

[output.topic]
from  = "source.events"
kafka = {{ brokers = "{brokers}", topic = "{name}", key = "id" }}

[rejects]
file = {{ path = "rejects" }}
"#
    );
    fs::write(&path, pipeline).unwrap();
    path
}

#[test]
fn a_kill_at_each_step_of_a_transaction_loses_and_doubles_nothing_of_a_file() {
    let kafka = Kafka::shared();
    let is_broken = |id: i64| id % 100 == 7;
    for (step, found) in steps("a transaction was committed that the log does not have") {
        let (name, folder) = (format!("topics-file-{step}"), tempfile::tempdir().unwrap());
        kafka.create_topic(&name, 1);
        let pipeline = file_to_topic(&name, folder.path(), &kafka.brokers());
        let events = folder.path().join("events.jsonl");
        fs::write(&events, "").unwrap();
        let write = |ids: Range<i64>| {
            let lines: Vec<String> = ids.map(|id| event(id, is_broken(id))).collect();
            append(&events, &lines.join("\n"));
        };
        write(0..1_000);
        succeed(&mut caught_up(&pipeline));
        write(1_000..3_000);
        // The next epoch has rows: what the commits say of sharing is said.
        let epoch = last_commit(&folder.path().join("data").join(&name)).unwrap().unwrap().epoch + 1;
        let killed = caught_up(&pipeline).env("MILLSTREAM_KILL_AT", format!("{step}:{epoch}")).output().unwrap();
        assert_eq!(killed.status.code(), None, "{step}: the run was killed\n{}", text(&killed.stderr));
        let log = text(&succeed(&mut caught_up(&pipeline)).stderr);
        assert!(log.contains(found), "{step}: the next start says what it found: {found:?}\n{log}");
        let wanted: Vec<i64> = (0..3_000).filter(|id| !is_broken(*id)).collect();
        let refused: usize = batches(&folder.path().join("rejects")).map(|batch| batch.num_rows()).sum();
        assert_eq!((each_once(topic_ids(kafka, &name)), refused), (wanted, 30), "{step}");
    }
}

#[test]
fn a_copied_data_folder_is_noticed_and_doubles_nothing() {
    let kafka = Kafka::shared();
    kafka.create_topic("topics-copied", 1);
    let folder = tempfile::tempdir().unwrap();
    let pipeline = file_to_topic("topics-copied", folder.path(), &kafka.brokers());
    let mut events = File::create(folder.path().join("events.jsonl")).unwrap();
    let mut written = 0;
    let mut write = |rows: i64| {
        (written..written + rows).for_each(|id| writeln!(events, "{{\"id\":{id}}}").unwrap());
        written += rows;
        written
    };
    write(1_000);
    let run = |data: &str, how: &str| {
        let mut run = millstream();
        let data = format!("data={}", folder.path().join(data).display());
        run.arg("run").arg(&pipeline).args([how, "--no-progress", "--set", &data]);
        run
    };
    succeed(&mut run("one", "--until-caught-up"));
    fs::create_dir(folder.path().join("two")).unwrap();
    for file in ["host.json", "commit.log"] {
        fs::copy(folder.path().join("one").join(file), folder.path().join("two").join(file)).unwrap();
    }
    let refused = fail(&mut run("two", "--follow"));
    assert!(refused.contains("a copy of host") && refused.contains("--moved"), "{refused}");
    // Somebody says what is not so: then the transactions tell.
    let mut hosts = [Host::start(&mut run("one", "--follow")), Host::start(run("two", "--follow").arg("--moved"))];
    let gave_up = find_within(PATIENCE, || {
        write(10);
        hosts.iter_mut().position(|host| host.ended().is_some())
    });
    let gave_up = gave_up.expect("a host notices the other one");
    assert_eq!(hosts[gave_up].wait().code(), Some(1));
    let said = hosts[gave_up].rest();
    assert!(said.contains("another process makes the transactions of host"), "{said}");
    let [one, two] = hosts;
    let (left, data) = if gave_up == 0 { (two, "two") } else { (one, "one") };
    left.finish();
    let rows = write(10);
    succeed(&mut run(data, "--until-caught-up"));
    assert_eq!(each_once(topic_ids(kafka, "topics-copied")), (0..rows).collect::<Vec<_>>());
}

#[test]
fn rejects_of_a_topic_are_listed_counted_and_shown() {
    Job::fill();
    let job = Job::new("topics-listed");
    succeed(&mut job.run());
    let rejects = |arguments: &[&str]| {
        let mut command = millstream();
        command.arg("rejects").arg(arguments[0]).arg(job.folder.path().join("pipeline.toml")).args(&arguments[1..]);
        command
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&succeed(rejects(arguments).arg("--json")).stdout).unwrap()
    };
    let broken = RECORDS / BROKEN_EVERY;
    let counted = json(&["count"]);
    let of_all: i64 = counted.as_array().unwrap().iter().map(|count| count["rejects"].as_i64().unwrap()).sum();
    assert_eq!((of_all, &counted[0]["stage"]), (broken, &"source.events".into()), "{counted}");
    assert_eq!(json(&["count", "--stage", "elsewhere"]), serde_json::json!([]));
    assert_eq!(json(&["count", "--until", "2000-01-01"]), serde_json::json!([]));
    let listed = json(&["list", "-n", "3"]);
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!((listed.as_array().unwrap().len(), id.starts_with("0:")), (3, true), "{listed}");
    assert_eq!(json(&["show", id])["record_value"], "{\"id\":");
    assert!(listed[0].get("record_value").is_none());
    let said = fail(&mut rejects(&["show", "0:999999999"]));
    assert!(said.contains("there is no reject 0:999999999"), "{said}");
}
