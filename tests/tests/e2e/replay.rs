//! Promise: a reject that is replayed goes in again exactly once, at the place that refused it, whatever dies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream::digest::digest;
use millstream_tests::host::{append, caught_up, millstream, put, repository, succeed, text};
use millstream_tests::lake::batches;
use millstream_tests::tag::{Growing, version};
use serde_json::Value;

/// The pipeline `tag` after a run in which its plugin refused all of 1, 2 and 3.
fn all_refused() -> Growing {
    let run = Growing::new();
    put(&run.plugin(), version(9_000));
    fs::write(run.file("rows.jsonl"), "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n").unwrap();
    succeed(&mut caught_up(&run.pipeline));
    assert!(run.lake().ids.is_empty());
    run
}

pub(crate) fn rejects(what: &str, pipeline: &Path) -> Command {
    let mut command = millstream();
    command.args(["rejects", what]).arg(pipeline);
    command
}

/// What `rejects count` says of those that these options choose.
fn counts(pipeline: &Path, options: &[&str]) -> Vec<Value> {
    serde_json::from_str(&text(&succeed(rejects("count", pipeline).args(options).arg("--json")).stdout)).unwrap()
}

fn number(count: &Value, name: &str) -> u64 {
    count[name].as_u64().unwrap()
}

/// By reason how many rejects there are, and how many of them were replayed.
pub(crate) fn counted(pipeline: &Path) -> Vec<(String, u64, u64)> {
    let reason = |count: &Value| count["reason"].as_str().unwrap().to_owned();
    let of = |count: &Value| (reason(count), number(count, "rejects"), number(count, "replayed"));
    counts(pipeline, &[]).iter().map(of).collect()
}

/// How many rejects these options choose, and how many of them were replayed.
pub(crate) fn total(pipeline: &Path, options: &[&str]) -> (u64, u64) {
    let counts = counts(pipeline, options);
    let sum = |name: &str| counts.iter().map(|count| number(count, name)).sum::<u64>();
    (sum("rejects"), sum("replayed"))
}

pub(crate) fn listed(pipeline: &Path) -> Vec<Value> {
    serde_json::from_str(&text(&succeed(rejects("list", pipeline).arg("--json")).stdout)).unwrap()
}

#[test]
fn rows_are_replayed_once_after_the_plugin_was_mended() {
    let run = all_refused();
    assert_eq!(counted(&run.pipeline), [("bad_version".to_owned(), 3, 0)]);
    let first = listed(&run.pipeline).last().unwrap()["id"].as_str().unwrap().to_owned();
    put(&run.plugin(), version(1));
    let said = text(&succeed(rejects("replay", &run.pipeline).arg(&first)).stdout);
    assert!(said.contains("1 rejects go in again"), "{said}");
    assert_eq!(run.lake().ids, [(1, 1)].into(), "that row and no other");
    succeed(&mut rejects("replay", &run.pipeline));
    assert_eq!(run.lake().ids, [(1, 1), (2, 1), (3, 1)].into());
    let said = text(&succeed(&mut rejects("replay", &run.pipeline)).stdout);
    assert!(said.contains("no reject goes in again") && said.contains("3 were replayed already"), "{said}");
    assert_eq!(counted(&run.pipeline), [("bad_version".to_owned(), 3, 3)]);
    let shown = text(&succeed(rejects("show", &run.pipeline).arg(&first)).stdout);
    assert!(shown.contains("{\"id\":1}"), "{shown}");
}

