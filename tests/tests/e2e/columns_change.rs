//! Promise: a swap adds and drops nullable columns while the stream runs, and whoever reads old and new files together
//! sees one table; a swap that would break such a reader is refused.

use std::fs;

use millstream_tests::host::{Host, append, put, python, succeed, text};
use millstream_tests::shape::{self, writes};
use serde_json::{Value, json};

/// A run that follows a growing file.
struct Run {
    folder: tempfile::TempDir,
    host: Host,
}

impl Run {
    fn start(columns: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = shape::pipeline(folder.path());
        fs::write(folder.path().join("rows.jsonl"), "").unwrap();
        put(&folder.path().join("shape.wasm"), writes(columns));
        let host = Host::follow(&pipeline, &[]);
        Self { folder, host }
    }

    /// Adds a row and waits until its epoch is committed.
    fn add(&mut self, id: i64) {
        append(&self.folder.path().join("rows.jsonl"), &format!("{{\"id\":{id}}}"));
        self.host.wait_for("read=1 out=1");
    }

    fn propose(&self, columns: &str) {
        put(&self.folder.path().join("shape.wasm"), writes(columns));
    }

    fn swap(&mut self, columns: &str) {
        self.propose(columns);
        self.host.wait_for("swap: in place");
    }

    fn refused(&mut self, columns: &str) -> String {
        self.propose(columns);
        self.host.wait_for("swap: refused")
    }

    /// Ends the run; the rows of all its files as DuckDB and as pyarrow read them together.
    fn finish(self) -> Value {
        self.host.finish();
        let read = succeed(python("read_together.py").arg(self.folder.path().join("lake")));
        serde_json::from_str(&text(&read.stdout)).unwrap()
    }
}

#[test]
fn files_from_before_and_after_a_column_came_and_went_are_one_table() {
    let mut run = Run::start("label=utf8?");
    run.add(1);
    run.swap("label=utf8? note=utf8?");
    run.add(2);
    run.swap("note=utf8? count=int64?");
    run.add(3);
    let read = run.finish();
    let rows = json!([
        { "id": 1, "label": "label 1", "note": null, "count": null },
        { "id": 2, "label": "label 2", "note": "note 2", "count": null },
        { "id": 3, "label": null, "note": "note 3", "count": 3 },
    ]);
    assert_eq!(read, json!({ "duckdb": rows, "pyarrow": rows }));
}

#[test]
fn a_swap_that_would_change_a_type_or_ask_for_values_that_old_files_lack_is_refused() {
    let mut run = Run::start("label=utf8?");
    run.add(1);
    let said = run.refused("label=int64?");
    assert!(said.contains(r#"would have column "label" as int64?, but its files have utf8?"#), "{said}");
    let said = run.refused("label=utf8? count=int64");
    assert!(said.contains(r#"would get column "count" int64, which older files do not have"#), "{said}");
    run.add(2);
    let read = run.finish();
    let rows = json!([{ "id": 1, "label": "label 1" }, { "id": 2, "label": "label 2" }]);
    assert_eq!(read, json!({ "duckdb": rows, "pyarrow": rows }));
}
