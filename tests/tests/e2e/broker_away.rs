//! Promise: a broker that is restarted, away for some time, or slow costs time and nothing else: the run goes on by itself, the
//! host keeps its place in the group, and each row is once in the lake and once in the topic.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_tests::delivery::Delivery;
use millstream_tests::host::{Host, caught_up, succeed};
use millstream_tests::kafka::Kafka;
use tempfile::TempDir;

use crate::topics::{each_once, lake_ids, topic_ids};

/// How long the broker is away: `MILLSTREAM_AWAY_SECONDS` says another time.
fn away() -> Duration {
    let seconds = std::env::var("MILLSTREAM_AWAY_SECONDS");
    Duration::from_secs(seconds.map_or(15, |seconds| seconds.parse().expect("MILLSTREAM_AWAY_SECONDS is a number")))
}

fn job(brokers: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let lake = r#", max_age = "1s""#;
    let delivery = Delivery { brokers, topic: "in", group: "away", source: "", out: "out", lake };
    let pipeline = format!(
        r#"
name = "away"
data = "state"
workers = 2
epoch = {{ interval = "200ms" }}
{}"#,
        delivery.toml()
    );
    fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
    folder
}

fn produce(kafka: &Kafka, ids: std::ops::Range<i64>) {
    kafka.produce("in", 2, ids.map(|id| format!("{{\"id\":{id}}}")));
}

fn holds(kafka: &Kafka, folder: &Path, rows: i64) {
    succeed(&mut caught_up(&folder.join("pipeline.toml")));
    let all: Vec<i64> = (0..rows).collect();
    assert_eq!(each_once(lake_ids(&folder.join("lake"))), all, "the lake");
    assert_eq!(each_once(topic_ids(kafka, "out")), all, "the topic");
}

#[test]
fn a_broker_that_is_restarted_or_away_costs_only_time() {
    let kafka = Kafka::start();
    kafka.create_topic("in", 2);
    kafka.create_topic("out", 1);
    let folder = job(&kafka.brokers());
    produce(&kafka, 0..1_000);
    let mut host = Host::follow(&folder.path().join("pipeline.toml"), &[]);
    host.wait_for("committed epoch=");
    for (round, time) in [Duration::ZERO, away()].into_iter().enumerate() {
        let first = 1_000 + round as i64 * 1_000;
        kafka.stop();
        #[expect(clippy::disallowed_methods, reason = "the broker's own absence is what is tested")]
        std::thread::sleep(time);
        kafka.start_again();
        produce(&kafka, first..first + 1_000);
        host.wait_for("committed epoch=");
        assert!(host.ended().is_none(), "it goes on");
    }
    host.finish();
    holds(&kafka, folder.path(), 3_000);
}

/// A way to the broker that lets so many bytes a second through, both ways together.
struct Slow {
    port: u16,
    bytes_per_second: Arc<AtomicU64>,
}

