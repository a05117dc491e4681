//! The pipeline that is tortured, its folder, and what becomes of a record in it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::{component, put};
use crate::tag::version;

/// The source's topic.
pub const TOPIC: &str = "torture-in";

/// The output's topic.
pub const OUTPUT: &str = "torture-out";

/// The source's partitions.
pub const PARTITIONS: i32 = 6;

/// Of so many users the last one is in no table: rows of it are filtered.
pub const USERS: i64 = 50;

/// The plugin of the stage `poison` aborts on each id that leaves 13.
pub const POISON_EVERY: i64 = 1_000;

/// What has to become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the lake and in the topic.
    Kept,
    /// It is among the rejects.
    Rejected,
    /// It was left out on purpose.
    Filtered,
}

/// A record's id, if it has one, and what has to become of it.
pub fn fate(value: &[u8]) -> (Option<i64>, Fate) {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(value) else { return (None, Fate::Rejected) };
    let (id, user) = (record["id"].as_i64(), record["user"].as_i64());
    let fate = match (id, user) {
        (_, Some(user)) if user == USERS - 1 => Fate::Filtered,
        // A remainder has the sign of the id, in Rust and in the plugin.
        (Some(id), _) if id < 0 || id % POISON_EVERY == 13 => Fate::Rejected,
        _ => Fate::Kept,
    };
    (id, fate)
}

/// The folder of it all.
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// Writes the pipeline file, the plugins and the table.
    pub fn new(folder: &Path, brokers: &str) -> Self {
        let place = Self { folder: folder.to_path_buf() };
        let pipeline = format!(
            r#"
name = "torture"
workers = 2
epoch = {{ interval = "200ms" }}
batch = {{ rows = 500 }}

[source.events]
kafka = {{ brokers = "{brokers}", topic = "{TOPIC}", group = "torture", start = "earliest", properties = {{ "session.timeout.ms" = "6000", "heartbeat.interval.ms" = "1000" }} }}
format = "json"
columns = {{ id = "int64", user = "int64", partition = {{ type = "int32", from = "@partition" }}, offset = {{ type = "int64", from = "@offset" }} }}

[dimension.users]
file = {{ path = "users.csv", key = ["user"] }}
columns = {{ user = "int64", name = "utf8" }}

[[stage]]
name = "users"
lookup = {{ table = "users", key = "user", add = {{ name = "name" }}, missing = "filter" }}

[[stage]]
name = "poison"
plugin = {{ file = "poison.wasm", rename = {{ n = "id", m = "double" }} }}
config = {{ behaviour = "poison", n = {POISON_EVERY} }}

[[stage]]
name = "tag"
plugin = {{ file = "tag.wasm" }}

[output.lake]
columns = ["id", "partition", "offset", "double", "name", "version"]
parquet = {{ path = "lake", max_age = "1s" }}

[output.topic]
columns = ["id", "partition", "offset", "double", "name", "version"]
kafka = {{ brokers = "{brokers}", topic = "{OUTPUT}", key = "id" }}

[rejects]
file = {{ path = "rejects" }}
"#
        );
        fs::write(place.file("torture.toml"), pipeline).expect("a file");
        fs::write(place.file("poison.wasm"), component("hostile")).expect("a file");
        put(&place.plugin(), version(1));
        place.put_table(1);
        place
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A host's data folder.
    pub fn data(&self, host: usize) -> PathBuf {
        self.file(&format!("data-{host}"))
    }

    /// Whether a host has made a commit.
    pub fn has_committed(&self, host: usize) -> bool {
        fs::metadata(self.data(host).join("commit.log")).is_ok_and(|log| log.len() > 0)
    }

    /// The file of the plugin that is swapped.
    pub fn plugin(&self) -> PathBuf {
        self.file("tag.wasm")
    }

    /// Puts the table in place; its names say which it is.
    pub fn put_table(&self, number: u32) {
        let rows: String = (0..USERS - 1).map(|user| format!("{user},user-{user}-{number}\n")).collect();
        put(&self.file("users.csv"), format!("user,name\n{rows}"));
    }

    /// What still lies in the staging of lake or rejects.
    ///
    /// # Errors
    /// When something does: names it.
    pub fn nothing_is_staged(&self) -> Result<(), String> {
        let staged: Vec<PathBuf> =
            ["lake", "rejects"].iter().flat_map(|lake| all_files(&self.file(lake).join(".staging"))).collect();
        if staged.is_empty() { Ok(()) } else { Err(format!("left in staging: {staged:?}")) }
    }
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry of the folder").path());
    paths.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_one_fate() {
        let fate = |text: &str| fate(text.as_bytes());
        assert_eq!(fate(r#"{"id":1,"user":2}"#), (Some(1), Fate::Kept));
        assert_eq!(fate(r#"{"id":1013,"user":2}"#), (Some(1013), Fate::Rejected));
        assert_eq!(fate(r#"{"id":-5,"user":2}"#), (Some(-5), Fate::Rejected));
        assert_eq!(fate(r#"{"id":-5,"user":49}"#), (Some(-5), Fate::Filtered));
        assert_eq!(fate(r#"{"id":"#), (None, Fate::Rejected));
    }
}
