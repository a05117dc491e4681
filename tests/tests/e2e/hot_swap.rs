//! Promise: a plugin is replaced while the stream runs, with no row lost, doubled or stuck, and every file's footer names
//! the plugin that made its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use millstream::digest::digest;
use millstream_tests::host::{Host, component, fail, millstream, succeed, text};
use millstream_tests::kafka::Kafka;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const SWAPS: u32 = 20;
const PARTITIONS: i32 = 4;

/// The test's plugin, saying another version.
fn version(number: u32) -> Vec<u8> {
    let (mut bytes, text) = (component("tag"), b"version-0000");
    let at = bytes.windows(text.len()).position(|window| window == text).expect("the version in the component");
    bytes[at + 8..at + 12].copy_from_slice(format!("{number:04}").as_bytes());
    bytes
}

/// Puts a file in place as a build does: whole, or not at all.
fn put(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes).unwrap();
    fs::rename(&fresh, path).unwrap();
}

fn pipeline(folder: &Path, source: &str) -> PathBuf {
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
    fs::write(&path, text).unwrap();
    path
}

/// By id how often it is in the lake; and the versions by the digest in their file's footer.
fn read_lake(lake: &Path) -> (BTreeMap<i64, u32>, BTreeMap<String, BTreeSet<String>>) {
    let (mut ids, mut versions) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for entry in fs::read_dir(lake).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&entry).unwrap()).unwrap();
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
    (ids, versions)
}

#[test]
fn twenty_swaps_from_kafka_lose_and_double_nothing() {
    let kafka = Kafka::shared();
    kafka.create_topic("swaps", PARTITIONS);
    let folder = tempfile::tempdir().unwrap();
    let source = format!(
        r#"kafka = {{ brokers = "{}", topic = "swaps", group = "swaps", start = "earliest" }}"#,
        kafka.brokers()
    );
    let pipeline = pipeline(folder.path(), &source);
    let plugin = folder.path().join("tag.wasm");
    put(&plugin, &version(1));
    let (produced, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let first = produced.load(Ordering::Relaxed);
                kafka.produce("swaps", PARTITIONS, (first..first + 10_000).map(|id| format!("{{\"id\":{id}}}")));
                produced.store(first + 10_000, Ordering::Relaxed);
            }
        });
        let mut run = millstream();
        let mut host = Host::start(run.arg("run").arg(&pipeline).args([
            "--follow",
            "--no-progress",
            "--set",
            "epoch.interval=200ms",
        ]));
        host.wait_for("running");
        // Each version runs for two commits at least: its rows are in the lake before the next one comes.
        for number in 2..SWAPS + 2 {
            put(&plugin, &version(number));
            host.wait_for("swap: in place");
        }
        stop.store(true, Ordering::Relaxed);
        host.finish();
    });
    // The last version may have come when everything was read: it gets rows of its own.
    let first = produced.fetch_add(10_000, Ordering::Relaxed);
    kafka.produce("swaps", PARTITIONS, (first..first + 10_000).map(|id| format!("{{\"id\":{id}}}")));
    succeed(millstream().arg("run").arg(&pipeline).args(["--until-caught-up", "--no-progress"]));
    let (ids, versions) = read_lake(&folder.path().join("lake"));
    assert_eq!(ids.len() as i64, produced.load(Ordering::Relaxed), "every id is there");
    assert_eq!(ids.values().filter(|times| **times != 1).count(), 0, "and once");
    for (digest, found) in &versions {
        assert_eq!(found.len(), 1, "files of {digest} hold one version: {found:?}");
    }
    for number in [1, SWAPS + 1] {
        let of_digest = versions.get(&digest(&version(number)));
        assert_eq!(of_digest, Some(&BTreeSet::from([format!("version-{number:04}")])), "version {number}");
    }
}

/// A run that follows a growing file.
struct Growing {
    folder: tempfile::TempDir,
    pipeline: PathBuf,
}

impl Growing {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path(), r#"file = { path = "rows.jsonl" }"#);
        fs::write(folder.path().join("rows.jsonl"), "").unwrap();
        put(&folder.path().join("tag.wasm"), &version(1));
        Self { folder, pipeline }
    }

    fn start(&self) -> Host {
        let mut run = millstream();
        run.arg("run").arg(&self.pipeline).args(["--follow", "--no-progress", "--set", "epoch.interval=100ms"]);
        let mut host =
            Host::start(run.args(["--set", "output.tagged.parquet.max_age=100ms", "--log", "info,millstream=debug"]));
        host.wait_for("running");
        host
    }

    /// Adds a row and waits until its epoch is committed.
    fn add(&self, host: &mut Host, id: i64) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().append(true).open(self.folder.path().join("rows.jsonl")).unwrap();
        writeln!(file, "{{\"id\":{id}}}").unwrap();
        host.wait_for("read=1 out=1");
    }

    fn plugin(&self) -> PathBuf {
        self.folder.path().join("tag.wasm")
    }

    fn ids(&self) -> Vec<i64> {
        read_lake(&self.folder.path().join("lake"))
            .0
            .into_iter()
            .flat_map(|(id, times)| vec![id; times as usize])
            .collect()
    }

    fn versions(&self) -> BTreeSet<String> {
        read_lake(&self.folder.path().join("lake")).1.into_values().flatten().collect()
    }
}

