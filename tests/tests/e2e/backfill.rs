//! Promise: `rewind --into` reads a range again into a fresh lake, and the pipeline that it is of goes on untouched.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use millstream_tests::host::{Host, append, caught_up, fail, millstream, put, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::tag::{self, Growing, version};

use crate::replay::listed;
use crate::rewind::of_six_and_of_eight;

fn into(pipeline: &Path, folder: &Path, to: &[&str]) -> Command {
    let mut command = millstream();
    command.arg("rewind").arg(pipeline).arg("--into").arg(folder).args(to);
    command
}

/// Runs the command that was shown, as a person does, with a version of the plugin more.
fn run_shown(shown: &str) {
    let line = shown.lines().find(|line| line.starts_with("  millstream run ")).unwrap();
    let mut shell = Command::new("sh");
    let binary = millstream().get_program().to_string_lossy().into_owned();
    shell.arg("-c").arg(line.trim_start().replacen("millstream", &binary, 1) + " --no-progress");
    succeed(&mut shell);
}

fn once(ids: Range<i64>) -> BTreeMap<i64, u32> {
    ids.map(|id| (id, 1)).collect()
}

fn lake(folder: &Path) -> BTreeMap<i64, u32> {
    tag::read_lake(folder).ids
}

#[test]
fn a_range_of_a_file_goes_into_a_fresh_lake_while_the_host_runs() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    (0..4).for_each(|id| growing.add_file(&mut host, id));
    growing.add(&mut host, -4);
    put(&growing.file("two.wasm"), version(2));
    let fresh = growing.file("fresh");
    // Row 2 begins at byte 18.
    let mut command = into(&growing.pipeline, &fresh, &["--to-offset", "rows/rows.jsonl=20"]);
    let plugin = format!("stage.tag.plugin.file={}", growing.file("two.wasm").display());
    let shown = text(&succeed(command.args(["--set", &plugin])).stdout);
    assert!(shown.contains("rows.jsonl  18"), "{shown}");
    assert_eq!(lake(&fresh.join("tagged")), BTreeMap::new());
    run_shown(&shown);
    let read = tag::read_lake(&fresh.join("tagged"));
    assert_eq!(read.ids, once(2..4));
    assert_eq!(read.versions.into_values().flatten().collect::<Vec<_>>(), ["version-0002"]);
    assert!(fresh.join("state/rejects").is_dir(), "its own rejects");
    growing.add(&mut host, 5);
    host.finish();
    assert_eq!(growing.lake().ids, [(0, 1), (1, 1), (2, 1), (3, 1), (5, 1)].into());
    assert_eq!((growing.versions(), listed(&growing.pipeline).len()), (["version-0001".to_owned()].into(), 1));
    // The fresh one goes on by itself.
    append(&growing.file("rows.jsonl"), "{\"id\":6}");
    run_shown(&shown);
    assert_eq!(lake(&fresh.join("tagged")), [(2, 1), (3, 1), (5, 1), (6, 1)].into());
}

#[test]
fn a_range_of_a_topic_goes_into_a_fresh_lake_while_the_host_runs() {
    let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
    kafka.create_topic("backfill", 2);
    let pipeline = tag::topic_pipeline(folder.path(), kafka, "backfill");
    put(&folder.path().join("tag.wasm"), version(1));
    let produce = |ids: Range<i64>| kafka.produce("backfill", 2, ids.map(|id| format!("{{\"id\":{id}}}")));
    produce(0..20);
    succeed(&mut caught_up(&pipeline));
    let mut host = Host::follow(&pipeline, &["epoch.interval=100ms"]);
    let (all, one) = (folder.path().join("all"), folder.path().join("one"));
    let shown_all = text(&succeed(&mut into(&pipeline, &all, &["--to-time", "2000-01-01T00:00:00Z"])).stdout);
    let shown_one = text(&succeed(&mut into(&pipeline, &one, &["--to-offset", "rows/1=7"])).stdout);
    produce(20..24);
    host.wait_for("read=");
    run_shown(&shown_all);
    run_shown(&shown_one);
    host.finish();
    succeed(&mut caught_up(&pipeline));
    assert_eq!(lake(&folder.path().join("lake")), once(0..24));
    assert_eq!(lake(&all.join("tagged")), once(0..24));
    // Partition 1 has the odd ids: from its eighth record on, and what came to the other one since.
    assert_eq!(lake(&one.join("tagged")), [15, 17, 19, 20, 21, 22, 23].map(|id| (id, 1)).into());
    let ends: Vec<_> = kafka.end_offsets("backfill").into_iter().map(Some).collect();
    for group in ["backfill", "backfill-all", "backfill-one"] {
        assert_eq!(kafka.committed_offsets(group, "backfill", 2), ends, "{group}");
    }
}

#[test]
fn what_was_produced_from_a_time_on_goes_into_a_fresh_lake() {
    let (folder, pipeline) = of_six_and_of_eight("backfill-time");
    let fresh = folder.path().join("fresh");
    let shown = text(&succeed(&mut into(&pipeline, &fresh, &["--to-time", "2013-01-31T07:00:00Z"])).stdout);
    run_shown(&shown);
    assert_eq!(lake(&fresh.join("tagged")), once(10..20));
    assert_eq!(lake(&folder.path().join("lake")), once(0..20));
}

#[test]
fn mistakes_leave_nothing() {
    let growing = Growing::new();
    let fresh = growing.file("fresh");
    let said = fail(&mut into(&growing.pipeline, &fresh, &["--to-offset", "rows/rows.jsonl=0"]));
    assert!(said.contains("nothing was read yet"), "{said}");
    fs::write(growing.file("rows.jsonl"), "{\"id\":1}\n").unwrap();
    succeed(&mut caught_up(&growing.pipeline));
    let said = fail(&mut into(&growing.pipeline, &fresh, &["--to-offset", "rows/rows.jsonl=99"]));
    assert!(said.contains("it was read up to offset 9") && !fresh.join("state").exists(), "{said}");
    fs::create_dir_all(&fresh).unwrap();
    fs::write(fresh.join("mine"), "").unwrap();
    let said = fail(&mut into(&growing.pipeline, &fresh, &["--to-offset", "rows/rows.jsonl=0"]));
    assert!(said.contains("is not empty") && said.contains("name one that is not there yet"), "{said}");
    let both = into(&growing.pipeline, &fresh, &["--to-offset", "rows/rows.jsonl=0", "--replace"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
    let pipeline = fs::read_to_string(&growing.pipeline).unwrap();
    let topic = "\n[output.topic]\nkafka = { brokers = \"nowhere:9\", topic = \"t\", format = \"json\" }\n";
    fs::write(&growing.pipeline, pipeline + topic).unwrap();
    let said = fail(&mut into(&growing.pipeline, &growing.file("other"), &["--to-offset", "rows/rows.jsonl=0"]));
    assert!(said.contains("what reached a topic cannot be taken back") && !growing.file("other").exists(), "{said}");
}
