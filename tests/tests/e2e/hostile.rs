//! Promise: a plugin can be wrong or hostile, never dangerous. Whatever it does, the host lives, ends in bounded time and
//! memory, and every row that the plugin did not refuse by its deeds is in the lake, once and right; or nothing is.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use millstream_tests::host::{Clicks, Host, component, millstream, succeed, text};
use millstream_tests::lake::batches;

const ROWS: i64 = 30_000;
/// Rows that the plugin takes for guilty: the first, the last, two neighbours, and one.
const GUILTY: [i64; 5] = [0, 7_000, 7_001, 20_000, ROWS - 1];
/// What a run with a plugin of 64 MiB may take beyond one with a plugin that does no harm: the plugin's memory, and
/// twice as much for what it hands over.
const MEMORY_MAX_BYTES: u64 = 3 * (64 << 20);
/// Nothing that a plugin does takes more of the processor than this, start and end of the host included. The wall clock
/// says nothing: other tests run beside these.
const TIME_MAX: Duration = Duration::from_secs(30);
/// So soon does a plugin that fails on every row stop its pipeline.
const AT_FAULT_MAX: Duration = Duration::from_secs(10);

/// A folder with the plugin, its rows and its pipeline.
struct Trial {
    folder: tempfile::TempDir,
}

impl Trial {
    /// Rows from 0 on; `n` is 13 where `guilty` says so.
    fn new(behaviour: &str, rows: i64, guilty: impl Fn(i64) -> bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (name, number) = behaviour.split_once(':').unwrap_or((behaviour, "0"));
        let pipeline = format!(
            r#"
name = "trial"
data = "state"
workers = 1

[source.rows]
file = {{ path = "rows.jsonl" }}
format = "json"
columns = {{ id = "int64", n = "int64", url = "utf8", agent = "utf8", price = "decimal(12,2)", at = "timestamp(ms)" }}

[dimension.users]
file = {{ path = "users.csv", key = ["n"] }}
columns = {{ n = "int64", name = "utf8" }}

[[stage]]
name = "hostile"
plugin = {{ file = "hostile.wasm", tables = ["users"] }}
config = {{ behaviour = "{name}", n = {number} }}

[output.lake]
parquet = {{ path = "lake" }}

[rejects]
file = {{ path = "rejects" }}
"#
        );
        fs::write(folder.path().join("trial.toml"), pipeline).unwrap();
        fs::write(folder.path().join("users.csv"), "n,name\n1,one\n2,two\n").unwrap();
        fs::write(folder.path().join("hostile.wasm"), component("hostile")).unwrap();
        let row = |id: i64| {
            let n = if guilty(id) { 13 } else { id + 100 };
            format!(
                "{{\"id\":{id},\"n\":{n},\"url\":\"https://shop.example/products/{}?ref=mail&session={id:08}\",\
                 \"agent\":\"Mozilla/5.0 (X11; Linux x86_64)\",\"price\":{}.25,\"at\":\"2025-06-01T12:00:00.{:03}Z\"}}\n",
                id % 977,
                id % 400,
                id % 1_000
            )
        };
        fs::write(folder.path().join("rows.jsonl"), (0..rows).map(row).collect::<String>()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs to the end under `time`: what came of it, the processor's time and the most memory that it took.
    fn run(&self) -> (Output, Duration, u64) {
        let host = millstream();
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%M %U %S", "-o", "used"]).arg(host.get_program()).args(["run", "trial.toml"]);
        command.args(["--until-caught-up", "--no-progress", "--summary", "summary.json"]);
        command.env_remove("MILLSTREAM_LOG").current_dir(self.folder.path());
        let output = command.output().expect("GNU time: `make setup-test` installs it");
        let used = fs::read_to_string(self.path("used")).unwrap();
        let used: Vec<f64> = used.lines().last().unwrap().split(' ').map(|part| part.parse().unwrap()).collect();
        (output, Duration::from_secs_f64(used[1] + used[2]), used[0] as u64 * 1024)
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("summary.json")).unwrap()).unwrap()
    }

    /// By id `m`; fails when an id is there twice.
    fn lake(&self) -> BTreeMap<i64, i64> {
        let mut rows = BTreeMap::new();
        for batch in batches(&self.path("lake")) {
            let column = |name: &str| batch[name].as_primitive::<Int64Type>().values().to_vec();
            for (id, m) in column("id").into_iter().zip(column("m")) {
                assert_eq!(rows.insert(id, m), None, "row {id} is there twice");
            }
        }
        rows
    }

    /// By id of the rejected record the reason.
    fn rejects(&self) -> BTreeMap<i64, String> {
        let mut rows = BTreeMap::new();
        for batch in batches(&self.path("rejects")) {
            let column = |name: &str| {
                let text = cast(&batch[name], &DataType::Utf8).unwrap();
                text.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
            };
            for (row, reason) in column("row").iter().zip(column("reason")) {
                let row: serde_json::Value = serde_json::from_str(row).unwrap();
                assert_eq!(rows.insert(row["id"].as_i64().unwrap(), reason), None, "{row} is there twice");
            }
        }
        rows
    }

