//! Promise: a host that is drained ends behind an epoch, and who starts on its savepoint goes on exactly where it stood, with the
//! rejects from before. A savepoint that would lack rows, or that is there already, is refused.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use millstream_tests::delivery::Delivery;
use millstream_tests::host::{Host, append, caught_up, fail, millstream, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::patience::wait_until;
use millstream_tests::tag::Growing;
use serde_json::Value;

use crate::replay::{counted, listed, total};
use crate::topics::{each_once, event, lake_ids, topic_ids};

const PARTITIONS: i32 = 2;

/// Ends the host that runs, if one does, and copies what it needs to go on.
fn drain(pipeline: &Path, savepoint: &Path) -> Command {
    let mut command = millstream();
    command.arg("drain").arg(pipeline).arg("--savepoint").arg(savepoint);
    command
}

/// Where a host stands.
fn standing(pipeline: &Path, savepoint: &Path) -> Value {
    serde_json::from_slice(&succeed(drain(pipeline, savepoint).arg("--json")).stdout).unwrap()
}

/// Of each hundred records of a partition the first one is none.
fn is_broken(id: i64) -> bool {
    id % 200 < 2
}

/// By partition and offset, ascending.
fn places(rejects: &[Value]) -> Vec<(String, i64)> {
    let place = |reject: &Value| (reject["partition"].as_str().unwrap().to_owned(), reject["offset"].as_i64().unwrap());
    let mut places: Vec<_> = rejects.iter().map(place).collect();
    places.sort();
    places
}

#[test]
fn who_starts_on_a_savepoint_goes_on_where_the_host_stood() {
    let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
    let file = |name: &str| folder.path().join(name);
    let brokers = kafka.brokers();
    kafka.create_topic("drained", PARTITIONS);
    kafka.create_topic("drained-out", 1);
    let delivery = Delivery {
        brokers: &brokers,
        topic: "drained",
        group: "drained",
        source: "",
        out: "drained-out",
        lake: r#", max_age = "300ms""#,
    };
    let pipeline = file("pipeline.toml");
    let toml = format!(
        r#"
name = "drained"
data = "state"
workers = 2
epoch = {{ interval = "100ms" }}
{}"#,
        delivery.toml()
    );
    fs::write(&pipeline, toml).unwrap();
    let produce = |ids: Range<i64>| kafka.produce("drained", PARTITIONS, ids.map(|id| event(id, is_broken(id))));
    let committed = || kafka.committed_offsets("drained", "drained", PARTITIONS);

    produce(0..1_000);
    let mut host = Host::follow(&pipeline, &[]);
    wait_until("both partitions are read", || committed().iter().all(Option::is_some));
    // In the middle of what comes.
    let drained = std::thread::scope(|scope| {
        scope.spawn(|| (1_000..6_000).step_by(1_000).for_each(|first| produce(first..first + 1_000)));
        standing(&pipeline, &file("savepoint"))
    });
    assert!(host.wait().success(), "{}", host.rest());
    let next: Vec<Option<i64>> = drained["next"].as_array().unwrap().iter().map(|next| next[2].as_i64()).collect();
    let read: Option<i64> = next.iter().copied().sum();
    assert_eq!((&next, drained["read"].as_i64()), (&committed(), read), "{drained}");

    // On another machine only the savepoint is there, and the lake.
    let (before, counts) = (listed(&pipeline), counted(&pipeline));
    assert!(!before.is_empty());
    fs::remove_dir_all(file("state")).unwrap();
    fs::rename(file("savepoint"), file("state")).unwrap();
    assert_eq!((listed(&pipeline), counted(&pipeline)), (before.clone(), counts), "the rejects came with it");

    produce(6_000..7_000);
    succeed(caught_up(&pipeline).arg("--moved"));
    let whole: Vec<i64> = (0..7_000).filter(|id| !is_broken(*id)).collect();
    assert_eq!(each_once(lake_ids(&file("lake"))), whole, "the lake");
    assert_eq!(each_once(topic_ids(kafka, "drained-out")), whole, "the topic");
    let rejects = listed(&pipeline);
    assert!(before.iter().all(|reject| rejects.contains(reject)), "those from before are there");
    let broken = (0..7_000).filter(|id| is_broken(*id));
    let mut wanted: Vec<(String, i64)> = broken.map(|id| ((id % 2).to_string(), id / 2)).collect();
    wanted.sort();
    assert_eq!(places(&rejects), wanted, "each record that is none is once among the rejects");
    assert_eq!(committed(), [Some(3_500), Some(3_500)], "the group's offsets");
    let now = standing(&pipeline, &file("again"));
    assert_eq!((&now["host"], &now["read"]), (&drained["host"], &Value::from(7_000)), "the same host went on");
}

#[test]
fn a_savepoint_that_would_lack_rows_or_is_there_already_is_refused() {
    let growing = Growing::new();
    let savepoint = growing.file("savepoint");
    let mut host = growing.start(&["output.tagged.parquet.max_age=1h"]);
    growing.add(&mut host, 1);
    // Its row is in the spool.
    host.kill();
    let said = fail(&mut drain(&growing.pipeline, &savepoint));
    assert!(said.contains("has rows whose files are still open") && said.contains("start it again"), "{said}");
    assert!(!savepoint.exists());
    let mut host = growing.start(&[]);
    let said = text(&succeed(&mut drain(&growing.pipeline, &savepoint)).stdout);
    assert!(said.contains(&format!("--set data={} --moved", savepoint.display())), "{said}");
    assert!(host.wait().success(), "{}", host.rest());
    let log = fs::read(savepoint.join("commit.log")).unwrap();
    let mut host = growing.start(&[]);
    let said = fail(&mut drain(&growing.pipeline, &savepoint));
    assert!(said.contains("is there already") && said.contains("name a folder that is not there yet"), "{said}");
    assert_eq!(fs::read(savepoint.join("commit.log")).unwrap(), log, "it is as it was");
    growing.add(&mut host, 2);
    host.finish();
    assert_eq!(growing.lake().ids, [(1, 1), (2, 1)].into(), "the host went on");
}

#[test]
fn who_goes_on_from_a_savepoint_of_files_says_that_the_folder_was_moved() {
    let growing = Growing::new();
    let savepoint = growing.file("savepoint");
    let mut host = growing.start(&[]);
    growing.add(&mut host, 1);
    growing.add(&mut host, -2);
    succeed(&mut drain(&growing.pipeline, &savepoint));
    assert!(host.wait().success(), "{}", host.rest());
    fs::remove_dir_all(growing.file("state")).unwrap();
    append(&growing.file("rows.jsonl"), "{\"id\":3}");
    let data = format!("data={}", savepoint.display());
    let elsewhere = ["--set", &data];
    let said = fail(caught_up(&growing.pipeline).args(elsewhere));
    assert!(said.contains("or was moved") && said.contains("`run --moved`"), "{said}");
    succeed(caught_up(&growing.pipeline).args(elsewhere).arg("--moved"));
    assert_eq!(growing.lake().ids, [(1, 1), (3, 1)].into());
    assert_eq!(total(&growing.pipeline, &elsewhere), (1, 0), "the reject from before");
    // Said once.
    succeed(caught_up(&growing.pipeline).args(elsewhere));
    assert_eq!(growing.lake().ids, [(1, 1), (3, 1)].into());
}
