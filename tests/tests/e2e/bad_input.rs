//! Promise: bad input of any kind gets a clear error that names the place and the way out, and nothing is lost.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use millstream_tests::host::{fail, millstream, succeed, text};
use millstream_tests::kafka::Kafka;

/// A pipeline from one source to Parquet, without stages.
fn pipeline(folder: &Path, source: &str, format: &str) {
    let text = format!(
        r#"
name = "bad"
data = "state"

[source.rows]
{source}
format = "{format}"
columns = {{ id = "int64", text = "utf8?" }}

[output.rows]
from = "source.rows"
parquet = {{ path = "lake" }}
"#
    );
    fs::write(folder.join("bad.toml"), text).unwrap();
}

fn run(folder: &Path) -> Command {
    let mut command = millstream();
    command.current_dir(folder).args(["run", "bad.toml", "--until-caught-up", "--no-progress"]);
    command
}

fn file(folder: &Path, name: &str, content: &[u8]) {
    pipeline(folder, &format!("file = {{ path = \"{name}\" }}"), if name.contains("csv") { "csv" } else { "json" });
    fs::write(folder.join(name), content).unwrap();
}

#[test]
fn broken_records_are_rejected_with_their_reason_and_all_others_go_through() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"id":1}"#,
        r#"{"id":"#,
        "[]",
        r#"{"id":"one"}"#,
        r#"{"text":"no id"}"#,
        r#"{"id":9223372036854775808}"#,
        r#"{"id":2,"text":7}"#,
        r#"{"id":3}"#,
    ];
    file(folder.path(), "rows.jsonl", lines.join("\n").as_bytes());
    let said = text(&succeed(&mut run(folder.path())).stdout);
    assert!(said.contains("in 8 + multiplied 0 = out 2 + rejected 6 + filtered 0"), "{said}");
    for reason in ["bad_json", "not_an_object", "wrong_type", "missing_field", "out_of_range"] {
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn a_record_of_twenty_megabytes_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let wide = format!("{{\"id\":1,\"text\":\"{}\"}}\n{{\"id\":2}}\n", "x".repeat(20 << 20));
    file(folder.path(), "rows.jsonl", wide.as_bytes());
    let said = text(&succeed(&mut run(folder.path())).stdout);
    assert!(said.contains("out 2 + rejected 0"), "{said}");
}

#[test]
fn a_truncated_gz_gives_what_was_whole_and_then_says_where_it_broke() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..200_000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let mut whole = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    whole.write_all(lines.as_bytes()).unwrap();
    let whole = whole.finish().unwrap();
    file(folder.path(), "rows.jsonl.gz", &whole[..whole.len() / 2]);
    let said = fail(&mut run(folder.path()));
    assert!(said.contains("rows.jsonl.gz"), "{said}");
    fs::write(folder.path().join("rows.jsonl.gz"), &whole).unwrap();
    let said = text(&succeed(&mut run(folder.path())).stdout);
    assert!(said.contains("conserved"), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    pipeline(folder.path(), r#"file = { path = "nowhere.jsonl" }"#, "json");
    let said = fail(&mut run(folder.path()));
    assert!(said.contains("nowhere.jsonl"), "{said}");
}

#[test]
fn an_empty_file_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "rows.jsonl", b"");
    let said = text(&succeed(&mut run(folder.path())).stdout);
    assert!(said.contains("in 0 + multiplied 0 = out 0"), "{said}");
}

#[test]
fn a_replaced_file_is_an_error_and_not_a_wrong_offset() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "rows.jsonl", b"{\"id\":1}\n{\"id\":2}\n");
    succeed(&mut run(folder.path()));
    fs::write(folder.path().join("rows.jsonl"), b"{\"id\":7}\n{\"id\":8}\n{\"id\":9}\n").unwrap();
    let said = fail(&mut run(folder.path()));
    assert!(said.contains("rows.jsonl") && said.contains("help:"), "{said}");
}

