//! Promise: a group's offsets that somebody moved are never followed in silence: the run is refused and shows both places.
//! `--from commit` goes on where the lake ended, `--from group` reads from where the group was put.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use millstream_tests::delivery::{Delivery, SHORT_SESSION};
use millstream_tests::host::{Host, caught_up, fail, succeed};
use millstream_tests::kafka::Kafka;
use millstream_tests::patience::wait_until;
use tempfile::TempDir;

use crate::topics::{event, lake_ids, times, topic_ids};

const PARTITIONS: i32 = 2;

/// A pipeline from a topic to a topic and a lake, stopped after it has read ids 0 to 19: the even ones are in partition 0, id
/// 2 n + p at offset n of partition p.
struct Job {
    kafka: &'static Kafka,
    name: &'static str,
    folder: TempDir,
    pipeline: PathBuf,
}

impl Job {
    fn stopped(name: &'static str) -> Self {
        let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
        kafka.create_topic(name, PARTITIONS);
        kafka.create_topic(&format!("{name}-out"), 1);
        let (brokers, out) = (kafka.brokers(), format!("{name}-out"));
        let delivery =
            Delivery { brokers: &brokers, topic: name, group: name, source: SHORT_SESSION, out: &out, lake: "" };
        let pipeline = folder.path().join("pipeline.toml");
        let toml = format!(
            r#"
name = "{name}"
data = "state"
workers = 2
epoch = {{ interval = "100ms" }}
{}"#,
            delivery.toml()
        );
        fs::write(&pipeline, toml).unwrap();
        let job = Self { kafka, name, folder, pipeline };
        job.produce(0..20);
        let host = Host::follow(&job.pipeline, &[]);
        wait_until("all is committed", || job.committed() == [Some(10), Some(10)]);
        host.finish();
        assert_eq!(job.times(), (0..20).map(|id| (id, 1)).collect());
        job
    }

    fn produce(&self, ids: Range<i64>) {
        self.kafka.produce(self.name, PARTITIONS, ids.map(|id| event(id, false)));
    }

    fn committed(&self) -> Vec<Option<i64>> {
        self.kafka.committed_offsets(self.name, self.name, PARTITIONS)
    }

    /// Somebody moves a partition's offset in the group; then a run is refused, and nothing comes of it.
    fn refuses_when_moved(&self, partition: i32, to: i64, from: i64) {
        let before = self.times();
        self.kafka.move_offset(self.name, self.name, partition, to);
        let said = fail(&mut caught_up(&self.pipeline));
        let moved = format!("with the rows: partition {partition}: the group {to}, the commits {from}\n");
        assert!(said.contains(&moved), "that partition and no other: {said}");
        assert!(said.contains("--from group") && said.contains("--from commit"), "the ways out: {said}");
        assert_eq!((self.times(), self.committed()[partition as usize]), (before, Some(to)));
    }

    /// Reads on, and once more without being told from where.
    fn run_from(&self, from: &str) -> BTreeMap<i64, u32> {
        succeed(caught_up(&self.pipeline).args(["--from", from]));
        let times = self.times();
        succeed(&mut caught_up(&self.pipeline));
        let ends: Vec<_> = self.kafka.end_offsets(self.name).into_iter().map(Some).collect();
        assert_eq!((self.times(), self.committed()), (times.clone(), ends));
        times
    }

    /// By id how often it is in the lake, and as often in the topic.
    fn times(&self) -> BTreeMap<i64, u32> {
        let lake = times(lake_ids(&self.folder.path().join("lake")));
        assert_eq!(
            times(topic_ids(self.kafka, &format!("{}-out", self.name))),
            lake,
            "the topic has what the lake has"
        );
        lake
    }
}

#[test]
fn from_commit_goes_on_where_the_lake_ended() {
    let job = Job::stopped("moved-commit");
    job.produce(20..40);
    job.refuses_when_moved(1, 3, 10);
    assert_eq!(job.run_from("commit"), (0..40).map(|id| (id, 1)).collect());
    job.produce(40..60);
    job.refuses_when_moved(0, 25, 20);
    assert_eq!(job.run_from("commit"), (0..60).map(|id| (id, 1)).collect());
}

#[test]
fn from_group_reads_from_where_the_group_was_put() {
    let job = Job::stopped("moved-group");
    // Back: from id 7 on partition 1 comes twice.
    job.refuses_when_moved(1, 3, 10);
    let twice = |id: i64| if id % 2 == 1 && id >= 7 { 2 } else { 1 };
    let mut wanted: BTreeMap<i64, u32> = (0..20).map(|id| (id, twice(id))).collect();
    assert_eq!(job.run_from("group"), wanted);
    // Ahead: of partition 0 what is before id 30 is passed by.
    job.produce(20..40);
    job.refuses_when_moved(0, 15, 10);
    wanted.extend((20..40).filter(|id| id % 2 == 1 || *id >= 30).map(|id| (id, 1)));
    assert_eq!(job.run_from("group"), wanted);
}
