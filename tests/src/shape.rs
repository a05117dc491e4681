//! The pipeline `shape`: its only stage writes the columns that its plugin or its config says.

use std::fs;
use std::path::{Path, PathBuf};

/// The pipeline file, in a folder of its own. Its rows come from `rows.jsonl`, its plugin is `shape.wasm`.
pub fn pipeline(folder: &Path) -> PathBuf {
    let path = folder.join("shape.toml");
    let text = r#"
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
    fs::write(&path, text).expect("a file");
    path
}