    /// Every row is in the lake, and right, but those that `guilty` names: they are rejects for one of the reasons.
    fn holds(&self, rows: i64, guilty: &[i64], reasons: &[&str]) {
        let wanted: BTreeMap<i64, i64> =
            (0..rows).filter(|id| !guilty.contains(id)).map(|id| (id, 2 * (id + 100))).collect();
        let lake = self.lake();
        assert!(lake == wanted, "{} rows of {} in the lake, or wrong ones", lake.len(), wanted.len());
        let rejects = self.rejects();
        assert!(rejects.keys().eq(guilty), "{rejects:?}");
        assert!(rejects.values().all(|reason| reasons.contains(&reason.as_str())), "{rejects:?}");
        assert_eq!(self.summary()["conserved"], true);
    }
}

/// The most memory of a run in which nothing happens.
fn harmless() -> u64 {
    static HARMLESS: OnceLock<u64> = OnceLock::new();
    *HARMLESS.get_or_init(|| {
        let trial = Trial::new("", ROWS, |_| false);
        let (output, _, memory) = trial.run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        trial.holds(ROWS, &[], &[]);
        memory
    })
}

#[test]
fn guilty_rows_are_rejected_and_every_other_row_is_in_the_lake_once() {
    let harmless = harmless();
    // What takes long to make may have used up the time of a row before it is too much.
    let cases: [(&str, &[&str]); 10] = [
        ("trap", &["trap"]),
        ("exit", &["trap"]),
        ("overflow_the_stack", &["trap"]),
        ("allocate", &["out_of_memory", "deadline"]),
        ("break", &["broken_patch"]),
        ("vast_rejects:10000000", &["out_of_memory", "deadline"]),
        ("vast_rejects:50000", &["broken_patch", "deadline"]),
        ("vast_rows:1100000", &["broken_patch", "deadline"]),
        ("get_many_calls:10000000", &["trap", "deadline"]),
        ("get_many_keys:3000000", &["trap", "deadline"]),
    ];
    for (behaviour, reasons) in cases {
        let trial = Trial::new(behaviour, ROWS, |id| GUILTY.contains(&id));
        let (output, took, memory) = trial.run();
        assert!(output.status.success(), "{behaviour}: {}", text(&output.stderr));
        trial.holds(ROWS, &GUILTY, reasons);
        assert!(memory <= harmless + MEMORY_MAX_BYTES, "{behaviour}: {memory} bytes beside {harmless}");
        assert!(took < TIME_MAX, "{behaviour}: {took:?}");
    }
}

#[test]
fn a_row_that_takes_for_ever_costs_its_deadline_and_no_other_row() {
    for behaviour in ["loop", "log_for_ever"] {
        let trial = Trial::new(behaviour, ROWS, |id| id == 17_000);
        let (output, took, _) = trial.run();
        assert!(output.status.success(), "{behaviour}: {}", text(&output.stderr));
        trial.holds(ROWS, &[17_000], &["deadline"]);
        assert!(took < TIME_MAX, "{behaviour}: {took:?}");
    }
}

#[test]
fn a_plugin_at_fault_stops_the_pipeline_with_its_reason_and_nothing_is_committed() {
    let harmless = harmless();
    for (behaviour, says) in [
        ("always_trap", "stage \"hostile\" keeps failing: "),
        ("trap_on_call:1", "stage \"hostile\" keeps failing: "),
        ("broken_missing_row", "the plugin returned a broken patch: row 0 is neither kept nor rejected nor filtered"),
        ("get_many_ungranted", "NotGranted"),
        ("fatal", "the plugin gives up: never"),
        ("trap_in_configure", "not even configured"),
        ("loop_in_configure", "the plugin worked longer than 10s"),
        ("allocate_in_configure", "needs more than its 64.0 MiB of memory"),
        ("nonsense", "declares a contract that is wrong: column \"m\" in `writes` has the type \"text\""),
        ("many_writes:5000", "it declares 5000 writes, more than 4096"),
    ] {
        let trial = Trial::new(behaviour, ROWS, |id| GUILTY.contains(&id));
        let (output, took, memory) = trial.run();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{behaviour}: {said}");
        // Problems of the pipeline file are drawn with a frame and broken into lines.
        let words = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(words.contains(says), "{behaviour}: {said}");
        assert!(trial.lake().is_empty() && trial.rejects().is_empty(), "{behaviour}: nothing is committed");
        assert!(memory <= harmless + MEMORY_MAX_BYTES, "{behaviour}: {memory} bytes beside {harmless}");
        let most = if behaviour == "always_trap" { AT_FAULT_MAX } else { TIME_MAX };
        assert!(took < most, "{behaviour}: {took:?}");
    }
}

