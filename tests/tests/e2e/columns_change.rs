//! Promise: a swap adds and drops nullable columns while the stream runs, and whoever reads old and new files together
//! sees one table; a swap that would break such a reader is refused.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use millstream_tests::host::{Host, component, millstream, python, succeed, text};
use serde_json::{Value, json};

/// The test's plugin, writing these columns.
fn writes(columns: &str) -> Vec<u8> {
    let (mut bytes, mark) = (component("shape"), b"columns: ");
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the columns in the component");
    let place = &mut bytes[at + mark.len()..at + 80];
    assert!(columns.len() < place.len(), "{columns} is too long");
    place.fill(b' ');
    place[..columns.len()].copy_from_slice(columns.as_bytes());
    bytes
}

/// A run that follows a growing file.
struct Run {
    folder: tempfile::TempDir,
    host: Host,
}

impl Run {
    fn start(columns: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = folder.path().join("shape.toml");
        let toml = r#"
name = "shape"
data = "state"
epoch = { interval = "100ms" }

[source.rows]
file = { path = "rows.jsonl" }
format = "json"
columns = { id = "int64" }

[[stage]]
name = "shape"
plugin = { file = "shape.wasm" }

[output.shaped]
parquet = { path = "lake", max_age = "100ms" }
"#;
        fs::write(&pipeline, toml).unwrap();
        fs::write(folder.path().join("rows.jsonl"), "").unwrap();
        put(folder.path(), columns);
        let mut run = millstream();
        run.arg("run").arg(&pipeline).args(["--follow", "--no-progress", "--log", "info,millstream=debug"]);
        let mut host = Host::start(&mut run);
        host.wait_for("running");
        Self { folder, host }
    }

    /// Adds a row and waits until its epoch is committed.
    fn add(&mut self, id: i64) {
        let mut rows = OpenOptions::new().append(true).open(self.folder.path().join("rows.jsonl")).unwrap();
        writeln!(rows, "{{\"id\":{id}}}").unwrap();
        self.host.wait_for("read=1 out=1");
    }

    fn swap(&mut self, columns: &str) {
        put(self.folder.path(), columns);
        self.host.wait_for("swap: in place");
    }

    fn refused(&mut self, columns: &str) -> String {
        put(self.folder.path(), columns);
        self.host.wait_for("swap: refused")
    }

    /// Ends the run; the rows of all its files as DuckDB and as pyarrow read them together.
    fn finish(self) -> Value {
        self.host.finish();
        let read = succeed(python("read_together.py").arg(self.folder.path().join("lake")));
        serde_json::from_str(&text(&read.stdout)).unwrap()
    }
}

/// Puts a version of the plugin in place as a build does: whole, or not at all.
fn put(folder: &Path, columns: &str) {
    let (fresh, plugin): (PathBuf, PathBuf) = (folder.join("shape.new"), folder.join("shape.wasm"));
    fs::write(&fresh, writes(columns)).unwrap();
    fs::rename(&fresh, &plugin).unwrap();
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