#[test]
fn a_broken_or_half_written_file_changes_nothing_and_says_why() {
    let growing = Growing::new();
    let mut host = growing.start();
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
fn a_plugin_that_does_not_fit_changes_nothing_and_says_why() {
    let growing = Growing::new();
    let mut host = growing.start();
    // It reads `row`, which nothing upstream has, and writes no `version`.
    let mut other = version(2);
    let at =
        other.windows(7).enumerate().filter(|(_, window)| window == b"version").map(|(at, _)| at).collect::<Vec<_>>();
    for at in at {
        if other.get(at + 7) != Some(&b'-') {
            other[at..at + 7].copy_from_slice(b"nosuchx");
        }
    }
    put(&growing.plugin(), &other);
    host.wait_for("swap: refused");
    growing.add(&mut host, 1);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
}

#[test]
fn the_last_accepted_plugin_runs_after_a_restart() {
    let growing = Growing::new();
    let mut host = growing.start();
    put(&growing.plugin(), &version(2));
    host.wait_for("swap: in place");
    growing.add(&mut host, 1);
    host.finish();
    fs::write(growing.plugin(), b"not a plugin any more").unwrap();
    let mut host = growing.start();
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
    put(&growing.plugin(), &version(7));
    let mut run = millstream();
    let output = succeed(run.arg("run").arg(&growing.pipeline).args(["--until-caught-up", "--set", &pin]));
    assert!(text(&output.stdout).contains("conserved"), "{}", text(&output.stdout));
}

#[test]
fn a_version_that_does_worse_beside_the_stream_is_held() {
    let growing = Growing::new();
    let mut host = growing.start();
    (1..5).for_each(|id| growing.add(&mut host, id));
    put(&growing.plugin(), &version(9001));
    let said = host.wait_for("swap: held");
    assert!(said.contains("it rejects 100.0%, what runs 0.0%") && said.contains("stage accept"), "{said}");
    put(&growing.plugin(), &version(8001));
    let said = host.wait_for("swap: held");
    assert!(said.contains("it rejects 100.0%"), "{said}");
    growing.add(&mut host, 5);
    // A good one goes in, whatever waits.
    put(&growing.plugin(), &version(2));
    host.wait_for("swap: in place");
    growing.add(&mut host, 6);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned(), "version-0002".to_owned()]));
}

#[test]
fn a_version_that_fails_its_probation_leaves_nothing_in_the_lake() {
    for (bad, why) in [(9001, "rejected 100.0% of the rows"), (8001, "rejected 100.0% of the rows")] {
        let growing = Growing::new();
        let mut host = growing.start();
        // No row was seen yet, so nothing can be tried beside the stream.
        put(&growing.plugin(), &version(bad));
        host.wait_for("swap: in place");
        let rows: String = (1..101).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        fs::write(growing.folder.path().join("rows.jsonl"), rows).unwrap();
        let said = host.wait_for("swap: failed its probation");
        assert!(said.contains(why), "{said}");
        host.wait_for("read=100 out=100");
        // It does not come back by itself, not even by a restart.
        host.finish();
        let mut host = growing.start();
        growing.add(&mut host, 101);
        host.finish();
        assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
        assert_eq!(growing.ids(), (1..102).collect::<Vec<_>>(), "every row is there once");
        let rejects = fs::read_dir(growing.folder.path().join("state/rejects")).unwrap();
        let files = rejects.filter(|entry| entry.as_ref().unwrap().path().extension().is_some());
        assert_eq!(files.count(), 0, "nothing was rejected");
    }
}

#[test]
fn with_manual_swaps_nothing_takes_over_by_itself() {
    let growing = Growing::new();
    let path = growing.folder.path().join("tag.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("tag.wasm\" }", "tag.wasm\" }\nswap = \"manual\"")).unwrap();
    let mut host = growing.start();
    growing.add(&mut host, 1);
    put(&growing.plugin(), &version(2));
    host.wait_for("swap: held");
    growing.add(&mut host, 2);
    host.finish();
    let mut host = growing.start();
    host.wait_for("swap: held");
    growing.add(&mut host, 3);
    host.finish();
    assert_eq!(growing.versions(), BTreeSet::from(["version-0001".to_owned()]));
}
