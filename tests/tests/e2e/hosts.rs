//! Promise: hosts of one group share a pipeline's work, lake and commit topic. Whoever joins, leaves, dies, or stands still
//! and comes back: each row is once in the lake and once in the topic, or once among the rejects.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_tests::delivery::{Delivery, SHORT_SESSION};
use millstream_tests::host::{Host, fail, millstream, succeed};
use millstream_tests::kafka::{Kafka, send};
use millstream_tests::lake::batches;
use rdkafka::producer::{BaseRecord, Producer};
use tempfile::TempDir;

use crate::topics::{each_once, event, lake_ids, topic_ids};

const PARTITIONS: i32 = 4;
/// Each so many records one is none.
const BROKEN_EVERY: i64 = 100;

/// A pipeline that several hosts run, and a producer that goes on all the time.
struct Job {
    kafka: &'static Kafka,
    name: String,
    folder: TempDir,
    written: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    producer: Option<JoinHandle<()>>,
}

impl Job {
    fn new(name: &str) -> Self {
        let kafka = Kafka::shared();
        kafka.create_topic(name, PARTITIONS);
        kafka.create_topic(&format!("{name}-out"), 2);
        let folder = tempfile::tempdir().unwrap();
        let (brokers, out) = (kafka.brokers(), format!("{name}-out"));
        let delivery = Delivery {
            brokers: &brokers,
            topic: name,
            group: name,
            source: SHORT_SESSION,
            out: &out,
            lake: r#", max_age = "700ms""#,
        };
        let pipeline = format!(
            r#"
name = "{name}"
workers = 2
epoch = {{ interval = "200ms" }}
batch = {{ rows = 500 }}
{}
[rejects]
file = {{ path = "rejects" }}
"#,
            delivery.toml()
        );
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        let (written, stop) = (Arc::<AtomicI64>::default(), Arc::<AtomicBool>::default());
        let producer = std::thread::spawn({
            let (written, stop, topic) = (Arc::clone(&written), Arc::clone(&stop), name.to_owned());
            move || produce(kafka, &topic, &written, &stop)
        });
        Self { kafka, name: name.to_owned(), folder, written, stop, producer: Some(producer) }
    }

    /// Host `data` with its own data folder.
    fn run(&self, data: &str) -> Command {
        let mut run = millstream();
        run.arg("run").arg(self.folder.path().join("pipeline.toml")).args(["--no-progress"]);
        run.arg("--set").arg(format!("data={}", self.folder.path().join(data).display()));
        run.args(["--log", "info,millstream=debug"]);
        run
    }

    fn follow(&self, data: &str) -> Host {
        let mut host = Host::start(self.run(data).arg("--follow"));
        host.wait_for("running");
        host
    }

    /// The producer stops; how many records it wrote.
    fn stop_producing(&mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(producer) = self.producer.take() {
            producer.join().unwrap();
        }
        self.written.load(Ordering::Relaxed)
    }

    /// The producer stops, the hosts end, one reads what is left: each record has one place.
    fn finish(mut self, hosts: Vec<Host>) {
        let written = self.stop_producing();
        hosts.into_iter().for_each(|host| drop(host.finish()));
        succeed(self.run("last").arg("--until-caught-up"));
        self.holds(written);
        let wanted: Vec<i64> = whole(written).collect();
        assert_eq!(each_once(topic_ids(self.kafka, &format!("{}-out", self.name))), wanted, "the topic");
    }

    /// Each record has one place in the lake or among the rejects, and the group has read all.
    fn holds(&self, written: i64) {
        let wanted: Vec<i64> = whole(written).collect();
        assert_eq!(each_once(lake_ids(&self.folder.path().join("lake"))), wanted, "the lake");
        let rejects: usize = batches(&self.folder.path().join("rejects")).map(|batch| batch.num_rows()).sum();
        assert_eq!(rejects as i64, written - wanted.len() as i64, "the rejects");
        let ends = self.kafka.end_offsets(&self.name).into_iter().map(Some).collect::<Vec<_>>();
        assert_eq!(self.kafka.committed_offsets(&self.name, &self.name, PARTITIONS), ends, "the group's offsets");
        assert_eq!(staged(&self.folder.path().join("lake")), Vec::<String>::new(), "left in staging");
    }
}

