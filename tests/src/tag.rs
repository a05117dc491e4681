//! The pipeline `tag`: its only stage writes its plugin's version beside every row, so that a lake says which version made
//! which row; and swaps of it under load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use tempfile::TempDir;

use crate::host::{Host, append, caught_up, component, millstream, put, succeed};
use crate::kafka::Kafka;
use crate::lake::{files, reader};
use crate::patience::wait_until;

const PARTITIONS: i32 = 4;

/// Rows that are produced at once.
const CHUNK: i64 = 10_000;

/// What is in a lake of the pipeline.
pub struct Lake {
    /// By id how often it is there.
    pub ids: BTreeMap<i64, u32>,
    /// By the digest in a file's footer the versions in its rows.
    pub versions: BTreeMap<String, BTreeSet<String>>,
}

/// What swaps under load came to.
pub struct Swapped {
    /// Rows that were produced.
    pub rows: i64,
    /// What is in the lake.
    pub lake: Lake,
    /// Of each swap, the time from the file in its place to the end of the epoch after which its rows come.
    pub times: Vec<Duration>,
    /// Of each swap, how long all workers stood still.
    pub pauses: Vec<Duration>,
}

/// The test's plugin, saying another version.
pub fn version(number: u32) -> Vec<u8> {
    let (mut bytes, text) = (component("tag"), b"version-0000");
    let at = bytes.windows(text.len()).position(|window| window == text).expect("the version in the component");
    bytes[at + 8..at + 12].copy_from_slice(format!("{number:04}").as_bytes());
    bytes
}

/// The pipeline file, in a folder of its own, with a source.
pub fn pipeline(folder: &Path, source: &str) -> PathBuf {
    let path = folder.join("tag.toml");
    let text = format!(
        r#"
name = "tag"
data = "state"
workers = 2

[source.rows]
{source}
format = "json"
columns = {{ id = "int64" }}

[[stage]]
name = "tag"
plugin = {{ file = "tag.wasm" }}

[output.tagged]
columns = ["id", "version"]
parquet = {{ path = "lake" }}
"#
    );
    fs::write(&path, text).expect("a file");
    path
}

/// The pipeline file of a topic, in a folder of its own; the group has the name of the topic.
pub fn topic_pipeline(folder: &Path, kafka: &Kafka, topic: &str) -> PathBuf {
    let brokers = kafka.brokers();
    let source =
        format!(r#"kafka = {{ brokers = "{brokers}", topic = "{topic}", group = "{topic}", start = "earliest" }}"#);
    pipeline(folder, &source)
}

/// The pipeline of a growing file.
pub struct Growing {
    folder: TempDir,
    /// The pipeline file.
    pub pipeline: PathBuf,
}

impl Growing {
    /// In a folder of its own, with the plugin's first version and no row yet.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pipeline = pipeline(folder.path(), r#"file = { path = "rows.jsonl" }"#);
        let growing = Self { folder, pipeline };
        fs::write(growing.file("rows.jsonl"), "").expect("a file");
        put(&growing.plugin(), version(1));
        growing
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plugin's file.
    pub fn plugin(&self) -> PathBuf {
        self.file("tag.wasm")
    }

    /// A run that follows it, in short epochs.
    pub fn start(&self, set: &[&str]) -> Host {
        let short = ["epoch.interval=100ms", "output.tagged.parquet.max_age=100ms"];
        Host::follow(&self.pipeline, &[&short, set].concat())
    }

    /// Adds a row and waits until its epoch is committed. The plugin refuses those below 0.
    pub fn add(&self, host: &mut Host, id: i64) {
        append(&self.file("rows.jsonl"), &format!("{{\"id\":{id}}}"));
        host.wait_for(if id < 0 { "read=1 out=0" } else { "read=1 out=1" });
    }

    /// Adds a row and waits until it has its file: the next one goes into another.
    pub fn add_file(&self, host: &mut Host, id: i64) {
        self.add(host, id);
        wait_until(&format!("row {id} has its file"), || self.lake().ids.contains_key(&id));
    }

    /// What is in its lake.
    pub fn lake(&self) -> Lake {
        read_lake(&self.file("lake"))
    }

    /// The versions that made its rows.
    pub fn versions(&self) -> BTreeSet<String> {
        self.lake().versions.into_values().flatten().collect()
    }
}

/// Reads all files of a lake.
pub fn read_lake(lake: &Path) -> Lake {
    let (mut ids, mut versions) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for file in files(lake) {
        let reader = reader(&file);
        let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
        let stages = metadata.iter().find(|entry| entry.key == "millstream.stages").unwrap().value.clone().unwrap();
        let stages: BTreeMap<String, String> = serde_json::from_str(&stages).unwrap();
        let versions = versions.entry(stages["tag"].clone()).or_default();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            for id in batch["id"].as_primitive::<Int64Type>().values() {
                *ids.entry(*id).or_default() += 1;
            }
            let text = arrow::compute::cast(&batch["version"], &DataType::Utf8).unwrap();
            versions.extend(text.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    Lake { ids, versions }
}

/// Swaps the plugin so many times while rows come from Kafka as fast as they can, to two workers.
///
/// # Panics
/// When a row is lost or doubled, or a file holds rows of another version than its footer says.
pub fn swap_under_load(kafka: &Kafka, topic: &str, swaps: u32) -> Swapped {
    kafka.create_topic(topic, PARTITIONS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipeline = topic_pipeline(folder.path(), kafka, topic);
    let plugin = folder.path().join("tag.wasm");
    put(&plugin, version(1));
    let (produced, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let produce = || {
        let first = produced.load(Ordering::Relaxed);
        kafka.produce(topic, PARTITIONS, (first..first + CHUNK).map(|id| format!("{{\"id\":{id}}}")));
        produced.store(first + CHUNK, Ordering::Relaxed);
    };
    let (mut times, mut pauses) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                produce();
            }
        });
        let mut run = millstream();
        let run = run.arg("run").arg(&pipeline).args(["--follow", "--no-progress", "--set", "epoch.interval=200ms"]);
        let mut host = Host::start(run);
        host.wait_for("running");
        for number in 2..swaps + 2 {
            let began = Instant::now();
            put(&plugin, version(number));
            let said = host.wait_for("swap: in place");
            times.push(began.elapsed());
            let pause_ms = said.split("pause_ms=").nth(1).and_then(|rest| rest.split(' ').next());
            pauses.push(Duration::from_millis(pause_ms.and_then(|ms| ms.parse().ok()).expect("the pause")));
        }
        stop.store(true, Ordering::Relaxed);
        host.finish();
    });
    // The last version may have come when everything was read: it gets rows of its own.
    produce();
    succeed(&mut caught_up(&pipeline));
    let lake = read_lake(&folder.path().join("lake"));
    let rows = produced.load(Ordering::Relaxed);
    assert_eq!(lake.ids.len() as i64, rows, "every id is there");
    assert_eq!(lake.ids.values().filter(|times| **times != 1).count(), 0, "and once");
    for (digest, found) in &lake.versions {
        assert_eq!(found.len(), 1, "files of {digest} hold one version: {found:?}");
    }
    Swapped { rows, lake, times, pauses }
}
