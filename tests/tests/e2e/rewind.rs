//! Promise: a stopped host goes back to an offset: what it read from there on is taken out of the lake and read again, and
//! in the end the lake is as if all had been read once, whatever step of it a `kill -9` hits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream_tests::host::{append, caught_up, fail, millstream, put, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::lake::{batches, files};
use millstream_tests::tag::{self, Growing, version};
use tempfile::TempDir;

use super::recovery::steps;
use super::replay::{counted, rejects};

/// By id how often it is in a lake, and the version that made it.
fn rows_in(lake: &Path) -> BTreeMap<i64, (u32, String)> {
    let mut rows = BTreeMap::new();
    for batch in batches(lake) {
        let versions = arrow::compute::cast(&batch["version"], &arrow::datatypes::DataType::Utf8).unwrap();
        for (id, version) in batch["id"].as_primitive::<Int64Type>().values().iter().zip(versions.as_string::<i32>()) {
            let row = rows.entry(*id).or_insert((0, String::new()));
            *row = (row.0 + 1, version.unwrap().to_owned());
        }
    }
    rows
}

fn rows(growing: &Growing) -> BTreeMap<i64, (u32, String)> {
    rows_in(&growing.file("lake"))
}

fn run(growing: &Growing) -> String {
    text(&succeed(&mut caught_up(&growing.pipeline)).stderr)
}

fn rewind(growing: &Growing, to: &str) -> Command {
    let mut command = millstream();
    command.arg("rewind").arg(&growing.pipeline).args(["--replace", "--to-offset", to]);
    command
}

/// A lake of three runs, a file each: ids 0 and 1, 2 and 3, 4 and 5; 8 bytes of the source's file a row.
fn three_files() -> Growing {
    let growing = Growing::new();
    for first in [0, 2, 4] {
        (first..first + 2).for_each(|id| append(&growing.file("rows.jsonl"), &format!("{{\"id\":{id}}}")));
        run(&growing);
    }
    assert_eq!(files(&growing.file("lake")).len(), 3);
    growing
}

fn made_by(versions: &[(std::ops::Range<i64>, u32)]) -> BTreeMap<i64, (u32, String)> {
    let of = |(ids, version): &(std::ops::Range<i64>, u32)| {
        let version = format!("version-{version:04}");
        ids.clone().map(move |id| (id, (1, version.clone()))).collect::<Vec<_>>()
    };
    versions.iter().flat_map(of).collect()
}

#[test]
fn what_was_read_from_an_offset_on_is_replaced() {
    let growing = three_files();
    put(&growing.plugin(), version(2));
    // Row 3 begins at byte 27; its file begins with row 2.
    let shown = text(&succeed(&mut rewind(&growing, "rows/rows.jsonl=27")).stdout);
    assert!(shown.contains("rows.jsonl  18") && shown.contains("nothing is changed yet: with --yes"), "{shown}");
    assert!(shown.contains("tagged  2") && shown.contains(".parquet"), "{shown}");
    assert_eq!(rows(&growing), made_by(&[(0..6, 1)]), "nothing is changed");
    let done = text(&succeed(rewind(&growing, "rows/rows.jsonl=27").arg("--yes")).stdout);
    assert!(done.contains("the next run reads again from there"), "{done}");
    assert_eq!(rows(&growing), made_by(&[(0..2, 1)]));
    let manifests = fs::read_dir(growing.file("lake/_manifest")).unwrap();
    let last = manifests.map(|entry| entry.unwrap().path()).max().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(last).unwrap()).unwrap();
    assert_eq!((manifest["files"].as_array().unwrap().len(), manifest["removed"].as_array().unwrap().len()), (0, 2));
    run(&growing);
    assert_eq!(rows(&growing), made_by(&[(0..2, 1), (2..6, 2)]));
}

