//! Promise: an author goes from nothing to a plugin that builds, passes its tests and runs in a pipeline, with the binary
//! alone; and what comes otherwise than a case expects is shown, cell by cell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_tests::host::{fail, millstream, repository, succeed, target, text};

/// What is built for these tests lies beside the tests themselves, so that the second run is quick.
fn shared_target() -> PathBuf {
    target().join("authors")
}

/// Runs `millstream` in a folder in which nothing is known of the repository.
fn run(folder: &Path, args: &[&str]) -> Command {
    let mut command = millstream();
    command.current_dir(folder).args(args).env("CARGO_TARGET_DIR", shared_target());
    command
}

/// What a command that ends with exit code 1 said, stdout and stderr.
fn differs(command: &mut Command) -> (String, String) {
    let output = command.output().expect("the command starts");
    assert_eq!(output.status.code(), Some(1), "{}\n{}", text(&output.stdout), text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn makes_a_plugin_that_works(kind: &str, name: &str, out: &str) {
    let empty = tempfile::tempdir().unwrap();
    succeed(&mut run(empty.path(), &["plugin", "new", kind, name]));
    let folder = empty.path().join(name);
    let said = text(&succeed(&mut run(&folder, &["plugin", "test"])).stdout);
    assert!(said.contains("all as expected"), "{said}");
    let component = folder.join(format!("{}.wasm", name.replace('-', "_")));
    assert!(!component.exists(), "only a build puts the component in its place");
    succeed(&mut run(&folder, &["plugin", "build"]));
    assert!(component.exists());
    let said = text(&succeed(&mut run(&folder, &["preview", "pipeline.toml"])).stdout);
    assert!(said.contains(out), "{said}");
    let said =
        text(&succeed(&mut run(&folder, &["run", "pipeline.toml", "--until-caught-up", "--no-progress"])).stdout);
    assert!(said.contains("conserved"), "{said}");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&folder).args(["test", "--quiet", "--locked"]).env("CARGO_TARGET_DIR", shared_target());
    let said = text(&succeed(&mut cargo).stdout);
    assert!(said.lines().any(|line| line.starts_with("test result: ok") && !line.contains(" 0 passed")), "{said}");
}

#[test]
fn a_new_transform_builds_and_passes_its_tests() {
    makes_a_plugin_that_works("transform", "author-transform", "-> output events: 2 rows");
}

#[test]
fn a_new_route_builds_and_passes_its_tests() {
    makes_a_plugin_that_works("route", "author-route", "-> output large: 2 rows");
}

#[test]
fn a_new_stage_builds_and_passes_its_tests() {
    makes_a_plugin_that_works("stage", "author-stage", "-> output events: 3 rows");
}

#[test]
fn the_sdk_of_a_plugin_is_replaced_as_a_whole() {
    let empty = tempfile::tempdir().unwrap();
    succeed(&mut run(empty.path(), &["plugin", "new", "route", "plugins/by-size"]));
    let folder = empty.path().join("plugins/by-size");
    fs::write(folder.join(".millstream/VERSION"), "0.0.9\n").unwrap();
    fs::write(folder.join(".millstream/sdk/src/old.rs"), "").unwrap();
    let said = text(&succeed(&mut run(&folder, &["plugin", "sdk"])).stdout);
    assert!(said.contains("SDK 0.0.9 replaced by"), "{said}");
    assert!(!folder.join(".millstream/sdk/src/old.rs").exists());
    assert!(folder.join(".millstream/wit/stage.wit").exists());
}

#[test]
fn what_cannot_be_made_says_why() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    fs::write(folder.path().join("taken/file"), "").unwrap();
    for (args, what) in [
        (["plugin", "new", "transform", "taken"], "taken is there already"),
        (["plugin", "new", "transform", "Clean"], "it has a `C`"),
        (["plugin", "new", "route", "where"], "the word has a meaning of its own in Rust"),
    ] {
        let said = fail(&mut run(folder.path(), &args));
        assert!(said.contains(what), "{said}");
    }
}

/// A folder with a component of the examples and one case.
fn case_of_clean_clicks(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let component = repository().join("examples/clicks/plugins/clean/clean_clicks.wasm");
    fs::copy(component, folder.path().join("clean.wasm")).unwrap();
    fs::create_dir(folder.path().join("cases")).unwrap();
    fs::write(folder.path().join("cases/clicks.jsonl"), case).unwrap();
    folder
}

const CASE: &str = r#"{"millstream": "case/1", "config": {"bots": ["bot"], "tracking": ["utm_"]}}
{"in": {"url": "https://shop.example/a?utm_source=x&b=1", "user_agent": "Firefox"}, "out": {"host": "shop.example", "path": "/a", "query": "b=2"}}
{"in": {"url": "/a", "user_agent": "Firefox"}, "rejected": "bad_url"}
{"in": {"url": "https://shop.example/", "user_agent": "a bot"}, "out": {"host": "shop.example", "path": "/"}}
"#;

#[test]
fn a_difference_is_shown_and_an_update_takes_it_over() {
    let folder = case_of_clean_clicks(CASE);
    let (table, said) = differs(&mut run(folder.path(), &["plugin", "test", "clean.wasm"]));
    assert!(said.contains("2 of 3 rows differ from what is expected"), "{said}");
    for cell in ["| 2    | out.query |", "\"b=2\"", "\"b=1\"", "| 4    | outcome   | 1 row", "filtered: bot"] {
        assert!(table.contains(cell), "{cell}: {table}");
    }
    succeed(&mut run(folder.path(), &["plugin", "test", "clean.wasm", "--update"]));
    let said = text(&succeed(&mut run(folder.path(), &["plugin", "test", "clean.wasm"])).stdout);
    assert!(said.contains("3 rows, all as expected"), "{said}");
}

