//! Promise: records that the topic's retention took before they were read are never passed by in silence: the run ends with an
//! error that names both offsets, or goes on behind a gap that is counted and said. A topic that was made again is not taken for
//! the one before. Partitions that are added are read from their first record on.

use std::fs;
use std::process::Command;

use millstream_tests::host::{Host, fail, millstream, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::patience::{PATIENCE, wait_until};
use tempfile::TempDir;

use crate::topics::{each_once, lake_ids};

struct Job {
    kafka: &'static Kafka,
    name: String,
    folder: TempDir,
}

impl Job {
    fn new(name: &str, more: &str) -> Self {
        let kafka = Kafka::shared();
        kafka.create_topic(name, 1);
        let folder = tempfile::tempdir().unwrap();
        let brokers = kafka.brokers();
        let pipeline = format!(
            r#"
name = "{name}"
data = "state"
workers = 1
epoch = {{ interval = "200ms" }}

[source.events]
kafka   = {{ brokers = "{brokers}", topic = "{name}", group = "{name}", {more} }}
format  = "json"
columns = {{ id = "int64" }}

[output.lake]
from    = "source.events"
parquet = {{ path = "lake" }}

[rejects]
file = {{ path = "rejects" }}
"#
        );
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Self { kafka, name: name.to_owned(), folder }
    }

    fn run(&self, how: &str) -> Command {
        let mut run = millstream();
        run.current_dir(self.folder.path()).args([
            "run",
            "pipeline.toml",
            how,
            "--no-progress",
            "--summary",
            "summary.json",
        ]);
        run.args(["--log", "info,millstream=debug"]);
        run
    }

    fn produce(&self, partitions: i32, ids: std::ops::Range<i64>) {
        self.kafka.produce(&self.name, partitions, ids.map(|id| format!("{{\"id\":{id}}}")));
    }

    fn lake(&self) -> Vec<i64> {
        each_once(lake_ids(&self.folder.path().join("lake")))
    }

    fn lost(&self) -> i64 {
        let summary = fs::read(self.folder.path().join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
        summary["lost"]["events"].as_i64().unwrap_or(0)
    }
}

#[test]
fn offsets_that_are_gone_at_the_start_are_an_error_or_a_counted_gap() {
    let job = Job::new("lost-start", "start = \"earliest\"");
    job.produce(1, 0..10);
    succeed(&mut job.run("--until-caught-up"));
    job.produce(1, 10..30);
    job.kafka.delete_before("lost-start", 0, 25);
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("\"lost-start\" has no offset 10 any more") && said.contains("starts at 25"), "{said}");
    assert!(said.contains("lost = \"skip\""), "the way out: {said}");
    let skipped = succeed(job.run("--until-caught-up").args(["--set", "source.events.kafka.lost=skip"]));
    assert!(text(&skipped.stderr).contains("from=10 to=25 lost=15"), "{}", text(&skipped.stderr));
    assert!(text(&skipped.stdout).contains("15 offsets were gone"), "{}", text(&skipped.stdout));
    assert_eq!(job.lost(), 15);
    assert_eq!(job.lake(), (0..10).chain(25..30).collect::<Vec<_>>());
    succeed(&mut job.run("--until-caught-up"));
    assert_eq!((job.lost(), job.lake().len()), (0, 15), "counted once");
}

/// Records go while a reader stands still. Its last request may still be answered with the first two of them.
fn lose_while_running(job: &Job, host: &mut Host) {
    job.produce(1, 0..10);
    wait_until("ten rows are committed", || job.kafka.committed_offsets(&job.name, &job.name, 1) == [Some(10)]);
    host.signal("STOP");
    job.produce(1, 10..12);
    job.produce(1, 12..30);
    job.kafka.delete_before(&job.name, 0, 25);
    host.signal("CONT");
}

#[test]
fn offsets_that_go_while_it_runs_are_an_error() {
    let job = Job::new("lost-running", "start = \"earliest\"");
    let mut host = Host::start(&mut job.run("--follow"));
    lose_while_running(&job, &mut host);
    let status = host.ends_within(PATIENCE).unwrap_or_else(|| panic!("it goes on: {}", host.rest()));
    let said = host.rest();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("\"lost-running\" has no offset 1") && said.contains("lost = \"skip\""), "{said}");
}