#[test]
fn a_kill_at_each_step_of_a_rewind_is_no_harm() {
    let growing = three_files();
    for (step, found) in steps("published_files=0") {
        let shown = text(&succeed(&mut rewind(&growing, "rows/rows.jsonl=0")).stdout);
        let epoch = shown.split("with --yes, epoch ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let mut killed = rewind(&growing, "rows/rows.jsonl=0");
        let output = killed.arg("--yes").env("MILLSTREAM_KILL_AT", format!("{step}:{epoch}")).output().unwrap();
        assert_eq!(output.status.code(), None, "{step}: it was killed\n{}", text(&output.stderr));
        let log = run(&growing);
        assert!(log.contains(found), "{step}: the next start says what it found: {found:?}\n{log}");
        assert_eq!(rows(&growing), made_by(&[(0..6, 1)]), "{step}");
    }
}

#[test]
fn mistakes_change_nothing_and_are_named() {
    let growing = three_files();
    for (to, message) in [
        ("rows/rows.jsonl=55", "it was read up to offset 54"),
        ("rows/nothing.jsonl=0", "nothing was read of \"nothing.jsonl\" of source \"rows\""),
        ("raws/rows.jsonl=0", "nothing was read of a source \"raws\""),
    ] {
        let said = fail(rewind(&growing, to).arg("--yes"));
        assert!(said.contains(message), "{to}: {said}");
    }
    assert_eq!(rewind(&growing, "rows").output().unwrap().status.code(), Some(2));
    let host = growing.start(&[]);
    let said = fail(&mut rewind(&growing, "rows/rows.jsonl=0"));
    assert!(
        said.contains("is in use by another running millstream") && said.contains("help:  stop the other one"),
        "{said}"
    );
    host.finish();
    let mut to_time = millstream();
    to_time.arg("rewind").arg(&growing.pipeline).args(["--replace", "--to-time", "2013-01-31T07:00:00Z"]);
    let said = fail(&mut to_time);
    assert!(said.contains("source \"rows\" is no topic, so --to-time finds no place in it"), "{said}");
    let pipeline = fs::read_to_string(&growing.pipeline).unwrap();
    let topic = "\n[output.topic]\nkafka = { brokers = \"nowhere:9\", topic = \"t\", format = \"json\" }\n";
    fs::write(&growing.pipeline, pipeline + topic).unwrap();
    let said = fail(&mut rewind(&growing, "rows/rows.jsonl=0"));
    assert!(said.contains("what reached a topic cannot be taken back") && said.contains("--topics-again"), "{said}");
    assert_eq!(rows(&growing), made_by(&[(0..6, 1)]));
}

#[test]
fn a_topics_partition_is_read_again_from_there() {
    let kafka = Kafka::shared();
    kafka.create_topic("rewind", 2);
    let folder = tempfile::tempdir().unwrap();
    let pipeline = tag::topic_pipeline(folder.path(), kafka, "rewind");
    put(&folder.path().join("tag.wasm"), version(1));
    let read = |first: i64| {
        kafka.produce("rewind", 2, (first..first + 10).map(|id| format!("{{\"id\":{id}}}")));
        succeed(&mut caught_up(&pipeline));
    };
    [0, 10, 20].into_iter().for_each(read);
    let rewind = |to: &str| {
        let mut command = millstream();
        let how = if to.contains('=') { "--to-offset" } else { "--to-time" };
        succeed(command.arg("rewind").arg(&pipeline).args(["--replace", "--yes", how, to]))
    };
    let once = |ids: std::ops::Range<i64>| ids.map(|id| (id, 1)).collect::<BTreeMap<i64, u32>>();
    for to in ["rows/0=7", "rows/0=0", "rows/1=3", "2000-01-01T00:00:00Z"] {
        rewind(to);
        let left = tag::read_lake(&folder.path().join("lake"));
        assert!(left.ids.len() < 30 && left.ids.values().all(|times| *times == 1), "{to}: {:?}", left.ids);
        succeed(&mut caught_up(&pipeline));
        assert_eq!(tag::read_lake(&folder.path().join("lake")).ids, once(0..30), "{to}");
    }
}

/// A topic's records of two times, and the lake that they are read into, a file each time: ids 0 to 9 of six o'clock, 10 to 19
/// of eight, on 2013-01-31.
pub(crate) fn of_six_and_of_eight(topic: &str) -> (TempDir, PathBuf) {
    let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
    kafka.create_topic_with(topic, 2, &[("retention.ms", "-1")]);
    let pipeline = tag::topic_pipeline(folder.path(), kafka, topic);
    put(&folder.path().join("tag.wasm"), version(1));
    for (first, time_ms) in [(0, 1_359_612_000_000), (10, 1_359_619_200_000)] {
        kafka.produce_at(topic, 2, time_ms, (first..first + 10).map(|id| format!("{{\"id\":{id}}}")));
        succeed(&mut caught_up(&pipeline));
    }
    (folder, pipeline)
}

#[test]
fn what_was_produced_from_a_time_on_is_replaced() {
    let (folder, pipeline) = of_six_and_of_eight("rewind-time");
    let lake = folder.path().join("lake");
    let rewind = |time: &str, more: &[&str]| {
        let mut command = millstream();
        command.arg("rewind").arg(&pipeline).args(["--replace", "--to-time", time]).args(more);
        text(&succeed(&mut command).stdout)
    };
    let shown = rewind("2013-01-31T08:00:00.001Z", &[]);
    assert!(shown.contains("no file has rows from there on"), "{shown}");
    let mut before = made_by(&[(0..20, 1)]);
    for (number, time) in [(2, "2013-01-31T07:00:00Z"), (3, "2013-01-31T08:00:00Z")] {
        let shown = rewind(time, &[]);
        for partition in [0, 1] {
            let is_there = |line: &str| line.split_whitespace().eq(["rows", &partition.to_string(), "5"]);
            assert!(shown.lines().any(is_there), "{time}, partition {partition}: {shown}");
        }
        assert_eq!(rows_in(&lake), before, "{time}: nothing is changed");
        rewind(time, &["--yes"]);
        assert_eq!(rows_in(&lake), made_by(&[(0..10, 1)]), "{time}");
        put(&folder.path().join("tag.wasm"), version(number));
        succeed(&mut caught_up(&pipeline));
        before = made_by(&[(0..10, 1), (10..20, number)]);
        assert_eq!(rows_in(&lake), before, "{time}");
    }
}

/// Rows 0 and 1 were refused and then replayed, row 2 came behind them.
fn replayed() -> Growing {
    let growing = Growing::new();
    put(&growing.plugin(), version(9_000));
    fs::write(growing.file("rows.jsonl"), "{\"id\":0}\n{\"id\":1}\n").unwrap();
    run(&growing);
    put(&growing.plugin(), version(1));
    succeed(&mut rejects("replay", &growing.pipeline));
    append(&growing.file("rows.jsonl"), "{\"id\":2}");
    run(&growing);
    assert_eq!(rows(&growing), made_by(&[(0..3, 1)]));
    growing
}

#[test]
fn what_was_replayed_goes_with_its_records_and_comes_with_them() {
    for are_rejects_gone in [false, true] {
        let growing = replayed();
        if are_rejects_gone {
            files(&growing.file("state/rejects")).into_iter().for_each(|file| fs::remove_file(file).unwrap());
        }
        succeed(rewind(&growing, "rows/rows.jsonl=9").arg("--yes"));
        assert_eq!((rows(&growing), counted(&growing.pipeline)), (BTreeMap::new(), Vec::new()), "their file has both");
        put(&growing.plugin(), version(2));
        run(&growing);
        assert_eq!(rows(&growing), made_by(&[(0..3, 2)]));
    }
}

#[test]
fn what_was_replayed_from_earlier_records_stays() {
    let growing = replayed();
    succeed(rewind(&growing, "rows/rows.jsonl=18").arg("--yes"));
    assert_eq!(rows(&growing), made_by(&[(0..2, 1)]));
    assert_eq!(counted(&growing.pipeline), [("bad_version".to_owned(), 2, 2)]);
    run(&growing);
    assert_eq!(rows(&growing), made_by(&[(0..3, 1)]));
}

#[test]
fn rejects_whose_rows_go_with_others_count_as_not_replayed() {
    let growing = Growing::new();
    put(&growing.plugin(), version(9_000));
    fs::write(growing.file("rows.jsonl"), "{\"id\":0}\n").unwrap();
    run(&growing);
    put(&growing.plugin(), version(1));
    // A replay and the stream in one file.
    let mut host = growing.start(&["output.tagged.parquet.max_age=1h"]);
    succeed(&mut rejects("replay", &growing.pipeline));
    // Said behind the commit that has its last row.
    host.wait_for("replay: done");
    growing.add(&mut host, 1);
    host.finish();
    assert_eq!((rows(&growing), files(&growing.file("lake")).len()), (made_by(&[(0..2, 1)]), 1));
    let shown = text(&succeed(&mut rewind(&growing, "rows/rows.jsonl=9")).stdout);
    assert!(shown.contains("these count as not replayed") && shown.contains("  rejects-"), "{shown}");
    succeed(rewind(&growing, "rows/rows.jsonl=9").arg("--yes"));
    assert_eq!((rows(&growing), counted(&growing.pipeline)), (BTreeMap::new(), vec![("bad_version".to_owned(), 1, 0)]));
    run(&growing);
    assert_eq!(rows(&growing), made_by(&[(1..2, 1)]));
    succeed(&mut rejects("replay", &growing.pipeline));
    assert_eq!(rows(&growing), made_by(&[(0..2, 1)]));
}

#[test]
fn what_another_host_replayed_is_not_taken_back_behind_its_back() {
    let growing = Growing::new();
    let text_of = fs::read_to_string(&growing.pipeline).unwrap();
    fs::write(&growing.pipeline, text_of + "\n[rejects]\nfile = { path = \"rejects\" }\n").unwrap();
    put(&growing.plugin(), version(9_000));
    for id in 0..2 {
        append(&growing.file("rows.jsonl"), &format!("{{\"id\":{id}}}"));
        run(&growing);
    }
    put(&growing.plugin(), version(1));
    // Of both files of rejects, into one of the lake.
    let other = format!("data={}", growing.file("other").display());
    succeed(rejects("replay", &growing.pipeline).args(["--set", &other]));
    assert_eq!((rows(&growing), files(&growing.file("lake")).len()), (made_by(&[(0..2, 1)]), 1));
    let said = fail(rewind(&growing, "rows/rows.jsonl=9").arg("--yes"));
    assert!(said.contains("by another host") && said.contains("name an offset before the records"), "{said}");
    assert_eq!(rows(&growing), made_by(&[(0..2, 1)]));
    succeed(rewind(&growing, "rows/rows.jsonl=0").arg("--yes"));
    assert_eq!((rows(&growing), counted(&growing.pipeline)), (BTreeMap::new(), Vec::new()));
    run(&growing);
    assert_eq!(rows(&growing), made_by(&[(0..2, 1)]));
}

#[test]
fn a_time_is_found_after_a_replay() {
    let kafka = Kafka::shared();
    kafka.create_topic("rewind-replayed", 2);
    let folder = tempfile::tempdir().unwrap();
    let pipeline = tag::topic_pipeline(folder.path(), kafka, "rewind-replayed");
    let run = |plugin: u32| {
        put(&folder.path().join("tag.wasm"), version(plugin));
        succeed(&mut caught_up(&pipeline));
    };
    kafka.produce("rewind-replayed", 2, (0..10).map(|id| format!("{{\"id\":{id}}}")));
    run(9_000);
    put(&folder.path().join("tag.wasm"), version(1));
    succeed(&mut rejects("replay", &pipeline));
    let lake = || tag::read_lake(&folder.path().join("lake")).ids;
    let once: BTreeMap<i64, u32> = (0..10).map(|id| (id, 1)).collect();
    assert_eq!(lake(), once);
    let mut rewind = millstream();
    succeed(rewind.arg("rewind").arg(&pipeline).args(["--replace", "--yes", "--to-time", "2000-01-01T00:00:00Z"]));
    assert_eq!((lake(), counted(&pipeline)), (BTreeMap::new(), Vec::new()));
    run(1);
    assert_eq!(lake(), once);
}
