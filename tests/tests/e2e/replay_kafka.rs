//! Promise: rejects of records of a topic are replayed as those of a file are, also where epochs become true in Kafka, and
//! where the rejects themselves are in a topic: once in the lake and once in the topic, whatever dies, and what the group has
//! read stays as it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, ops::Range};

use millstream::commit::last_commit;
use millstream::digest::digest;
use millstream_tests::host::{Host, caught_up, fail, millstream, put, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::tag::{self, version};
use tempfile::TempDir;

use crate::recovery::steps;
use crate::replay::{counted, listed, rejects, total};
use crate::topics::{each_once, topic_ids};

const PARTITIONS: i32 = 2;

/// Where rejects are.
#[derive(Clone, Copy, PartialEq)]
enum Rejects {
    Files,
    Topic,
}

/// The pipeline `tag` from a topic into a lake and a topic.
struct Job {
    kafka: &'static Kafka,
    name: String,
    folder: TempDir,
    pipeline: PathBuf,
}

impl Job {
    /// After a run in which the plugin refused 0 to 5.
    fn all_refused(name: &str, rejects: Rejects) -> Self {
        let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
        let brokers = kafka.brokers();
        kafka.create_topic(name, PARTITIONS);
        kafka.create_topic(&format!("{name}-out"), 1);
        kafka.create_topic(&format!("{name}-rejects"), 1);
        let pipeline = tag::topic_pipeline(folder.path(), kafka, name);
        let output = format!(
            "\n[output.topic]\ncolumns = [\"id\"]\nkafka = {{ brokers = \"{brokers}\", topic = \"{name}-out\", key = \"id\" }}\n"
        );
        let rejects = match rejects {
            Rejects::Files => String::new(),
            Rejects::Topic => {
                format!("[rejects]\nkafka = {{ brokers = \"{brokers}\", topic = \"{name}-rejects\" }}\n")
            }
        };
        let text =
            fs::read_to_string(&pipeline).unwrap().replace("name = \"tag\"\ndata", &format!("name = \"{name}\"\ndata"));
        fs::write(&pipeline, text + &output + &rejects).unwrap();
        let job = Self { kafka, name: name.to_owned(), folder, pipeline };
        job.put(9_000);
        job.produce(0..6);
        succeed(&mut caught_up(&job.pipeline));
        assert_eq!((job.lake(), counted(&job.pipeline)), (BTreeMap::new(), vec![("bad_version".to_owned(), 6, 0)]));
        job
    }

    fn put(&self, number: u32) {
        put(&self.folder.path().join("tag.wasm"), version(number));
    }

    fn produce(&self, ids: Range<i64>) {
        self.kafka.produce(&self.name, PARTITIONS, ids.map(|id| format!("{{\"id\":{id}}}")));
    }

    fn lake(&self) -> BTreeMap<i64, u32> {
        tag::read_lake(&self.folder.path().join("lake")).ids
    }

    fn topic(&self) -> Vec<i64> {
        each_once(topic_ids(self.kafka, &format!("{}-out", self.name)))
    }

    /// What it says of a replay.
    fn replay(&self, arguments: &[&str]) -> String {
        text(&succeed(rejects("replay", &self.pipeline).args(arguments)).stdout)
    }

    /// Every id is once in the lake and in the topic, and the group has read all of its own.
    fn check(&self, ids: Range<i64>) {
        assert_eq!(self.lake(), ids.clone().map(|id| (id, 1)).collect());
        assert_eq!(self.topic(), ids.collect::<Vec<_>>());
        let ends: Vec<_> = self.kafka.end_offsets(&self.name).into_iter().map(Some).collect();
        assert_eq!(self.kafka.committed_offsets(&self.name, &self.name, PARTITIONS), ends);
    }
}

#[test]
fn rejects_of_a_topic_are_replayed_once_by_a_running_host_and_by_none() {
    replayed_once(&Job::all_refused("replayed", Rejects::Files));
}

#[test]
fn rejects_in_a_topic_are_replayed_once_by_one_host() {
    let job = Job::all_refused("replayed-topic", Rejects::Topic);
    replayed_once(&job);
    // Another host knows nothing of that, whether it runs or not.
    let lake = job.lake();
    let said = fail(rejects("replay", &job.pipeline).args(["--set", "data=other"]));
    assert!(said.contains("to replay, which notes it"), "{said}");
    let host = Host::follow(&job.pipeline, &["data=other"]);
    let said = text(&succeed(rejects("replay", &job.pipeline).args(["--set", "data=other"])).stdout);
    assert!(said.contains("no reject goes in again") && said.contains("6 are host"), "{said}");
    host.finish();
    assert_eq!(job.lake(), lake);
    let left: Vec<_> = fs::read_dir(job.folder.path().join("other/replays")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn rejects_in_a_topic_are_chosen_by_plugin_and_time() {
    let job = Job::all_refused("replayed-chosen", Rejects::Topic);
    job.put(9_001);
    job.produce(6..8);
    succeed(&mut caught_up(&job.pipeline));
    // The last two are the newest.
    let since = listed(&job.pipeline)[1]["rejected_at"].as_str().unwrap().to_owned();
    let plugin = digest(&version(9_000))[..12].to_owned();
    let chosen = |options: &[&str]| total(&job.pipeline, options);
    assert_eq!((chosen(&["--since", &since]), chosen(&["--until", &since])), ((2, 0), (6, 0)));
    assert_eq!((chosen(&["--digest", &plugin]), chosen(&["--reason", "bad_version"])), ((6, 0), (8, 0)));
    job.put(1);
    let said = job.replay(&["--since", &since]);
    assert!(said.contains(": 2 rejects go in again"), "{said}");
    assert_eq!((job.lake(), job.topic()), ([(6, 1), (7, 1)].into(), vec![6, 7]));
    let said = job.replay(&["--digest", &plugin]);
    assert!(said.contains(": 6 rejects go in again"), "{said}");
    job.check(0..8);
    assert_eq!(chosen(&[]), (8, 8));
}

/// What was replayed is known for as long as it could be replayed again.
#[test]
fn what_was_replayed_of_rejects_that_their_topic_does_not_keep_is_forgotten() {
    let job = Job::all_refused("replayed-gone", Rejects::Topic);
    job.put(1);
    job.replay(&[]);
    job.kafka.delete_before(&format!("{}-rejects", job.name), 0, 4);
    job.produce(6..7);
    succeed(&mut caught_up(&job.pipeline));
    let last = last_commit(&job.folder.path().join("state")).unwrap().unwrap();
    let noted: Vec<_> = last.positions.iter().filter(|(partition, _)| partition.is_of_rejects()).collect();
    let [(_, position)] = noted[..] else { panic!("{noted:?}") };
    assert_eq!(position.ranges.as_slice()[0].0, 4, "{position:?}");
    assert_eq!(counted(&job.pipeline), [("bad_version".to_owned(), 2, 2)]);
    let said = job.replay(&[]);
    assert!(said.contains("no reject goes in again") && said.contains("2 were replayed already"), "{said}");
    job.check(0..7);
}

/// What a rewind cannot take out of a topic comes again with its record, and is not replayed beside it.
#[test]
fn rejects_in_a_topic_whose_records_are_read_again_are_not_replayed() {
    let job = Job::all_refused("replayed-rewound", Rejects::Topic);
    job.put(1);
    let mut rewind = millstream();
    rewind.arg("rewind").arg(&job.pipeline).args([
        "--replace",
        "--topics-again",
        "--to-offset",
        "rows/0=0",
        "--to-offset",
        "rows/1=1",
    ]);
    succeed(&mut rewind);
    assert_eq!(counted(&job.pipeline), [("bad_version".to_owned(), 6, 0)], "without --yes nothing changes");
    succeed(rewind.arg("--yes"));
    assert_eq!(counted(&job.pipeline), [("bad_version".to_owned(), 6, 5)], "all but the one that is not read again");
    let said = job.replay(&[]);
    assert!(said.contains("1 rejects go in again") && said.contains("5 were replayed already"), "{said}");
    succeed(&mut caught_up(&job.pipeline));
    job.check(0..6);
}

fn replayed_once(job: &Job) {
    job.put(1);
    // Those between them stay.
    let listed = listed(&job.pipeline);
    let some: Vec<&str> = [0, 2, 5].iter().map(|index| listed[*index]["id"].as_str().unwrap()).collect();
    let said = job.replay(&some);
    assert!(said.contains("3 rejects go in again"), "{said}");
    assert_eq!((job.lake().len(), job.topic().len()), (3, 3));
    let mut host = Host::follow(&job.pipeline, &["epoch.interval=100ms", "output.tagged.parquet.max_age=100ms"]);
    let said = job.replay(&[]);
    assert!(said.contains("3 rejects go in again") && said.contains("the running host takes them"), "{said}");
    host.wait_for("replay: done");
    job.produce(6..8);
    host.wait_for("out=");
    host.finish();
    // The records may have come after the host was told to end.
    succeed(&mut caught_up(&job.pipeline));
    job.check(0..8);
    let said = job.replay(&[]);
    assert!(said.contains("no reject goes in again") && said.contains("6 were replayed already"), "{said}");
    job.check(0..8);
    job.replay(&["--again"]);
    let twice = |id| (id, if id < 6 { 2 } else { 1 });
    assert_eq!(
        (job.lake(), counted(&job.pipeline)),
        ((0..8).map(twice).collect(), vec![("bad_version".to_owned(), 6, 6)])
    );
}

#[test]
fn a_kill_at_each_step_of_a_replay_that_becomes_true_in_kafka_loses_and_doubles_nothing() {
    killed_at_each_step(Rejects::Files, "replayed");
}

#[test]
fn a_kill_at_each_step_of_a_replay_from_a_topic_loses_and_doubles_nothing() {
    killed_at_each_step(Rejects::Topic, "replayed-topic");
}

fn killed_at_each_step(place: Rejects, name: &str) {
    for (step, _) in steps("") {
        let job = Job::all_refused(&format!("{name}-{step}"), place);
        job.put(1);
        // Its first commit says that it reads no partition; the one behind it has the outcome.
        let last = last_commit(&job.folder.path().join("state")).unwrap().unwrap().epoch;
        let mut killed = rejects("replay", &job.pipeline);
        let output = killed.env("MILLSTREAM_KILL_AT", format!("{step}:{}", last + 2)).output().unwrap();
        assert_eq!(output.status.code(), None, "{step}: it was killed\n{}", text(&output.stderr));
        // The next start goes on with it, whoever makes it.
        succeed(&mut caught_up(&job.pipeline));
        job.check(0..6);
        assert_eq!(counted(&job.pipeline), [("bad_version".to_owned(), 6, 6)], "{step}");
        assert_eq!(fs::read_dir(job.folder.path().join("state/replays")).unwrap().count(), 0, "{step}");
    }
}