impl Slow {
    fn to(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes_per_second = Arc::new(AtomicU64::new(u64::MAX));
        let pace = Arc::clone(&bytes_per_second);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to, pace) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&pace));
                    std::thread::spawn(move || pass(from, to, &pace));
                }
            }
        });
        Self { port, bytes_per_second }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, bytes_per_second: &AtomicU64) {
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut block) {
        let pace = bytes_per_second.load(Ordering::Relaxed);
        #[expect(clippy::disallowed_methods, reason = "the pace is the point of the whole")]
        std::thread::sleep(Duration::from_secs_f64(count as f64 / pace as f64));
        if to.write_all(&block[..count]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

/// A broker behind a way that may become slow.
fn behind_slow() -> (Kafka, Slow) {
    let mut slow = None;
    let kafka = Kafka::start_behind(|port| slow.insert(Slow::to(port)).port);
    (kafka, slow.unwrap())
}

#[test]
fn a_slow_broker_slows_the_run_and_throws_nobody_out_of_the_group() {
    let (kafka, slow) = behind_slow();
    kafka.create_topic("in", 2);
    kafka.create_topic("out", 1);
    let folder = job(&format!("127.0.0.1:{}", slow.port));
    produce(&kafka, 0..50_000);
    let mut host = Host::follow(&folder.path().join("pipeline.toml"), &[]);
    // About 700 KB in and 1 MB out for all of it, at 40 KB a second and connection.
    slow.bytes_per_second.store(40_000, Ordering::Relaxed);
    host.wait_for("committed epoch=");
    #[expect(clippy::disallowed_methods, reason = "longer than its session")]
    std::thread::sleep(Duration::from_secs(15));
    slow.bytes_per_second.store(u64::MAX, Ordering::Relaxed);
    produce(&kafka, 50_000..50_100);
    let said = host.finish();
    assert!(!said.contains("took this host's partitions"), "{said}");
    assert!(!said.contains("goes back to the last commit"), "{said}");
    holds(&kafka, folder.path(), 50_100);
}

/// A pipeline in a folder of its own, from a source to the topic `out` by a slow way; rows are as long as their records.
fn wide_job(slow: &Slow, source: &str, properties: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("pipeline.toml");
    let brokers = format!("127.0.0.1:{}", slow.port);
    let toml = format!(
        r#"
name = "wide"
workers = 1
batch = {{ rows = 100 }}
epoch = {{ interval = "200ms" }}

[source.events]
{source}
format  = "json"
columns = {{ id = "int64", text = "utf8" }}

[output.topic]
from  = "source.events"
kafka = {{ brokers = "{brokers}", topic = "out", key = "id", properties = {{ "compression.codec" = "none"{properties} }} }}

[rejects]
file = {{ path = "rejects" }}
"#
    );
    fs::write(&pipeline, toml).unwrap();
    (folder, pipeline)
}

/// Records of a kilobyte each.
fn wide(ids: std::ops::Range<i64>) -> impl Iterator<Item = String> {
    let text = "x".repeat(1_000);
    ids.map(move |id| format!("{{\"id\":{id},\"text\":\"{text}\"}}"))
}

#[test]
fn rows_that_slow_brokers_take_longer_for_than_a_transaction_may_last_go_through() {
    let (kafka, slow) = behind_slow();
    kafka.create_topic("out", 1);
    let source = r#"file = { path = "events.jsonl" }"#;
    let (folder, pipeline) = wide_job(&slow, source, r#", "transaction.timeout.ms" = "15000""#);
    // 1.5 MB at 60 KB a second: 25 s, and all of it has room in the queue.
    let rows: Vec<String> = wide(0..1_500).collect();
    fs::write(folder.path().join("events.jsonl"), rows.join("\n")).unwrap();
    slow.bytes_per_second.store(60_000, Ordering::Relaxed);
    succeed(&mut caught_up(&pipeline));
    slow.bytes_per_second.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(each_once(topic_ids(&kafka, "out")), (0..1_500).collect::<Vec<_>>());
}

#[test]
fn hosts_join_and_leave_while_their_queues_are_full() {
    let (kafka, slow) = behind_slow();
    kafka.create_topic("in", 4);
    kafka.create_topic("out", 1);
    let source = format!(r#"kafka = {{ brokers = "127.0.0.1:{}", topic = "in", group = "full" }}"#, slow.port);
    let (folder, pipeline) = wide_job(&slow, &source, "");
    kafka.produce("in", 4, wide(0..3_000));
    // 3 MB out of here at 100 KB a second and host.
    slow.bytes_per_second.store(100_000, Ordering::Relaxed);
    let data = |name: &str| format!("data={}", folder.path().join(name).display());
    let mut first = Host::follow(&pipeline, &[&data("first")]);
    first.wait_for("committed epoch=");
    let mut second = Host::follow(&pipeline, &[&data("second")]);
    first.wait_for("partitions move");
    second.wait_for("committed epoch=");
    let said = first.finish();
    assert!(!said.contains("goes back to the last commit"), "{said}");
    second.wait_for("partitions move");
    second.wait_for("committed epoch=");
    let behind: i64 = kafka.committed_offsets("full", "in", 4).iter().flatten().sum();
    assert!(behind < 3_000, "there was nothing left to do");
    slow.bytes_per_second.store(u64::MAX, Ordering::Relaxed);
    second.finish();
    succeed(caught_up(&pipeline).args(["--set", &data("last")]));
    assert_eq!(each_once(topic_ids(&kafka, "out")), (0..3_000).collect::<Vec<_>>());
}
