//! Promise: a running host is seen and changed through its control socket, by its owner, with every mistake named.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::digest::digest;
use millstream_tests::host::{Host, append, component, fail, millstream, put, succeed, text};
use millstream_tests::lake::files;
use millstream_tests::patience::wait_until;
use millstream_tests::shape;
use millstream_tests::tag::{Growing, version};
use serde_json::{Value, json};

/// The pipeline `tag` of a growing file, and what is asked of its host.
struct Run(Growing);

impl Deref for Run {
    type Target = Growing;

    fn deref(&self) -> &Growing {
        &self.0
    }
}

impl Run {
    fn new() -> Self {
        Self(Growing::new())
    }

    /// A version of the plugin in a file of its own.
    fn other(&self, number: u32) -> PathBuf {
        let path = self.file(&format!("{number}.wasm"));
        put(&path, version(number));
        path
    }

    /// `millstream stage WHAT tag.toml/tag`
    fn stage(&self, what: &str) -> Command {
        let mut command = millstream();
        command.args(["stage", what]).arg(self.pipeline.join("tag"));
        command
    }

    fn capture(&self, out: &str) -> Command {
        let mut command = millstream();
        command.arg("capture").arg(self.pipeline.join("tag")).arg("--out").arg(self.file(out));
        command
    }

    fn socket(&self) -> PathBuf {
        self.file("state/control.sock")
    }
}

fn said(command: &mut Command) -> String {
    text(&succeed(command).stdout)
}

fn short(number: u32) -> String {
    digest(&version(number))[..12].to_owned()
}

#[test]
fn a_candidate_is_held_compared_accepted_and_taken_back() {
    let run = Run::new();
    let mut host = run.start(&["stage.tag.swap=manual"]);
    (1..=3).for_each(|id| run.add(&mut host, id));

    let held = said(run.stage("propose").arg("--plugin").arg(run.other(2)));
    assert!(
        held.contains(&format!("stage tag: {} is held: stage \"tag\" has `swap = \"manual\"`", short(2))),
        "{held}"
    );
    let list = said(millstream().args(["stage", "list"]).arg(&run.pipeline));
    assert!(list.starts_with("stage  runs          config      plan  pinned to  waits"), "{list}");
    assert!(list.contains(&format!("tag    {}  the file's  1     -          {}", short(1), short(2))), "{list}");
    let diff = said(&mut run.stage("diff"));
    assert!(diff.contains("on the 3 rows that were seen last:"), "{diff}");
    assert!(diff.contains("column version differs in 3 of 3 rows (100.0%), such as"), "{diff}");
    assert!(diff.contains("version-0001  version-0002"), "{diff}");

    let accepted = said(&mut run.stage("accept"));
    assert!(accepted.contains(&format!("stage tag: {} takes over at the end of this epoch", short(2))), "{accepted}");
    host.wait_for("swap: in place");
    run.add(&mut host, 4);
    assert!(fail(&mut run.stage("accept")).contains("no candidate waits for stage \"tag\""));
    assert!(fail(&mut run.stage("diff")).contains("no candidate waits for stage \"tag\""));

    // A rollback lists files that are closed.
    wait_until("the file with row 4 is closed", || run.lake().versions.contains_key(&digest(&version(2))));
    let back = said(&mut run.stage("rollback"));
    assert!(
        back.contains(&format!("stage tag: {} takes over at the end of this epoch, in the place of", short(1))),
        "{back}"
    );
    assert!(back.contains("epochs made by") && back.contains("files with its rows:"), "{back}");
    assert!(back.contains("read these records again:") && back.contains("rows.jsonl"), "{back}");
    let command = format!("  millstream rewind {} --replace --to-offset rows/", run.pipeline.display());
    assert!(back.contains(&command), "{back}");
    host.wait_for("swap: in place");
    run.add(&mut host, 5);
    host.finish();
    assert_eq!(run.lake().ids, (1..=5).map(|id| (id, 1)).collect());
    assert_eq!(run.versions().len(), 2);

    // What happened survives a restart.
    let host = run.start(&[]);
    let history: Value = serde_json::from_str(&said(run.stage("history").arg("--json"))).unwrap();
    let what: Vec<&str> = history.as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    for step in ["in_place", "held", "accepted", "rolled_back"] {
        assert!(what.contains(&step), "{step} in {what:?}");
    }
    let history = said(&mut run.stage("history"));
    assert!(history.starts_with("when (UTC)") && history.contains("rolled back"), "{history}");
    assert_eq!(said(run.stage("history").args(["-n", "1"])).lines().count(), 2);
    host.finish();
}