#[test]
fn a_file_that_grew_gives_its_new_rows_only() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "rows.jsonl", b"{\"id\":1}\n");
    succeed(&mut run(folder.path()));
    fs::write(folder.path().join("rows.jsonl"), b"{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n").unwrap();
    let said = text(&succeed(&mut run(folder.path())).stdout);
    assert!(said.contains("in 2 + multiplied 0 = out 2"), "{said}");
}

#[test]
fn an_unknown_topic_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let brokers = Kafka::shared().brokers();
    pipeline(
        folder.path(),
        &format!(r#"kafka = {{ brokers = "{brokers}", topic = "no-such-topic", group = "bad" }}"#),
        "json",
    );
    let said = fail(&mut run(folder.path()));
    assert!(said.contains("no-such-topic"), "{said}");
}

#[test]
fn an_empty_topic_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    Kafka::shared().create_topic("bad-empty", 2);
    let brokers = Kafka::shared().brokers();
    pipeline(
        folder.path(),
        &format!(r#"kafka = {{ brokers = "{brokers}", topic = "bad-empty", group = "bad-empty" }}"#),
        "json",
    );
    let said = text(&succeed(&mut run(folder.path())).stdout);
    assert!(said.contains("in 0 + multiplied 0 = out 0"), "{said}");
}

#[test]
fn a_broker_that_is_away_is_named() {
    let folder = tempfile::tempdir().unwrap();
    pipeline(folder.path(), r#"kafka = { brokers = "127.0.0.1:1", topic = "away", group = "away" }"#, "json");
    let said = fail(&mut run(folder.path()));
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[test]
fn rejects_reach_a_topic_and_one_that_is_too_long_for_it_stops_nothing() {
    let kafka = Kafka::shared();
    kafka.create_topic("bad-rejects", 1);
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(2 << 20));
    file(folder.path(), "in.jsonl", format!("{{\"id\":1}}\n{long}\n{{\"id\":\"two\"}}\n").as_bytes());
    let path = folder.path().join("bad.toml");
    let rejects = format!(
        "\n[rejects]\nkafka = {{ brokers = \"{}\", topic = \"bad-rejects\", delivery = \"at_least_once\" }}\n",
        kafka.brokers()
    );
    fs::write(&path, fs::read_to_string(&path).unwrap() + &rejects).unwrap();
    let output = succeed(&mut run(folder.path()));
    assert!(text(&output.stdout).contains("out 1 + rejected 2"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("at least once"), "{}", text(&output.stderr));
    let values = kafka.read_all("bad-rejects").into_iter().filter_map(|(_, value)| value);
    let rejects: Vec<serde_json::Value> = values.map(|value| serde_json::from_slice(&value).unwrap()).collect();
    assert_eq!(rejects.len(), 2);
    assert!(rejects[0]["record_value"].is_null() && rejects[0]["offset"] == 9, "{}", rejects[0]);
    assert!(rejects[0]["detail"].as_str().unwrap().contains("the record is left out"), "{}", rejects[0]);
    assert_eq!(rejects[1]["record_value"], r#"{"id":"two"}"#);
}

#[test]
fn check_names_missing_files_of_sources_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &str| {
        let pipeline = folder.path().join("p.toml");
        let text = format!(
            "name = \"p\"\ndata = \"state\"\n\n[source.rows]\nfile = {{ path = \"{path}\" }}\nformat = \"json\"\n\
             columns = {{ id = \"int64\" }}\n\n[output.rows]\nparquet = {{ path = \"lake\" }}\n"
        );
        fs::write(&pipeline, text).unwrap();
        let mut check = millstream();
        check.arg("check").arg(&pipeline);
        check
    };
    let said = fail(&mut check("nothing.jsonl"));
    assert!(said.contains("source \"rows\": there is no file") && said.contains("p.toml:5:17"), "{said}");
    let said = text(&succeed(&mut check("*.jsonl")).stderr);
    assert!(said.contains("source \"rows\": no file matches") && said.contains("1 warning"), "{said}");
    fs::write(folder.path().join("a.jsonl"), "").unwrap();
    assert_eq!(text(&succeed(&mut check("*.jsonl")).stderr), "");
}
