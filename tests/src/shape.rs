//! The pipeline `shape`: its only stage writes the columns that its plugin or its config says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::component;

/// The test's plugin, writing these columns (`label=utf8?`), and reading others (`<note=utf8?`).
///
/// # Panics
/// When they are more than there is room for.
pub fn writes(columns: &str) -> Vec<u8> {
    let (mut bytes, mark) = (component("shape"), b"columns: ");
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the columns in the component");
    let place = &mut bytes[at + mark.len()..at + 80];
    assert!(columns.len() < place.len(), "{columns} is too long");
    place.fill(b' ');
    place[..columns.len()].copy_from_slice(columns.as_bytes());
    bytes
}

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
