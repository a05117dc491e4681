//! Promise: a table is reloaded while the stream runs, as a whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use millstream_tests::host::{Host, append, put};
use millstream_tests::lake::batches;

/// A run that follows a growing file and joins it with a table.
struct Joined {
    folder: tempfile::TempDir,
    host: Host,
}

impl Joined {
    fn start(table: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = r#"
name = "joined"
data = "state"

[source.rows]
file = { path = "rows.jsonl" }
format = "json"
columns = { id = "int64", user = "int64" }

[dimension.users]
file = { path = "users.csv", key = ["user"] }
columns = { user = "int64", name = "utf8" }

[[stage]]
name = "users"
lookup = { table = "users", key = "user", add = { name = "name" }, missing = "null" }

[output.joined]
columns = ["id", "name"]
parquet = { path = "lake", max_age = "100ms" }

[epoch]
interval = "100ms"
"#;
        fs::write(folder.path().join("joined.toml"), pipeline).unwrap();
        fs::write(folder.path().join("rows.jsonl"), "").unwrap();
        fs::write(folder.path().join("users.csv"), table).unwrap();
        let host = Host::follow(&folder.path().join("joined.toml"), &[]);
        Self { folder, host }
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("users.csv")
    }

    /// Replaces the table's file as a job does that makes it: whole, by one rename.
    fn replace_table(&mut self, table: &str) {
        put(&self.table(), table);
    }

    /// Adds a row and waits until its epoch is committed.
    fn add(&mut self, id: i64, user: i64) {
        append(&self.folder.path().join("rows.jsonl"), &format!("{{\"id\":{id},\"user\":{user}}}"));
        self.host.wait_for("read=1 out=1");
    }

    /// Ends the run and returns the lake: by id the name that was joined.
    fn finish(self) -> BTreeMap<i64, Option<String>> {
        self.host.finish();
        read_lake(&self.folder.path().join("lake"))
    }
}

fn read_lake(lake: &Path) -> BTreeMap<i64, Option<String>> {
    let mut names = BTreeMap::new();
    for batch in batches(lake) {
        let text = arrow::compute::cast(&batch["name"], &DataType::Utf8).unwrap();
        let ids = batch["id"].as_primitive::<Int64Type>();
        let found = text.as_string::<i32>().iter().map(|name| name.map(str::to_owned));
        names.extend(ids.values().iter().copied().zip(found));
    }
    names
}

fn named(names: &[(i64, Option<&str>)]) -> BTreeMap<i64, Option<String>> {
    names.iter().map(|(id, name)| (*id, name.map(str::to_owned))).collect()
}

#[test]
fn a_changed_table_is_reloaded_while_the_stream_runs() {
    let mut joined = Joined::start("user,name\n1,Ann\n2,Bob\n");
    joined.add(1, 1);
    joined.add(2, 3);
    joined.replace_table("user,name\n1,Anna\n2,Bob\n3,Cleo\n");
    joined.host.wait_for("dimension reloaded");
    joined.add(3, 1);
    joined.add(4, 3);
    // Written in place, in two halves, and whole in the end.
    let mut file = File::create(joined.table()).unwrap();
    file.write_all(b"user,name\n1,Annabel\n").unwrap();
    file.sync_all().unwrap();
    file.write_all(b"2,Bob\n3,Cleopatra\n").unwrap();
    drop(file);
    while !joined.host.wait_for("dimension reloaded").contains("rows=3") {}
    joined.add(5, 3);
    let lake = joined.finish();
    let expected = [(1, Some("Ann")), (2, None), (3, Some("Anna")), (4, Some("Cleo")), (5, Some("Cleopatra"))];
    assert_eq!(lake, named(&expected));
}

#[test]
fn a_table_that_is_refused_changes_nothing_and_says_why() {
    let mut joined = Joined::start("user,name\n1,Ann\n2,Bob\n");
    joined.add(1, 1);
    joined.replace_table("user,name\n1,Anna\n1,Anton\n");
    let said = joined.host.wait_for("dimension not reloaded");
    assert!(said.contains("users") && said.contains("users.csv"), "{said}");
    joined.add(2, 1);
    // The next whole file is taken.
    joined.replace_table("user,name\n1,Anna\n2,Bob\n");
    joined.host.wait_for("dimension reloaded");
    joined.add(3, 1);
    assert_eq!(joined.finish(), named(&[(1, Some("Ann")), (2, Some("Ann")), (3, Some("Anna"))]));
}