#[test]
fn what_calls_before_left_behind_costs_no_row() {
    for calls in [2, 3, 5] {
        let trial = Trial::new(&format!("trap_on_call:{calls}"), ROWS, |_| false);
        let (output, ..) = trial.run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        trial.holds(ROWS, &[], &[]);
    }
}

#[test]
fn poison_in_a_hundredth_of_the_rows_costs_no_other_row() {
    let poisoned = |id: i64| (id.wrapping_mul(2_654_435_761) >> 7) % 100 == 0;
    let guilty: Vec<i64> = (0..ROWS).filter(|id| poisoned(*id)).collect();
    assert!((250..350).contains(&guilty.len()), "{}", guilty.len());
    for behaviour in ["trap", "trap_and_tell"] {
        let trial = Trial::new(behaviour, ROWS, poisoned);
        let (output, ..) = trial.run();
        assert!(output.status.success(), "{behaviour}: {}", text(&output.stderr));
        trial.holds(ROWS, &guilty, &["trap"]);
    }
}

/// The example of a hundred million events a day with a stage before it that traps on a hundredth of the rows, and says
/// on which, as every plugin that is written with the SDK does.
#[test]
fn poison_in_a_hundredth_of_the_rows_leaves_half_of_the_speed() {
    let clicks = Clicks::new();
    let folder = clicks.folder.path();
    fs::write(folder.join("hostile.wasm"), component("hostile")).unwrap();
    let example = fs::read_to_string(folder.join("clicks.toml")).unwrap();
    let work = |every: u32| {
        let stage = format!(
            "[[stage]]\nname = \"hostile\"\nplugin = {{ file = \"hostile.wasm\", rename = {{ n = \"position\" }} }}\n\
             config = {{ behaviour = \"poison\", n = {every} }}\n\n[[stage]]\nname   = \"clean\""
        );
        let pipeline = example.replacen("[[stage]]\nname   = \"clean\"", &stage, 1);
        let position = "[source.clicks.columns]\nposition = { type = \"int64\", from = \"@offset\" }";
        fs::write(folder.join("poison.toml"), pipeline.replacen("[source.clicks.columns]", position, 1)).unwrap();
        let mut run = millstream();
        run.current_dir(folder).args(["run", "poison.toml", "--until-caught-up", "--no-progress"]);
        succeed(run.args(["--summary", "summary.json", "--set", "workers=1"]));
        let summary: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("summary.json")).unwrap()).unwrap();
        assert_eq!(summary["conserved"], true);
        for made in ["lake", "state"] {
            fs::remove_dir_all(folder.join(made)).unwrap();
        }
        let rows = summary["in"].as_f64().unwrap();
        let trapped = summary["rejected"]["hostile"]["trap"].as_f64().unwrap_or(0.0) / rows;
        assert!(if every == 0 { trapped == 0.0 } else { (0.008..0.012).contains(&trapped) }, "{trapped} trapped");
        summary["phases"].as_object().unwrap().values().map(|ns| ns.as_f64().unwrap()).sum::<f64>() / rows
    };
    // The best of some, in turn: what else runs on the machine only ever adds, and more to one of them.
    let (mut clean, mut poison) = (f64::MAX, f64::MAX);
    for round in 0..6 {
        (clean, poison) = (clean.min(work(0)), poison.min(work(100)));
        if round > 0 && poison <= 2.0 * clean {
            break;
        }
    }
    assert!(poison <= 2.0 * clean, "{poison:.0} ns of the processor a row with poison, {clean:.0} ns without");
}

#[test]
fn ten_million_lines_are_a_few_in_the_log() {
    let trial = Trial::new("say_much:1500000", ROWS, |_| false);
    let began = Instant::now();
    let (output, ..) = trial.run();
    let took = began.elapsed();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    trial.holds(ROWS, &[], &[]);
    let lines = said.lines().filter(|line| line.contains("the same line")).count() as u64;
    let most = 20 * (took.as_secs() + 2);
    assert!((1..=most).contains(&lines), "{lines} lines in {took:?}");
    assert!(said.contains("lines were left out"), "{said}");
}

#[test]
fn a_plugin_that_traps_on_every_row_stops_a_running_pipeline() {
    let trial = Trial::new("always_trap", 0, |_| false);
    let mut run = millstream();
    run.current_dir(trial.folder.path()).args(["run", "trial.toml", "--follow", "--no-progress"]);
    let mut host = Host::start(run.args(["--set", "epoch.interval=100ms", "--log", "info,millstream=debug"]));
    host.wait_for("running");
    let rows = Trial::new("", ROWS, |_| false);
    fs::write(trial.path("rows.jsonl"), fs::read(rows.path("rows.jsonl")).unwrap()).unwrap();
    host.wait_for("stage \"hostile\" keeps failing: ");
    assert_eq!(host.wait().code(), Some(1), "{}", host.rest());
    assert!(trial.lake().is_empty());
}
