//! Promise: two plugins that need each other (a stage, and the one that reads its new column) go in together, at the end of
//! the same epoch, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream::digest::digest;
use millstream_tests::host::{Host, append, put};
use millstream_tests::lake::{files, reader};
use millstream_tests::shape::{self, writes};

/// What runs at first: the second stage reads `label`, which the first one writes.
const FIRST: &str = "label=utf8?";
const SECOND: &str = "other=utf8? <label=utf8?";

/// A run in which `second` reads what `first` writes.
struct Run {
    folder: tempfile::TempDir,
    host: Host,
}

impl Run {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = shape::pipeline(folder.path());
        let text = fs::read_to_string(&pipeline).unwrap();
        let stages = "[[stage]]\nname = \"first\"\nplugin = { file = \"first.wasm\" }\n\n\
                      [[stage]]\nname = \"second\"\nplugin = { file = \"second.wasm\" }\n";
        let stage = "[[stage]]\nname = \"shape\"\nplugin = { file = \"shape.wasm\" }\n";
        assert!(text.contains(stage), "{text}");
        fs::write(&pipeline, text.replace(stage, stages)).unwrap();
        fs::write(folder.path().join("rows.jsonl"), "").unwrap();
        put(&folder.path().join("first.wasm"), writes(FIRST));
        put(&folder.path().join("second.wasm"), writes(SECOND));
        let host = Host::follow(&pipeline, &[]);
        Self { folder, host }
    }

    fn put(&self, stage: &str, columns: &str) {
        put(&self.folder.path().join(stage).with_extension("wasm"), writes(columns));
    }

    /// Adds rows and waits until their epoch is committed.
    fn add(&mut self, ids: std::ops::Range<i64>) {
        let lines: Vec<String> = ids.clone().map(|id| format!("{{\"id\":{id}}}")).collect();
        append(&self.folder.path().join("rows.jsonl"), &lines.join("\n"));
        let rows = ids.end - ids.start;
        self.host.wait_for(&format!("read={rows} out={rows}"));
    }

    /// Ends the run; the pairs of digests that made files, by the ids in them, each once.
    fn finish(self) -> BTreeMap<i64, (String, String)> {
        self.host.finish();
        let mut made = BTreeMap::new();
        for file in files(&self.folder.path().join("lake")) {
            let reader = reader(&file);
            let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
            let stages = metadata.iter().find(|entry| entry.key == "millstream.stages").unwrap().value.clone().unwrap();
            let mut stages: BTreeMap<String, String> = serde_json::from_str(&stages).unwrap();
            let pair = (stages.remove("first").unwrap(), stages.remove("second").unwrap());
            for batch in reader.build().unwrap() {
                for id in batch.unwrap()["id"].as_primitive::<Int64Type>().values() {
                    assert_eq!(made.insert(*id, pair.clone()), None, "row {id} is there once");
                }
            }
        }
        made
    }
}

fn pair(first: &str, second: &str) -> (String, String) {
    (digest(&writes(first)), digest(&writes(second)))
}

#[test]
fn the_writer_and_the_reader_of_a_new_column_go_in_together() {
    let (next_first, next_second) = ("note=utf8?", "other=utf8? <note=utf8?");
    for reader_first in [true, false] {
        let mut run = Run::start();
        run.add(0..1);
        // Either alone would leave the other one without a column that it reads.
        let (one, other) = (("first", next_first), ("second", next_second));
        let (one, other) = if reader_first { (other, one) } else { (one, other) };
        run.put(one.0, one.1);
        let said = run.host.wait_for("swap: refused");
        assert!(said.contains(if reader_first { "\"note\"" } else { "\"label\"" }), "{said}");
        run.add(1..2);
        run.put(other.0, other.1);
        let said = run.host.wait_for("swap: accepted");
        assert!(said.contains("stage first: ") && said.contains("stage second: "), "{said}");
        run.host.wait_for("swap: in place");
        run.add(2..3);
        let made = run.finish();
        let (before, after) = (pair(FIRST, SECOND), pair(next_first, next_second));
        assert_eq!(made, BTreeMap::from([(0, before.clone()), (1, before), (2, after)]));
    }
}

#[test]
fn both_files_changed_in_one_moment_go_in_at_one_epoch() {
    let mut run = Run::start();
    run.add(0..1);
    let (next_first, next_second) = ("note=utf8?", "other=utf8? <note=utf8?");
    run.put("second", next_second);
    run.put("first", next_first);
    run.host.wait_for("swap: in place");
    run.add(1..2);
    let made = run.finish();
    assert_eq!(made, BTreeMap::from([(0, pair(FIRST, SECOND)), (1, pair(next_first, next_second))]));
}

#[test]
fn when_one_of_two_fails_its_probation_neither_stays() {
    let mut run = Run::start();
    // No row was seen yet, so nothing can be tried beside the stream.
    run.put("first", "note=utf8?");
    run.host.wait_for("swap: refused");
    run.put("second", "other=utf8? <note=utf8? !");
    run.host.wait_for("swap: in place");
    let rows: Vec<String> = (0..100).map(|id| format!("{{\"id\":{id}}}")).collect();
    append(&run.folder.path().join("rows.jsonl"), &rows.join("\n"));
    let said = run.host.wait_for("swap: failed its probation");
    assert!(said.contains("rejected 100.0% of the rows"), "{said}");
    run.host.wait_for("read=100 out=100");
    run.add(100..101);
    let made = run.finish();
    assert_eq!(made.len(), 101);
    assert_eq!(made.into_values().collect::<BTreeSet<_>>(), BTreeSet::from([pair(FIRST, SECOND)]));
}

#[test]
fn while_one_of_two_is_torn_the_other_waits() {
    let mut run = Run::start();
    run.add(0..1);
    let (next_first, next_second) = ("note=utf8?", "other=utf8? <note=utf8?");
    run.put("second", next_second);
    run.host.wait_for("swap: refused");
    let whole = writes(next_first);
    fs::write(run.folder.path().join("first.wasm"), &whole[..whole.len() / 2]).unwrap();
    run.host.wait_for("the file is no plugin that can run");
    run.add(1..2);
    fs::write(run.folder.path().join("first.wasm"), &whole).unwrap();
    run.host.wait_for("swap: in place");
    run.add(2..3);
    let made = run.finish();
    let before = pair(FIRST, SECOND);
    assert_eq!(made, BTreeMap::from([(0, before.clone()), (1, before), (2, pair(next_first, next_second))]));
}
