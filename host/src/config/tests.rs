use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::keys::SECTIONS;
use super::*;

const REFERENCE: &str = include_str!("../../../docs/pipeline.md");
const MINIMAL: &str = r#"
name = "clicks"
[source.clicks]
file = { path = "clicks.jsonl" }
format = "json"
columns = { ts = "timestamp(ms)", url = "utf8" }
[[stage]]
name = "clean"
plugin = { file = "clean.wasm" }
config = { max_age = "7d", "dotted.key" = 1 }
[output.views]
parquet = { path = "lake/views" }
"#;

fn read_with(text: &str, sets: &[(&str, &str)]) -> Result<Pipeline, Problems> {
    let sets: Vec<(String, String)> =
        sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let environment = |name: &str| match name {
        "WORKERS" => Some("3".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    read_text(Path::new("folder/pipeline.toml"), text.to_owned(), &sets, &environment)
}

/// The heading of a table in the reference, and the keys of the table below it.
fn documented() -> BTreeSet<(String, String)> {
    let mut heading = "";
    let mut keys = BTreeSet::new();
    for line in REFERENCE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
            && !key.starts_with(['@', '$'])
            && heading != "Types"
        {
            keys.insert((heading.trim_matches('`').to_lowercase(), key.to_owned()));
        }
    }
    keys
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let known: BTreeSet<(String, String)> = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.path.to_lowercase(), (*key).to_owned())))
        .collect();
    let documented = documented();
    let missing: Vec<_> = known.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "docs/pipeline.md lacks {missing:?}, and has {unknown:?}");
}

#[test]
fn the_example_of_the_reference_reads() {
    let example = REFERENCE.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let environment = |_: &str| Some("localhost:9092".to_owned());
    let pipeline = read_text(Path::new("clicks.toml"), example.to_owned(), &[], &environment)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(pipeline.stages.len(), 2);
}

#[test]
fn defaults_are_those_of_the_reference() {
    let pipeline = read_with(MINIMAL, &[]).expect("a right file");
    assert_eq!(pipeline.data, Path::new("folder/data/clicks"));
    assert_eq!(pipeline.epoch.interval, Duration::from_secs(10));
    assert_eq!(pipeline.batch.rows, 4096);
    assert!(matches!(&pipeline.rejects, Rejects::File { path, .. } if path == Path::new("folder/data/clicks/rejects")));
    assert_eq!(pipeline.stages[0].limits.memory_bytes, 64 << 20);
    assert_eq!(pipeline.stages[0].limits.trap_calls, 1_000);
    let OutputKind::Parquet(parquet) = &pipeline.outputs[0].kind else { panic!("parquet") };
    assert_eq!((parquet.target_file_bytes, parquet.compression), (128 << 20, Compression::Zstd(1)));
    assert_eq!(parquet.path, Path::new("folder/lake/views"));
    let SourceKind::File(file) = &pipeline.sources[0].kind else { panic!("a file") };
    assert_eq!(file.paths[0].value, "folder/clicks.jsonl");
}

#[test]
fn set_changes_values_of_every_type() {
    let sets = [
        ("workers", "2"),
        ("name", "123"),
        ("epoch.interval", "1s"),
        ("stage.clean.config.max_age", "14d"),
        ("stage.clean.config.\"dotted.key\"", "[1, \"a\"]"),
        ("stage.clean.limits.trap_calls", "5"),
        ("stage.clean.limits.log", "off"),
        ("output.views.columns", "[\"ts\"]"),
        ("source.clicks.columns.ts", "date?"),
        ("source.clicks.unknown", "{ keep = \"rest\" }"),
    ];
    let pipeline = read_with(MINIMAL, &sets).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((pipeline.workers, pipeline.name.as_str()), (2, "123"));
    assert_eq!(pipeline.epoch.interval, Duration::from_secs(1));
    assert_eq!((pipeline.stages[0].limits.trap_calls, pipeline.stages[0].limits.log), (5, LevelFilter::OFF));
    let StageKind::Plugin(plugin) = &pipeline.stages[0].kind else { panic!("a plugin") };
    assert_eq!(plugin.config.value.text(), r#"{"max_age":"14d","dotted.key":[1,"a"]}"#);
    assert_eq!(pipeline.outputs[0].columns.as_ref().map(Vec::len), Some(1));
    assert_eq!(pipeline.sources[0].columns[0].logical, millstream_sdk::LogicalType::Date);
    assert_eq!(pipeline.sources[0].unknown, Unknown::Keep("rest".to_owned()));
}

#[test]
fn the_environment_is_filled_in_as_the_wanted_type() {
    let sets = [
        ("workers", "${WORKERS}"),
        ("epoch.interval", "${EMPTY:-2s}"),
        ("stage.clean.config.max_age", "$${WORKERS} ${NONE:-x}"),
    ];
    let pipeline = read_with(MINIMAL, &sets).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((pipeline.workers, pipeline.epoch.interval), (3, Duration::from_secs(2)));
    let StageKind::Plugin(plugin) = &pipeline.stages[0].kind else { panic!("a plugin") };
    assert_eq!(plugin.config.value.text(), r#"{"max_age":"${WORKERS} x","dotted.key":1}"#);
}

#[test]
fn a_secret_comes_from_a_file_without_its_line_end() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), "s3cr3t\r\n").expect("the secret is written");
    let text = MINIMAL.replace("\"7d\"", "\"${file:secret}\"");
    let pipeline = read_text(&folder.path().join("pipeline.toml"), text, &[], &|_| None).expect("a right file");
    let StageKind::Plugin(plugin) = &pipeline.stages[0].kind else { panic!("a plugin") };
    assert_eq!(plugin.config.value.text(), r#"{"max_age":"s3cr3t","dotted.key":1}"#);
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let problems = read(Path::new("nowhere.toml"), &[], &|_| None).expect_err("no such file");
    assert!(problems.to_string().contains("nowhere.toml cannot be read"), "{problems}");
}

#[test]
fn a_kafka_source_has_the_settings_of_file_and_table() {
    let path = Path::new("../tests/pipelines/right/clicks.toml");
    let pipeline = read(path, &[], &|_| Some("localhost:9092".to_owned())).unwrap_or_else(|p| panic!("{p}"));
    let SourceKind::Kafka(kafka) = &pipeline.sources[0].kind else { panic!("kafka") };
    let properties: Vec<(&str, &str)> =
        kafka.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        properties,
        [("fetch.min.bytes", "1"), ("security.protocol", "SSL"), ("ssl.ca.location", "/etc/ssl/certs/ca.pem")]
    );
    let from: Vec<&ColumnFrom> = pipeline.sources[0].columns.iter().map(|column| &column.from).collect();
    assert!(from.contains(&&ColumnFrom::Header("trace".to_owned())));
    assert!(from.contains(&&ColumnFrom::Field(vec!["http".to_owned(), "status.code".to_owned()])));
}
