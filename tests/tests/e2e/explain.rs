//! Promise: a file of the lake says by itself which records, epochs, plan, plugin and config made it.

use std::fs;
use std::path::PathBuf;

use millstream::digest::digest;
use millstream_tests::host::{component, fail, millstream, succeed, text};
use millstream_tests::lake::files;
use millstream_tests::tag::pipeline;
use serde_json::{Value, json};

const ROWS: u64 = 100;

/// Runs a pipeline to its end; the folder, and the only file of its lake.
fn made() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(folder.path(), r#"file = { path = "rows.jsonl" }"#);
    fs::write(folder.path().join("tag.wasm"), component("tag")).unwrap();
    let rows: String = (0..ROWS).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
    let run = ["--until-caught-up", "--no-progress", "--set", "workers=1"];
    succeed(millstream().arg("run").arg(pipeline).args(run));
    let files = files(&folder.path().join("lake"));
    assert_eq!(files.len(), 1, "{files:?}");
    (folder, files[0].clone())
}

#[test]
fn a_file_says_what_made_it() {
    let (folder, file) = made();
    // Nothing but the file is needed.
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let said = succeed(millstream().args(["explain", "--json"]).arg(&file));
    let said: Value = serde_json::from_str(&text(&said.stdout)).unwrap();
    assert_eq!((&said["rows"], &said["pipeline"], &said["plan"]), (&json!(ROWS), &json!("tag"), &json!(1)));
    assert_eq!((&said["epochs"], &said["incarnation"]), (&json!([1, 1]), &json!(1)));
    assert_eq!(said["stages"], json!({ "tag": digest(&component("tag")) }));
    assert_eq!(said["config"], json!({ "tag": {} }));
    let partition = folder.path().join("rows.jsonl");
    assert_eq!((&said["read"][0]["source"], &said["read"][0]["first"]), (&json!("rows"), &json!(0)), "{said}");
    assert_eq!(said["read"][0]["partition"], json!(partition), "{said}");
    let table = text(&succeed(millstream().arg("explain").arg(&file)).stdout);
    for part in
        ["rows      100 in 1 row group", "pipeline  tag", "epochs    1", "plan      1, fingerprint ", "rows.jsonl"]
    {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn what_is_no_file_of_ours_is_named() {
    let (folder, file) = made();
    let explain = |path: PathBuf| fail(millstream().arg("explain").arg(path));
    let said = explain(folder.path().join("lake"));
    assert!(said.contains("lake is a folder") && said.contains("help:  name one Parquet file"), "{said}");
    let said = explain(folder.path().join("tag.toml"));
    assert!(said.contains("tag.toml is not a whole Parquet file"), "{said}");
    let said = explain(folder.path().join("lake/none.parquet"));
    assert!(said.contains("none.parquet cannot be read: No such file"), "{said}");
    let mut half = fs::read(&file).unwrap();
    half.truncate(half.len() / 2);
    fs::write(&file, half).unwrap();
    let said = explain(file);
    assert!(said.contains("is not a whole Parquet file"), "{said}");
}