#[test]
fn a_pinned_stage_runs_nothing_else_until_it_is_unpinned() {
    let run = Run::new();
    let mut host = run.start(&[]);
    run.add(&mut host, 1);
    let pinned = said(&mut run.stage("pin"));
    assert!(pinned.contains(&format!("stage tag is pinned to {}: nothing else runs", short(1))), "{pinned}");
    let refused = fail(run.stage("propose").arg("--plugin").arg(run.other(2)));
    assert!(
        refused.contains("is pinned to") && refused.contains("`millstream stage unpin` lets others run"),
        "{refused}"
    );
    put(&run.plugin(), version(2));
    host.wait_for("the stage is pinned to");
    assert!(said(millstream().args(["stage", "list"]).arg(&run.pipeline)).contains(&format!("{}  -", short(1))));

    said(&mut run.stage("unpin"));
    let list = said(millstream().args(["stage", "list"]).arg(&run.pipeline));
    assert!(list.contains(&format!("tag.wasm (another: {})", short(2))), "{list}");
    assert!(list.contains(&format!("stage tag: its file is {}, which does not run", short(2))), "{list}");
    let refused = |entry: &&Value| entry["what"] == "refused";
    let history: Value = serde_json::from_str(&said(run.stage("history").arg("--json"))).unwrap();
    assert_eq!(history.as_array().unwrap().iter().filter(refused).count(), 1, "one change is refused once: {history}");
    let taken = said(run.stage("propose").arg("--plugin").arg(run.other(3)));
    assert!(taken.contains(&format!("stage tag: {} takes over", short(3))), "{taken}");
    host.wait_for("swap: in place");
    said(run.stage("pin").arg("--to").arg(&short(1)[..8]));
    host.wait_for("swap: in place");
    run.add(&mut host, 2);
    let unknown = fail(run.stage("pin").args(["--to", "0000000000"]));
    assert!(unknown.contains("no version of stage \"tag\" is known whose digest begins with 0000000000"), "{unknown}");
    assert!(fail(run.stage("pin").args(["--to", "Z"])).contains("\"Z\" is no digest"));
    host.finish();
    assert_eq!(run.versions(), BTreeSet::from(["version-0001".to_owned()]));
}

#[test]
fn a_config_changes_without_a_restart_and_stays_behind_one() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = shape::pipeline(folder.path());
    fs::write(folder.path().join("shape.wasm"), component("shape")).unwrap();
    fs::write(folder.path().join("rows.jsonl"), "{\"id\":1}\n").unwrap();
    let propose = |config: &str| {
        let mut command = millstream();
        command.args(["stage", "propose"]).arg(pipeline.join("shape")).args(["--config", config]);
        command
    };
    let mut host = Host::follow(&pipeline, &[]);
    host.wait_for("read=1 out=1");
    fs::write(folder.path().join("config.json"), "{\"prefix\": \"old \"}").unwrap();
    let from_file = format!("@{}", folder.path().join("config.json").display());
    let done = said(&mut propose(&from_file));
    assert!(done.contains("with config {\"prefix\":\"old \"} takes over"), "{done}");
    host.wait_for("swap: in place");
    for (config, why) in [
        (
            "{\"prefix\": 7}",
            "the plugin refuses the proposed config {\"prefix\":7}: config key `prefix`: invalid type: integer `7`",
        ),
        (
            "{\"nonsense\": 1}",
            "the plugin refuses the proposed config {\"nonsense\":1}: config key `nonsense`: unknown",
        ),
        ("{", "--config is no JSON"),
        ("[]", "--config is no JSON object"),
        ("@/no/such/file", "the config /no/such/file cannot be read"),
    ] {
        let said = fail(&mut propose(config));
        assert!(said.contains(why), "{config}: {said}");
    }
    host.finish();
    let mut host = Host::follow(&pipeline, &[]);
    append(&folder.path().join("rows.jsonl"), "{\"id\":2}");
    host.wait_for("read=1 out=1");
    host.finish();
    let config = |file: &PathBuf| {
        let explained = said(millstream().args(["explain", "--json"]).arg(file));
        serde_json::from_str::<Value>(&explained).unwrap()["config"]["shape"].clone()
    };
    let mut configs: Vec<Value> = files(&folder.path().join("lake")).iter().map(config).collect();
    configs.sort_by_key(ToString::to_string);
    assert_eq!(configs, [json!({ "prefix": "old " }), json!({})]);
}