#[test]
fn rows_without_an_expectation_are_shown() {
    let captured = "{\"millstream\": \"case/1\", \"config\": {\"bots\": [], \"tracking\": []}}\n\
                    {\"in\": {\"url\": \"https://shop.example/a\", \"user_agent\": \"Firefox\"}}\n";
    let folder = case_of_clean_clicks(captured);
    let said = text(&succeed(&mut run(folder.path(), &["plugin", "test", "clean.wasm"])).stdout);
    assert!(said.contains("without an expectation") && said.contains("\"host\":\"shop.example\""), "{said}");
}

#[test]
fn a_case_that_does_not_fit_says_what_is_missing() {
    let folder = case_of_clean_clicks("{\"in\": {\"url\": \"x\"}}\n");
    let said = fail(&mut run(folder.path(), &["plugin", "test", "clean.wasm"]));
    assert!(
        said.contains("missing field `bots`") && said.contains("the header of the case has its \"config\""),
        "{said}"
    );
    let folder = case_of_clean_clicks(&CASE.replace("\"url\": \"/a\"", "\"uri\": \"/a\""));
    let said = fail(&mut run(folder.path(), &["plugin", "test", "clean.wasm"]));
    assert!(said.contains("clicks.jsonl:3: there is no column \"uri\""), "{said}");
    let said = fail(&mut run(folder.path(), &["plugin", "test", "clean.wasm", "--cases", "nowhere"]));
    assert!(said.contains("there are no cases in nowhere"), "{said}");
}

#[test]
fn a_plugin_is_measured_by_its_cases() {
    let folder = case_of_clean_clicks(CASE);
    let args = ["plugin", "bench", "clean.wasm", "--rows", "64,256", "--seconds", "0.05"];
    let said = text(&succeed(&mut run(folder.path(), &args)).stdout);
    let lines = |rows: &str| said.lines().filter(|line| line.split_whitespace().next() == Some(rows)).count();
    assert!(lines("64") == 1 && lines("256") == 1, "{said}");
}

#[test]
fn the_examples_come_as_their_cases_expect() {
    for pipeline in ["flights/flights.toml", "clicks/clicks.toml", "clicks/clicks-kafka.toml"] {
        let pipeline = repository().join("examples").join(pipeline);
        let mut test = millstream();
        let said = text(&succeed(test.arg("test").arg(&pipeline)).stdout);
        assert!(said.contains("all as expected"), "{}: {said}", pipeline.display());
    }
}

#[test]
fn a_pipeline_that_comes_otherwise_is_shown_by_output_and_cell() {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("delayed.jsonl");
    let original = fs::read_to_string(repository().join("examples/flights/cases/gaps.jsonl")).unwrap();
    fs::write(&case, original.replace("\"airline\":\"Envoy Air\"", "\"airline\":\"Envoy\"")).unwrap();
    let mut test = millstream();
    let (table, _) = differs(test.arg("test").arg(repository().join("examples/flights/flights.toml")).arg(&case));
    assert!(table.contains("delayed.airline") && table.contains("\"Envoy Air\""), "{table}");
    // What counts as delayed is a setting: two hours put the flight among those on time.
    let set = ["--set", "stage.route.config.delayed_minutes=300"];
    fs::write(&case, original).unwrap();
    let mut test = millstream();
    let (table, _) =
        differs(test.arg("test").arg(repository().join("examples/flights/flights.toml")).args(set).arg(&case));
    assert!(table.contains("1 row to delayed") && table.contains("1 row to on_time"), "{table}");
}

#[test]
fn preview_follows_the_routes_of_a_stage_into_further_stages() {
    let folder = tempfile::tempdir().unwrap();
    let clicks = repository().join("examples/clicks/plugins");
    let pipeline = format!(
        r#"
name = "routes"
data = "state"

[source.clicks]
file = {{ path = "clicks.jsonl" }}
format = "json"
columns = {{ kind = "utf8", url = "utf8", user_agent = "utf8" }}

[[stage]]
name = "route"
plugin = {{ file = "{0}/route/route_clicks.wasm" }}

[[stage]]
name = "clean"
from = "route.views"
plugin = {{ file = "{0}/clean/clean_clicks.wasm" }}
config = {{ bots = [], tracking = [] }}

[output.views]
from = "clean"
parquet = {{ path = "lake/views" }}

[output.purchases]
from = "route.purchases"
parquet = {{ path = "lake/purchases" }}
"#,
        clicks.display()
    );
    fs::write(folder.path().join("routes.toml"), pipeline).unwrap();
    let click =
        |kind: &str| format!("{{\"kind\":\"{kind}\",\"url\":\"https://shop.example/\",\"user_agent\":\"x\"}}\n");
    fs::write(folder.path().join("clicks.jsonl"), [click("view"), click("purchase"), click("view")].concat()).unwrap();
    let said = text(&succeed(&mut run(folder.path(), &["preview", "routes.toml"])).stdout);
    for line in
        ["== clean: 2 rows", "-> output views: 2 rows", "-> output purchases: 1 rows", "in 3 + multiplied 0 = out 3"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!folder.path().join("lake").exists() && !folder.path().join("state").exists());
}

#[test]
fn a_plugins_folder_is_told_from_a_pipelines() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cases")).unwrap();
    for file in ["Cargo.toml", "p.toml", "cases/a.jsonl"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    for place in ["p.toml", "."] {
        let said = fail(&mut run(folder.path(), &["test", place]));
        assert!(said.contains(". is the folder of a plugin, and so are its cases"), "{said}");
        assert!(said.contains("help:  `millstream plugin test .` runs them"), "{said}");
    }
}