#[test]
fn those_that_filters_choose_are_replayed_and_no_others() {
    let run = Growing::new();
    let refuse = |number: u32, rows: &str| {
        put(&run.plugin(), version(number));
        append(&run.file("rows.jsonl"), rows);
        succeed(&mut caught_up(&run.pipeline));
    };
    refuse(9_000, "{\"id\":1}\n{\"id\":2}\n{\"id\":-3}");
    refuse(9_001, "{\"id\":4}\n{\"id\":5}");
    refuse(9_000, "{\"id\":6}");
    let newest_first = listed(&run.pipeline);
    let time = |index: usize| newest_first[index]["rejected_at"].as_str().unwrap();
    let (third, second, plugin) = (time(0), time(1), digest(&version(9_001))[..12].to_owned());
    let chosen = |options: &[&str]| total(&run.pipeline, options);
    assert_eq!((chosen(&[]), chosen(&["--reason", "negative"])), ((6, 0), (1, 0)));
    assert_eq!((chosen(&["--digest", &plugin]), chosen(&["--digest", "no digest"])), ((2, 0), (0, 0)));
    assert_eq!((chosen(&["--since", second]), chosen(&["--until", second])), ((3, 0), (3, 0)));
    assert_eq!(chosen(&["--since", second, "--until", third]), (2, 0), "all that is said has to hold");
    assert_eq!((chosen(&["--since", "1h"]), chosen(&["--until", "1h"])), ((6, 0), (0, 0)), "so long ago");

    put(&run.plugin(), version(1));
    let replay = |options: &[&str]| text(&succeed(rejects("replay", &run.pipeline).args(options)).stdout);
    let said = replay(&["--digest", &plugin]);
    assert!(said.contains(": 2 rejects go in again"), "{said}");
    assert_eq!(run.lake().ids, [(4, 1), (5, 1)].into());
    let mut host = run.start(&[]);
    let said = replay(&["--since", third]);
    assert!(said.contains(": 1 rejects go in again; the running host takes them"), "{said}");
    host.wait_for("replay: done");
    host.finish();
    assert_eq!(run.lake().ids, [(4, 1), (5, 1), (6, 1)].into());
    let said = replay(&["--reason", "bad_version", "--until", second]);
    assert!(said.contains(": 2 rejects go in again"), "{said}");
    assert_eq!(run.lake().ids, [(1, 1), (2, 1), (4, 1), (5, 1), (6, 1)].into());
    let said = replay(&["--reason", "bad_version"]);
    assert!(said.contains("no reject goes in again") && said.contains("5 were replayed already"), "{said}");
    assert_eq!((chosen(&["--reason", "negative"]), chosen(&[])), ((1, 0), (6, 5)));
    assert_eq!(run.lake().ids.len(), 5);
}

#[test]
fn what_is_rejected_again_says_how_often_it_was_tried() {
    let run = all_refused();
    succeed(&mut rejects("replay", &run.pipeline));
    let attempts: Vec<u64> = listed(&run.pipeline).iter().map(|one| one["attempts"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 1, 1, 0, 0, 0], "newest first");
    put(&run.plugin(), version(1));
    succeed(&mut rejects("replay", &run.pipeline));
    assert_eq!(run.lake().ids, [(1, 1), (2, 1), (3, 1)].into());
}

#[test]
fn a_kill_at_each_step_of_a_replay_loses_and_doubles_nothing() {
    for (step, _) in super::recovery::steps("") {
        let run = all_refused();
        put(&run.plugin(), version(1));
        let killed = rejects("replay", &run.pipeline).env("MILLSTREAM_KILL_AT", format!("{step}:2")).output().unwrap();
        assert_eq!(killed.status.code(), None, "{step}: {}", text(&killed.stderr));
        // The next start goes on with it, whoever makes it.
        succeed(&mut caught_up(&run.pipeline));
        assert_eq!(run.lake().ids, [(1, 1), (2, 1), (3, 1)].into(), "{step}");
        assert_eq!(counted(&run.pipeline), [("bad_version".to_owned(), 3, 3)], "{step}");
    }
}

#[test]
fn a_running_host_takes_a_replay() {
    let run = Growing::new();
    let mut host = run.start(&[]);
    run.add(&mut host, 1);
    run.add(&mut host, -2);
    let said = text(&succeed(&mut rejects("replay", &run.pipeline)).stdout);
    assert!(said.contains("the running host takes them"), "{said}");
    host.wait_for("replay: done");
    run.add(&mut host, 3);
    host.finish();
    assert_eq!(run.lake().ids, [(1, 1), (3, 1)].into());
    assert_eq!(listed(&run.pipeline)[0]["attempts"], 1);
}

#[test]
fn a_record_is_replayed_at_its_decoder() {
    let run = Growing::new();
    fs::write(run.file("rows.jsonl"), "{\"id\":1}\n{\"num\":7}\n").unwrap();
    succeed(&mut caught_up(&run.pipeline));
    let changed = fs::read_to_string(&run.pipeline).unwrap();
    let changed = changed.replace("id = \"int64\"", "id = { type = \"int64\", from = \"num\" }");
    fs::write(&run.pipeline, changed).unwrap();
    succeed(rejects("replay", &run.pipeline).args(["--stage", "source.rows"]));
    assert_eq!(run.lake().ids, [(1, 1), (7, 1)].into());
}