/// Runs a capture, with rows coming until it is done.
fn captured(run: &Run, host: &mut Host, command: &mut Command, id: i64) {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        run.add(host, id);
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn captured_rows_are_replayed_by_plugin_test() {
    let run = Run::new();
    let mut host = run.start(&[]);
    captured(&run, &mut host, run.capture("rows.case.jsonl").args(["--rows", "2"]), 7);
    let file = run.file("rows.case.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let case = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = case.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1..], [json!({ "in": { "id": 7 } }), json!({ "in": { "id": 7 } })]);
    assert_eq!(lines[0]["captured"]["digest"], json!(digest(&version(1))));
    let update = |file: &Path| {
        let mut test = millstream();
        test.args(["plugin", "test"]).arg(run.file("tag.wasm")).arg("--cases").arg(file).arg("--update");
        said(&mut test);
        fs::read_to_string(file).unwrap()
    };
    assert!(update(&file).contains("\"version\":\"version-0001\""), "{}", update(&file));

    captured(&run, &mut host, run.capture("bad.jsonl").args(["--rows", "1", "--rejected"]), -1);
    assert!(update(&run.file("bad.jsonl")).contains("\"rejected\""), "{}", update(&run.file("bad.jsonl")));
    captured(&run, &mut host, run.capture("masked.jsonl").args(["--rows", "1", "--mask", "id"]), 9);
    let masked = fs::read_to_string(run.file("masked.jsonl")).unwrap();
    assert!(masked.ends_with("{\"in\":{\"id\":0}}\n"), "{masked}");

    let said = fail(run.capture("masked.jsonl").args(["--rows", "1"]));
    assert!(said.contains("masked.jsonl is there already"), "{said}");
    let said = fail(run.capture("none.jsonl").args(["--rows", "5", "--rejected", "--wait", "1"]));
    assert!(said.contains("no rejected row came to stage \"tag\" within 1 s; nothing is written"), "{said}");
    assert!(!run.file("none.jsonl").exists());
    let said = fail(run.capture("none.jsonl").args(["--rows", "1", "--wait", "1", "--mask", "name"]));
    assert!(
        said.contains("the stage reads no column \"name\" that could be masked") && said.contains("it reads id"),
        "{said}"
    );
    host.finish();
}

#[test]
fn mistakes_are_named() {
    let run = Run::new();
    let nobody = |said: &str| {
        assert!(said.contains("no running host has the data folder") && said.contains("state"), "{said}");
        assert!(
            said.contains("help:  start it with `millstream run ") && said.contains("tag.toml --follow`"),
            "{said}"
        );
    };
    nobody(&fail(&mut run.stage("list")));
    let mut host = run.start(&[]);
    let said = fail(millstream().args(["stage", "diff"]).arg(&run.pipeline));
    assert!(said.contains("no stage is named"), "{said}");
    let said = fail(millstream().args(["stage", "diff"]).arg(run.pipeline.join("tig")));
    assert!(said.contains("has no stage \"tig\" that is a plugin") && said.contains("help:  it has tag"), "{said}");
    let said = fail(millstream().args(["stage", "list"]).arg(run.pipeline.join("tig")));
    assert!(said.contains("has no stage \"tig\""), "{said}");
    let said = fail(millstream().args(["stage", "list"]).arg(run.file("nothing.toml")));
    assert!(said.contains("there is no pipeline file"), "{said}");
    let said = fail(run.stage("propose").arg("--plugin").arg(run.file("nothing.wasm")));
    assert!(said.contains("nothing.wasm cannot be read"), "{said}");
    let said = fail(run.stage("propose").arg("--plugin").arg(&run.pipeline));
    assert!(said.contains("the proposed plugin is not a WebAssembly component"), "{said}");
    let said = fail(&mut run.stage("rollback"));
    assert!(said.contains("nothing ran in stage \"tag\" before"), "{said}");
    let usage = run.stage("propose").output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "{}", text(&usage.stderr));
    // Killed, it leaves its socket behind: nobody answers there, and the next start takes the place.
    host.kill();
    assert!(run.socket().exists());
    nobody(&fail(&mut run.stage("list")));
    let host = run.start(&[]);
    let list = text(&succeed(&mut run.stage("list")).stdout);
    assert!(list.contains(&short(1)), "{list}");
    host.finish();
    assert!(!run.socket().exists());
    nobody(&fail(&mut run.stage("list")));
}

/// A request as text; the status line and the body of the answer.
fn ask(socket: &Path, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A host that refuses a body does not read it to its end: behind its answer the connection is reset.
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[test]
fn the_socket_is_the_owners_and_speaks_http() {
    let run = Run::new();
    let host = run.start(&[]);
    let about = fs::metadata(run.socket()).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    let request = |head: &str, body: &str| {
        let length = body.len();
        ask(
            &run.socket(),
            &format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"),
        )
    };
    let (status, body) = request("GET /v1/stages", "");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()[0]["live"]["digest"], json!(digest(&version(1))));
    for (head, body, status, message) in [
        ("GET /v1/nothing", "", "400", "there is no GET /v1/nothing here"),
        ("DELETE /v1/stages", "", "400", "there is no DELETE /v1/stages here"),
        ("POST /v1/stages/tag/propose", "{}", "400", "a proposal has a `plugin`, a `config`, or both"),
        (
            "POST /v1/stages/tag/propose",
            "{\"plugin\": \"%\"}",
            "400",
            "`plugin` is not the bytes of a component in base64",
        ),
        ("POST /v1/stages/tag/propose", "{\"plugin\": \"AAAA\"}", "422", "is not a WebAssembly component"),
        ("POST /v1/stages/tag/pin", "{\"diegst\": \"00\"}", "400", "unknown field `diegst`"),
        (
            "POST /v1/stages/tag/capture",
            "{\"rows\": 0, \"wait_seconds\": 1, \"keep_days\": 1}",
            "400",
            "from 1 to 100000",
        ),
        ("POST /v1/stages/tig/unpin", "", "400", "has no stage \"tig\""),
    ] {
        let (line, answer) = request(head, body);
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {line} {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["message"].as_str().unwrap().contains(message), "{head}: {answer}");
    }
    let (line, _) = request("POST /v1/stages/tag/pin", &" ".repeat(100_000));
    assert!(line.starts_with("HTTP/1.1 413"), "{line}");
    host.finish();
}

#[test]
fn a_long_path_is_no_hindrance() {
    let run = Run::new();
    let long = format!("data=state/{}", "long-name/".repeat(12));
    let host = run.start(&[&long]);
    assert!(run.file(&long[5..]).join("control.sock").as_os_str().len() > 107);
    let list = said(run.stage("list").args(["--set", &long]));
    assert!(list.contains(&short(1)), "{list}");
    host.finish();
}
