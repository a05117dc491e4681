//! Promise: what is kept for a time only goes when it is over, without anybody who asks: rejects and captures. What a commit
//! or a replay needs stays.

use std::fs;
use std::path::{Path, PathBuf};

use millstream_tests::host::{Host, append, caught_up, fail, millstream, put, succeed, text};
use millstream_tests::lake::files;
use millstream_tests::tag::{Growing, version};
use serde_json::Value;

use crate::replay::{counted, rejects};

/// The pipeline `tag` whose rejects are kept so long.
fn keeping(keep: &str) -> Growing {
    let growing = Growing::new();
    let text = fs::read_to_string(&growing.pipeline).unwrap();
    let rejects = format!("\n[rejects]\nfile = {{ path = \"rejects\", keep = \"{keep}\" }}\n");
    fs::write(&growing.pipeline, text + &rejects).unwrap();
    growing
}

fn manifests(growing: &Growing) -> Vec<PathBuf> {
    fs::read_dir(growing.file("rejects/_manifest")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Makes what was committed look 31 days older.
fn age(growing: &Growing) {
    for path in manifests(growing) {
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let month_ms = 31 * 86_400_000;
        manifest["committed_at_ms"] = (manifest["committed_at_ms"].as_i64().unwrap() - month_ms).into();
        fs::write(path, manifest.to_string()).unwrap();
    }
}

fn run(pipeline: &Path) -> String {
    text(&succeed(&mut caught_up(pipeline)).stderr)
}

#[test]
fn a_running_host_deletes_rejects_whose_time_is_over() {
    let growing = keeping("1s");
    let mut host = growing.start(&[]);
    growing.add(&mut host, -1);
    let said = host.wait_for("rejects: their time is over, deleted");
    assert!(said.contains("files=1 rejects=1"), "{said}");
    host.finish();
    assert_eq!((files(&growing.file("rejects")).len(), manifests(&growing).len()), (0, 0));
    assert_eq!(counted(&growing.pipeline), []);
}

#[test]
fn a_start_deletes_old_rejects_and_keeps_young_ones_and_those_that_a_replay_waits_for() {
    let growing = keeping("30d");
    put(&growing.plugin(), version(9_000));
    fs::write(growing.file("rows.jsonl"), "{\"id\":1}\n").unwrap();
    run(&growing.pipeline);
    age(&growing);
    fs::write(growing.file("rows.jsonl"), "{\"id\":1}\n{\"id\":-2}\n").unwrap();
    put(&growing.plugin(), version(1));
    // A replay that dies before its rows are committed: it waits, and the old file for it.
    let killed = rejects("replay", &growing.pipeline).env("MILLSTREAM_KILL_AT", "prepared:2").output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", text(&killed.stderr));
    let said = run(&growing.pipeline);
    assert!(!said.contains("their time is over"), "{said}");
    assert_eq!(growing.lake().ids, [(1, 1)].into());
    assert_eq!(files(&growing.file("rejects")).len(), 2, "of 1, which was replayed, and of -2");
    let said = run(&growing.pipeline);
    assert!(said.contains("files=1 rejects=1") && said.contains("their time is over, deleted"), "{said}");
    assert_eq!(counted(&growing.pipeline), [("negative".to_owned(), 1, 0)]);
    assert!(last_commit(&growing).contains("@rejects"));
    append(&growing.file("rows.jsonl"), "{\"id\":3}");
    run(&growing.pipeline);
    assert!(!last_commit(&growing).contains("@rejects"), "what was replayed of a file that is gone is forgotten");
    assert_eq!(growing.lake().ids, [(1, 1), (3, 1)].into());
    // Nothing of it comes again.
    succeed(&mut rejects("replay", &growing.pipeline));
    assert_eq!(growing.lake().ids, [(1, 1), (3, 1)].into());
}

/// The positions in the last record of its commit log.
fn last_commit(growing: &Growing) -> String {
    let log = fs::read_to_string(growing.file("state/commit.log")).unwrap();
    let record = log.lines().rfind(|line| line.contains("\"positions\"")).unwrap();
    record.split("\"positions\"").nth(1).unwrap().split("\"outputs\"").next().unwrap().to_owned()
}

#[test]
fn how_long_rejects_are_kept_is_a_time() {
    for (keep, wrong) in
        [("0s", "is 0 ms"), ("-3d", "rejects.file.keep"), ("30", "rejects.file.keep"), ("9999d", "is 9999 d")]
    {
        let said = fail(millstream().arg("check").arg(&keeping(keep).pipeline));
        assert!(said.contains(wrong) && said.contains("help:"), "{keep}: {said}");
    }
}

/// Takes a row in front of the stage while rows come.
fn capture(growing: &Growing, host: &mut Host) -> PathBuf {
    let file = growing.file("captured.jsonl");
    let mut command = millstream();
    command.arg("capture").arg(growing.pipeline.join("tag")).args(["--rows", "1", "--out"]).arg(&file);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        growing.add(host, 1);
    }
    assert!(child.wait().unwrap().success());
    file
}

/// Makes it look as if the time of a capture was over.
fn expire(file: &Path) {
    let case = fs::read_to_string(file).unwrap();
    let (before, behind) = case.split_once("\"until\":\"").unwrap();
    put(file, format!("{before}\"until\":\"2020-01-01T00:00:00Z{}", &behind[behind.find('"').unwrap()..]));
}

#[test]
fn a_host_removes_captures_whose_time_is_over() {
    // It looks as often as the rejects want it.
    let growing = keeping("10s");
    let mut host = growing.start(&[]);
    let file = capture(&growing, &mut host);
    expire(&file);
    host.wait_for("a capture whose time was over is removed");
    assert!(!file.exists());
    let file = capture(&growing, &mut host);
    host.finish();
    run(&growing.pipeline);
    assert!(file.exists(), "its time is not over");
    expire(&file);
    run(&growing.pipeline);
    assert!(!file.exists(), "also at a start");
    assert_eq!(fs::read_dir(growing.file("state/captures")).unwrap().count(), 0);
}