/// Orders with a list of items each, which become rows of their own; an item without a price is refused.
const ORDERS: &str = r#"
name = "orders"
data = "state"

[source.orders]
file = { path = "orders.jsonl" }
format = "json"
columns = { number = "int64", items = "list<int64>" }

[dimension.prices]
file = { path = "prices.csv", key = ["item"] }
columns = { item = "int64", price = "int64" }

[[stage]]
name = "explode"
plugin = { file = "PLUGIN" }
config = { column = "items", into = "item", empty = "filter" }

[[stage]]
name = "price"
lookup = { table = "prices", key = "item", add = { price = "price" }, missing = "reject" }

[output.items]
columns = ["number", "item", "price"]
parquet = { path = "lake" }
"#;

#[test]
fn of_a_record_that_became_many_rows_the_refused_one_alone_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let plugin = repository().join("plugins/explode/millstream_plugin_explode.wasm");
    let pipeline = file("orders.toml");
    fs::write(&pipeline, ORDERS.replace("PLUGIN", &plugin.display().to_string())).unwrap();
    fs::write(file("orders.jsonl"), "{\"number\":7,\"items\":[1,2,3]}\n{\"number\":8,\"items\":[3]}\n").unwrap();
    fs::write(file("prices.csv"), "item,price\n1,100\n3,300\n").unwrap();
    let rows = || {
        let mut rows = BTreeMap::<[i64; 3], u32>::new();
        for batch in batches(&file("lake")) {
            for row in 0..batch.num_rows() {
                let cell = |name: &str| batch[name].as_primitive::<Int64Type>().value(row);
                *rows.entry(["number", "item", "price"].map(cell)).or_default() += 1;
            }
        }
        rows
    };
    succeed(&mut caught_up(&pipeline));
    let siblings = BTreeMap::from([([7, 1, 100], 1), ([7, 3, 300], 1), ([8, 3, 300], 1)]);
    assert_eq!(rows(), siblings);
    // Twice in vain.
    succeed(&mut rejects("replay", &pipeline));
    succeed(&mut rejects("replay", &pipeline));
    let attempts: Vec<u64> = listed(&pipeline).iter().map(|one| one["attempts"].as_u64().unwrap()).collect();
    assert_eq!((attempts, rows()), (vec![2, 1, 0], siblings.clone()), "the newest first");
    fs::write(file("prices.csv"), "item,price\n1,100\n2,200\n3,300\n").unwrap();
    let said = text(&succeed(&mut rejects("replay", &pipeline)).stdout);
    assert!(said.contains("1 rejects go in again") && said.contains("2 were replayed already"), "{said}");
    let all = siblings.into_iter().chain([([7, 2, 200], 1)]).collect();
    assert_eq!(rows(), all);
    succeed(&mut rejects("replay", &pipeline));
    assert_eq!((rows(), counted(&pipeline)), (all, vec![("lookup_missing".to_owned(), 3, 3)]));
}

#[test]
fn a_second_host_leaves_alone_what_the_first_one_replays() {
    let run = Growing::new();
    let text_of = fs::read_to_string(&run.pipeline).unwrap();
    fs::write(&run.pipeline, text_of + "\n[rejects]\nfile = { path = \"rejects\" }\n").unwrap();
    put(&run.plugin(), version(9_000));
    fs::write(run.file("rows.jsonl"), "{\"id\":1}\n{\"id\":2}\n").unwrap();
    succeed(&mut caught_up(&run.pipeline));
    put(&run.plugin(), version(1));
    let first = listed(&run.pipeline).last().unwrap()["id"].as_str().unwrap().to_owned();
    succeed(rejects("replay", &run.pipeline).arg(&first));
    let other = format!("data={}", run.file("other").display());
    for more in [&[][..], &["--again"]] {
        let said = text(&succeed(rejects("replay", &run.pipeline).args(["--set", &other]).args(more)).stdout);
        assert!(said.contains("no reject goes in again") && said.contains("2 are host "), "{said}");
    }
    assert_eq!(run.lake().ids.len(), 1);
    succeed(&mut rejects("replay", &run.pipeline));
    assert_eq!(run.lake().ids, [(1, 1), (2, 1)].into());
}