#[test]
fn offsets_that_go_while_it_runs_are_a_counted_gap_where_that_is_asked_for() {
    let job = Job::new("lost-skipped", "start = \"earliest\", lost = \"skip\"");
    let mut host = Host::start(&mut job.run("--follow"));
    lose_while_running(&job, &mut host);
    host.wait_for("the run goes on behind the gap");
    host.wait_for("committed epoch=");
    host.finish();
    let read = 25 - job.lost();
    succeed(&mut job.run("--until-caught-up"));
    assert!(read == 10 || read == 12, "{read}");
    assert_eq!(job.lake(), (0..read).chain(25..30).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_was_made_again_is_refused() {
    let job = Job::new("made-again", "start = \"earliest\"");
    job.produce(1, 0..10);
    succeed(&mut job.run("--until-caught-up"));
    job.kafka.delete_topic("made-again");
    job.kafka.create_topic("made-again", 1);
    // More than was read: by its offsets nothing could be told.
    job.produce(1, 100..150);
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("topic \"made-again\"") && said.contains("was deleted and made again"), "{said}");
    assert!(said.contains("another group"), "the way out: {said}");
    assert_eq!(job.lake(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_is_made_again_while_it_is_read_is_noticed() {
    let properties = "properties = { \"topic.metadata.refresh.interval.ms\" = \"1000\" }";
    let job = Job::new("made-again-running", properties);
    job.produce(1, 0..10);
    let mut host = Host::start(&mut job.run("--follow"));
    host.wait_for("committed epoch=");
    job.kafka.delete_topic("made-again-running");
    job.kafka.create_topic("made-again-running", 1);
    job.produce(1, 100..150);
    let status = host.ends_within(PATIENCE).unwrap_or_else(|| panic!("it goes on: {}", host.rest()));
    let said = host.rest();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("made again") || said.contains("is not there any more"), "{said}");
    assert!(said.contains("another group") || said.contains("new group"), "the way out: {said}");
}

#[test]
fn partitions_that_are_added_are_read_from_their_first_record_on() {
    let properties = "start = \"latest\", properties = { \"topic.metadata.refresh.interval.ms\" = \"1000\" }";
    let job = Job::new("grown", properties);
    let mut host = Host::start(&mut job.run("--follow"));
    host.wait_for("running");
    job.produce(1, 0..10);
    host.wait_for("committed epoch=");
    job.kafka.grow_topic("grown", 3);
    // Before the host knows of them.
    job.kafka.end_offsets("grown");
    job.produce(3, 10..100);
    host.wait_for("partitions move");
    host.wait_for("committed epoch=");
    host.finish();
    succeed(&mut job.run("--until-caught-up"));
    assert_eq!(job.lake(), (0..100).collect::<Vec<_>>());
}

/// Two hosts that read `job` from the end of its topic on.
fn two_hosts(job: &Job) -> [Host; 2] {
    let mut hosts = ["first", "second"].map(|data| {
        let mut run = job.run("--follow");
        Host::start(run.arg("--set").arg(format!("data={data}")))
    });
    hosts.iter_mut().for_each(|host| drop(host.wait_for("running")));
    hosts
}

/// The hosts end; what the second one could not commit any more, for partitions moved, a third one brings to an end.
fn end(job: &Job, hosts: [Host; 2]) {
    hosts.into_iter().for_each(|host| drop(host.finish()));
    succeed(&mut job.run("--until-caught-up"));
}

#[test]
fn with_several_hosts_a_partition_that_is_added_is_read_from_its_first_record_on() {
    let properties = "start = \"latest\", properties = { \"topic.metadata.refresh.interval.ms\" = \"1000\" }";
    let job = Job::new("grown-shared", properties);
    let hosts = two_hosts(&job);
    job.produce(1, 0..10);
    wait_until("ten rows are committed", || job.kafka.committed_offsets(&job.name, &job.name, 1) == [Some(10)]);
    // It goes to the host that had none, which knows of no other partition.
    job.kafka.grow_topic(&job.name, 2);
    job.kafka.end_offsets(&job.name);
    job.produce(2, 10..100);
    let all = [Some(55), Some(45)];
    wait_until("all rows are committed", || job.kafka.committed_offsets(&job.name, &job.name, 2) == all);
    end(&job, hosts);
    assert_eq!(job.lake(), (0..100).collect::<Vec<_>>());
}

#[test]
fn several_hosts_begin_at_the_end_of_all_partitions() {
    let job = Job::new("latest-shared", "start = \"latest\"");
    job.kafka.grow_topic(&job.name, 2);
    job.kafka.end_offsets(&job.name);
    job.produce(2, 0..10);
    let hosts = two_hosts(&job);
    assert_eq!(job.kafka.committed_offsets(&job.name, &job.name, 2), [Some(5), Some(5)], "the end is fixed");
    job.produce(2, 10..100);
    let all = [Some(50), Some(50)];
    wait_until("all rows are committed", || job.kafka.committed_offsets(&job.name, &job.name, 2) == all);
    end(&job, hosts);
    assert_eq!(job.lake(), (10..100).collect::<Vec<_>>());
}
