//! Promise: a plugin is replaced while the stream runs, with no row lost, doubled or stuck, and every file's footer names
//! the plugin that made its rows.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;

use millstream::digest::digest;
use millstream_tests::host::{fail, millstream, put, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::tag::{Growing, swap_under_load, version};

const SWAPS: u32 = 20;

#[test]
fn twenty_swaps_from_kafka_lose_and_double_nothing() {
    let done = swap_under_load(Kafka::shared(), "swaps", SWAPS);
    for number in [1, SWAPS + 1] {
        let of_digest = done.lake.versions.get(&digest(&version(number)));
        assert_eq!(of_digest, Some(&BTreeSet::from([format!("version-{number:04}")])), "version {number}");
    }
}

#[test]
fn a_broken_or_half_written_file_changes_nothing_and_says_why() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    growing.add(&mut host, 1);
    fs::write(growing.plugin(), b"not a plugin").unwrap();
    host.wait_for("the file is no plugin that can run");
    let whole = version(2);
    fs::write(growing.plugin(), &whole[..whole.len() / 2]).unwrap();
    host.wait_for("the file is no plugin that can run");
    growing.add(&mut host, 2);
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
    fs::write(growing.plugin(), &whole).unwrap();
    host.wait_for("swap: in place");
    growing.add(&mut host, 3);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned(), "version-0002".to_owned()]));
}

#[test]
fn a_file_that_is_copied_in_pieces_is_taken_when_it_is_whole_and_nothing_is_said_of_its_pieces() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    growing.add(&mut host, 1);
    let whole = version(2);
    let mut file = fs::File::create(growing.plugin()).unwrap();
    for piece in whole.chunks(whole.len().div_ceil(8)) {
        file.write_all(piece).unwrap();
        file.sync_all().unwrap();
    }
    drop(file);
    host.wait_for("swap: in place");
    growing.add(&mut host, 2);
    let said = host.finish();
    assert!(!said.contains("the file is no plugin that can run"), "{said}");
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned(), "version-0002".to_owned()]));
}

#[test]
fn of_two_versions_within_a_second_the_last_one_runs() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    growing.add(&mut host, 1);
    put(&growing.plugin(), version(2));
    put(&growing.plugin(), version(3));
    let third = &digest(&version(3))[..12];
    // The second one may have been in between.
    while !host.wait_for("swap: in place").contains(third) {}
    growing.add(&mut host, 2);
    host.finish();
    let versions = growing.versions();
    assert!(versions.contains("version-0003") && versions.len() == 2, "{versions:?}");
    assert_eq!(growing.lake().ids, (1..3).map(|id| (id, 1)).collect());
}

#[test]
fn a_file_that_is_removed_changes_nothing_and_may_come_back() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    growing.add(&mut host, 1);
    fs::remove_file(growing.plugin()).unwrap();
    host.wait_for("the plugin's file is gone; the stage goes on as it is");
    growing.add(&mut host, 2);
    put(&growing.plugin(), version(2));
    host.wait_for("swap: in place");
    growing.add(&mut host, 3);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned(), "version-0002".to_owned()]));
}

#[test]
fn a_plugin_that_does_not_fit_changes_nothing_and_says_why() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    // It reads `row`, which nothing upstream has, and writes no `version`.
    let mut other = version(2);
    let at =
        other.windows(7).enumerate().filter(|(_, window)| window == b"version").map(|(at, _)| at).collect::<Vec<_>>();
    for at in at {
        if other.get(at + 7) != Some(&b'-') {
            other[at..at + 7].copy_from_slice(b"nosuchx");
        }
    }
    put(&growing.plugin(), other);
    host.wait_for("swap: refused");
    growing.add(&mut host, 1);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
}

#[test]
fn the_last_accepted_plugin_runs_after_a_restart() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    put(&growing.plugin(), version(2));
    host.wait_for("swap: in place");
    growing.add(&mut host, 1);
    host.finish();
    fs::write(growing.plugin(), b"not a plugin any more").unwrap();
    let mut host = growing.start(&[]);
    growing.add(&mut host, 2);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0002".to_owned()]));
}

#[test]
fn a_pinned_plugin_is_the_only_one_that_runs() {
    let growing = Growing::new();
    let pin = format!("stage.tag.plugin.sha256={}", digest(&version(7)));
    let mut run = millstream();
    let said = fail(run.arg("run").arg(&growing.pipeline).args(["--until-caught-up", "--set", &pin]));
    assert!(said.contains("is pinned to sha256"), "{said}");
    put(&growing.plugin(), version(7));
    let mut run = millstream();
    let output = succeed(run.arg("run").arg(&growing.pipeline).args(["--until-caught-up", "--set", &pin]));
    assert!(text(&output.stdout).contains("conserved"), "{}", text(&output.stdout));
}

#[test]
fn a_version_that_does_worse_beside_the_stream_is_held() {
    let growing = Growing::new();
    let mut host = growing.start(&[]);
    (1..5).for_each(|id| growing.add(&mut host, id));
    put(&growing.plugin(), version(9001));
    let said = host.wait_for("swap: held");
    assert!(said.contains("it rejects 100.0%, what runs 0.0%") && said.contains("stage accept"), "{said}");
    put(&growing.plugin(), version(8001));
    let said = host.wait_for("swap: held");
    assert!(said.contains("it rejects 100.0%"), "{said}");
    growing.add(&mut host, 5);
    // A good one goes in, whatever waits.
    put(&growing.plugin(), version(2));
    host.wait_for("swap: in place");
    growing.add(&mut host, 6);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned(), "version-0002".to_owned()]));
}

#[test]
fn a_version_that_fails_its_probation_leaves_nothing_in_the_lake() {
    for bad in [9001, 8001] {
        let growing = Growing::new();
        let mut host = growing.start(&[]);
        // No row was seen yet, so nothing can be tried beside the stream.
        put(&growing.plugin(), version(bad));
        host.wait_for("swap: in place");
        let rows: String = (1..101).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        fs::write(growing.file("rows.jsonl"), rows).unwrap();
        let said = host.wait_for("swap: failed its probation");
        assert!(said.contains("rejected 100.0% of the rows"), "{said}");
        host.wait_for("read=100 out=100");
        // It does not come back by itself, not even by a restart.
        host.finish();
        let mut host = growing.start(&[]);
        growing.add(&mut host, 101);
        host.finish();
        assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
        assert_eq!(growing.lake().ids, (1..102).map(|id| (id, 1)).collect(), "every row is there once");
        let rejects = fs::read_dir(growing.file("state/rejects")).unwrap();
        let files = rejects.filter(|entry| entry.as_ref().unwrap().path().extension().is_some());
        assert_eq!(files.count(), 0, "nothing was rejected");
    }
}

#[test]
fn with_manual_swaps_nothing_takes_over_by_itself() {
    let growing = Growing::new();
    let text = fs::read_to_string(&growing.pipeline).unwrap();
    fs::write(&growing.pipeline, text.replace("tag.wasm\" }", "tag.wasm\" }\nswap = \"manual\"")).unwrap();
    let mut host = growing.start(&[]);
    growing.add(&mut host, 1);
    put(&growing.plugin(), version(2));
    host.wait_for("swap: held");
    growing.add(&mut host, 2);
    host.finish();
    let mut host = growing.start(&[]);
    host.wait_for("swap: held");
    growing.add(&mut host, 3);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
}