/// The records that are no broken ones.
fn whole(written: i64) -> impl Iterator<Item = i64> {
    (0..written).filter(|id| id % BROKEN_EVERY != 7)
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// About 1,000 records a second, until it is told to stop.
fn produce(kafka: &Kafka, topic: &str, written: &AtomicI64, stop: &AtomicBool) {
    let producer = kafka.producer(&[]);
    while !stop.load(Ordering::Relaxed) {
        let first = written.load(Ordering::Relaxed);
        for id in first..first + 20 {
            let (value, partition) = (event(id, id % BROKEN_EVERY == 7), (id % i64::from(PARTITIONS)) as i32);
            send(&producer, BaseRecord::to(topic).partition(partition).payload(value.as_bytes()));
        }
        written.store(first + 20, Ordering::Relaxed);
        // The pace at which records come.
        producer.poll(Duration::from_millis(20));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// Waits until a host has committed rows of its own: before, it says what it was dealt, which may be nothing.
fn works(host: &mut Host) {
    while host.wait_for("committed epoch=").contains(" read=0 ") {}
}

/// What lies in a lake's staging.
fn staged(lake: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for folder in fs::read_dir(lake.join(".staging")).into_iter().flatten().map(Result::unwrap) {
        found.extend(fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path().display().to_string()));
    }
    found
}

#[test]
fn hosts_that_join_leave_and_die_share_the_work() {
    let job = Job::new("hosts");
    let mut one = job.follow("one");
    // Its files stay open for as long as it lives.
    let mut two = Host::start(job.run("two").args(["--follow", "--set", "output.lake.parquet.max_age=1h"]));
    works(&mut two);
    // Dies with rows in the spool: who is left makes files of them.
    two.kill();
    let adopted = one.wait_for("a host is gone from the group: what it left is brought to an end");
    let rows = adopted.split("rows=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(rows.is_some_and(|rows| rows > 0), "the rows of its spool get their files: {adopted}");
    works(&mut one);
    let mut two = job.follow("two");
    let mut three = job.follow("three");
    works(&mut three);
    // Leaves: the others go on with its partitions at once.
    one.finish();
    works(&mut two);
    three.kill();
    let mut three = job.follow("three");
    works(&mut three);
    job.finish(vec![two, three]);
}

/// How often a host stands still: few times here, 50 with `MILLSTREAM_PAUSES=50`.
fn pauses() -> usize {
    std::env::var("MILLSTREAM_PAUSES").map_or(3, |pauses| pauses.parse().expect("MILLSTREAM_PAUSES is a number"))
}

#[test]
fn a_host_that_stands_still_past_its_session_comes_back_and_harms_nothing() {
    let job = Job::new("hosts-paused");
    let mut hosts = [job.follow("one"), job.follow("two")];
    for pause in 0..pauses() {
        let [one, two] = &mut hosts;
        let (still, other) = if pause % 2 == 0 { (one, two) } else { (two, one) };
        works(still);
        still.signal("STOP");
        other.wait_for("a host is gone from the group");
        works(other);
        still.signal("CONT");
        still.wait_for("running");
        works(still);
    }
    job.finish(hosts.into());
}

#[test]
fn what_one_host_takes_back_is_taken_back_for_all() {
    let mut job = Job::new("hosts-rewound");
    let mut hosts = [job.follow("one"), job.follow("two")];
    hosts.iter_mut().for_each(works);
    let written = job.stop_producing();
    let [one, two] = hosts;
    // The first that ends leaves, the last one stays in the group for its session: its own rewind may be made at once.
    two.finish();
    one.finish();
    succeed(job.run("one").arg("--until-caught-up"));
    let mut rewind = millstream();
    rewind.arg("rewind").arg(job.folder.path().join("pipeline.toml"));
    rewind.arg("--set").arg(format!("data={}", job.folder.path().join("one").display()));
    succeed(rewind.args([
        "--replace",
        "--yes",
        "--topics-again",
        "--to-offset",
        "events/0=0",
        "--to-offset",
        "events/1=0",
    ]));
    // What the other host committed of these partitions is farther, and older.
    succeed(job.run("two").arg("--until-caught-up"));
    job.holds(written);
}

#[test]
fn hosts_of_a_group_write_into_one_lake() {
    let job = Job::new("hosts-lakes");
    let mut one = job.follow("one");
    works(&mut one);
    let said = fail(job.run("two").args(["--follow", "--set", "output.lake.parquet.path=elsewhere"]));
    assert!(said.contains("writes into another lake") && said.contains("share one lake"), "{said}");
    let said = fail(job.run("one").arg("--follow"));
    assert!(said.contains("in use by another running millstream"), "{said}");
    // A copy of its data folder is another host.
    fs::create_dir(job.folder.path().join("copy")).unwrap();
    for file in ["host.json", "commit.log"] {
        fs::copy(job.folder.path().join("one").join(file), job.folder.path().join("copy").join(file)).unwrap();
    }
    let mut copy = job.follow("copy");
    works(&mut copy);
    job.finish(vec![one, copy]);
}
