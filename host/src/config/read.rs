//! Reads the pipeline file. Promise: everything that is wrong is found in one go. It holds because no part stops at its
//! first problem: each reports and goes on, and only at the end does a missing part mean that there is no pipeline.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{self, At, Entry, Node, Table, Value};
use super::environment::Surroundings;
use super::from::{Link, Outline};
use super::keys::{BATCH, EPOCH, Field, Keys};
use super::problem::{Problem, Problems, suggestion};
use super::reader::{Reader, text_of};
use super::{
    BatchSettings, CommitTo, Delivery, Dimension, EpochSettings, KafkaOutput, KafkaSource, Located, Output, OutputKind,
    Pipeline, Rejects, Source, SourceKind, Stage, output, set, source, stage,
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
const EPOCH_MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;
const BATCH_ROWS: RangeInclusive<u64> = 1..=65_536;
const BATCH_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;
const WORKERS: RangeInclusive<u64> = 1..=1_024;
const DEFAULT_EPOCH: EpochSettings = EpochSettings { interval: Duration::from_secs(10), memory_bytes: 256 << 20 };
const DEFAULT_BATCH: BatchSettings = BatchSettings { rows: 4_096, bytes: 4 << 20 };

/// Reads a pipeline file; `overrides` are the keys and values of `--set`.
///
/// `${NAME}` in any string is filled in from `environment`, `${NAME:-default}` has a default, `${file:PATH}` is the
/// text of a file (a secret) without the line end behind it, and `$${` is a plain `${`.
///
/// # Errors
/// Everything that is wrong with the file, in one go.
pub fn read(
    path: &Path,
    overrides: &[(String, String)],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Pipeline, Problems> {
    match std::fs::read_to_string(path) {
        Ok(text) => read_text(path, text, overrides, environment),
        Err(error) => {
            let mut problems = Problems::new(path, "");
            let problem = Problem::error(format!("{} cannot be read: {error}", path.display()));
            problems.push(problem.help("name the pipeline file, such as pipeline.toml"));
            Err(problems)
        }
    }
}

/// Reads a pipeline file's text as [`read`] does; relative paths in it start at the folder of `path`.
///
/// # Errors
/// Everything that is wrong with the text, in one go.
pub fn read_text(
    path: &Path,
    text: String,
    overrides: &[(String, String)],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Pipeline, Problems> {
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut problems = Problems::new(path, &text);
    let mut root = document::parse(&text, &mut problems);
    let broken = !problems.is_empty();
    for (key, value) in overrides {
        if let Err(problem) = set::set(&mut root, key, value) {
            problems.push(problem);
        }
    }
    let surroundings = Surroundings { environment, folder: &folder, text: &text };
    surroundings.fill_in(&mut root, &mut problems);
    let mut reader = Reader { text: &text, folder: &folder, surroundings: &surroundings, problems };
    if broken {
        // Behind a syntax error keys seem to be missing or unknown that are only torn: nothing more would be true.
        return Err(reader.problems);
    }
    let parts = Parts::read(&mut reader, &root, &folder);
    let problems = reader.problems;
    match parts {
        Some(parts) if problems.is_empty() => Ok(parts.pipeline(path, text)),
        _ => Err(problems),
    }
}

/// What the file says, before it is known to be free of problems.
struct Parts {
    name: String,
    data: PathBuf,
    workers: usize,
    commit: CommitTo,
    epoch: EpochSettings,
    batch: BatchSettings,
    sources: Vec<Source>,
    dimensions: Vec<Dimension>,
    stages: Vec<Stage>,
    outputs: Vec<Output>,
    rejects: Rejects,
}

impl Parts {
    fn read(reader: &mut Reader<'_>, root: &Table, folder: &Path) -> Option<Self> {
        let top = At::File(0..0);
        let mut keys = Keys::top(root, &top);
        let name = keys.require(reader, "name", "name = \"clicks\" in the first line").and_then(|field| {
            let name = reader.string(&field, "\"clicks\"")?;
            reader.name(&name.value, &field.node.at, "pipeline")
        });
        let data = match keys.take("data") {
            Some(field) => reader.path(&field, "\"data\"").map(|path| path.value),
            None => name.as_ref().map(|name| folder.join("data").join(&name.value)),
        };
        let workers = keys.optional(reader, "workers", cores(), |reader, field| {
            usize::try_from(reader.integer(field, WORKERS)?).ok()
        });
        let commit = keys.optional(reader, "commit", CommitTo::default(), |reader, field| {
            reader.word(field, &[("kafka", CommitTo::Kafka), ("log", CommitTo::Log)])
        });
        let epoch = keys.optional(reader, "epoch", DEFAULT_EPOCH, epoch);
        let batch = keys.optional(reader, "batch", DEFAULT_BATCH, batch);
        let sources = named(reader, keys.take("source"), "source", source::source);
        let dimensions = named(reader, keys.take("dimension"), "dimension", source::dimension);
        let stages = stages(reader, keys.take("stage"));
        let outputs = named(reader, keys.take("output"), "output", output::output);
        let rejects = keys.take("rejects");
        let rejects = output::rejects(reader, rejects.as_ref(), data.as_deref().unwrap_or(folder));
        keys.finish(reader);

        let outline = outline(root);
        at_least_one(reader, root);
        double_stages(reader, &outline);
        if !outline.sources.is_empty() {
            outline.check(&mut reader.problems);
        }
        check_tables(reader, root);
        check_places(reader, &sources, &outputs, rejects.as_ref(), commit);
        check_groups(reader, &sources);
        Some(Self {
            name: name?.value,
            data: data?,
            workers: workers?,
            commit: commit?,
            epoch: epoch?,
            batch: batch?,
            sources: sources.into_iter().collect::<Option<_>>()?,
            dimensions: dimensions.into_iter().collect::<Option<_>>()?,
            stages: stages.into_iter().collect::<Option<_>>()?,
            outputs: outputs.into_iter().collect::<Option<_>>()?,
            rejects: rejects?,
        })
    }

    fn pipeline(self, path: &Path, text: String) -> Pipeline {
        let Self { name, data, workers, commit, epoch, batch, sources, dimensions, stages, outputs, rejects } = self;
        let path = path.to_path_buf();
        Pipeline {
            name,
            path,
            text,
            data,
            workers,
            commit,
            epoch,
            batch,
            sources,
            dimensions,
            stages,
            outputs,
            rejects,
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn epoch(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<EpochSettings> {
    let mut keys = Keys::of(reader, field, &EPOCH, "[epoch] with interval = \"10s\"")?;
    let interval =
        keys.optional(reader, "interval", DEFAULT_EPOCH.interval, |reader, field| reader.duration(field, INTERVAL));
    let memory_bytes = keys
        .optional(reader, "memory", DEFAULT_EPOCH.memory_bytes, |reader, field| reader.size(field, EPOCH_MEMORY_BYTES));
    keys.finish(reader);
    Some(EpochSettings { interval: interval?, memory_bytes: memory_bytes? })
}

fn batch(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<BatchSettings> {
    let mut keys = Keys::of(reader, field, &BATCH, "[batch] with rows = 4096")?;
    let rows = keys.optional(reader, "rows", DEFAULT_BATCH.rows, |reader, field| {
        usize::try_from(reader.integer(field, BATCH_ROWS)?).ok()
    });
    let bytes = keys.optional(reader, "bytes", DEFAULT_BATCH.bytes, |reader, field| {
        usize::try_from(reader.size(field, BATCH_BYTES)?).ok()
    });
    keys.finish(reader);
    Some(BatchSettings { rows: rows?, bytes: bytes? })
}

/// The tables of `[kind.NAME]`, each read for itself; `None` stands for one with problems.
fn named<T>(
    reader: &mut Reader<'_>,
    field: Option<Field<'_>>,
    kind: &str,
    read: impl Fn(&mut Reader<'_>, &Entry) -> Option<T>,
) -> Vec<Option<T>> {
    let Some(field) = field else { return Vec::new() };
    match &field.node.value {
        Value::Table(table) => table.entries.iter().map(|entry| read(reader, entry)).collect(),
        Value::Array(_) => {
            let help = format!("write [{kind}.NAME], with one pair of brackets and a name, for each");
            reader.wrong_type(&field, "a table of tables", &help);
            vec![None]
        }
        _ => {
            reader.wrong_type(&field, "a table of tables", &format!("write [{kind}.NAME] for each"));
            vec![None]
        }
    }
}

fn stages(reader: &mut Reader<'_>, field: Option<Field<'_>>) -> Vec<Option<Stage>> {
    let Some(field) = field else { return Vec::new() };
    match &field.node.value {
        Value::Array(items) => items.iter().map(|node| stage::stage(reader, node)).collect(),
        _ => {
            let help = "stages are a list, in their order: write [[stage]], with two pairs of brackets, for each";
            reader.wrong_type(&field, "a list", help);
            vec![None]
        }
    }
}

/// The names and `from`s, whatever else is wrong with their tables, so that a wrong unit in a source does not look as
/// if the source were not there.
fn outline(root: &Table) -> Outline {
    let stage = |node: &Node| {
        let empty = Located { value: String::new(), span: node.at.span() };
        Link { name: text_at(node, "name").unwrap_or(empty), from: text_at(node, "from") }
    };
    let output = |entry: &Entry| Link {
        name: Located { value: entry.key.clone(), span: entry.key_at.span() },
        from: text_at(&entry.node, "from"),
    };
    Outline {
        sources: entries(root, "source").iter().map(|entry| entry.key.clone()).collect(),
        stages: stage_nodes(root).iter().map(stage).collect(),
        outputs: entries(root, "output").iter().map(output).collect(),
    }
}

/// The tables of `[kind.NAME]`.
fn entries<'t>(root: &'t Table, kind: &str) -> &'t [Entry] {
    match root.get(kind).map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => &table.entries,
        _ => &[],
    }
}

fn stage_nodes(root: &Table) -> &[Node] {
    match root.get("stage").map(|entry| &entry.node.value) {
        Some(Value::Array(stages)) => stages,
        _ => &[],
    }
}

fn node_at<'t>(node: &'t Node, key: &str) -> Option<&'t Node> {
    match &node.value {
        Value::Table(table) => Some(&table.get(key)?.node),
        _ => None,
    }
}

fn text_at(node: &Node, key: &str) -> Option<Located<String>> {
    text_in(node_at(node, key)?)
}

fn text_in(node: &Node) -> Option<Located<String>> {
    Some(Located { value: text_of(node)?.to_owned(), span: node.at.span() })
}

fn at_least_one(reader: &mut Reader<'_>, root: &Table) {
    let is_empty = |kind: &str| match root.get(kind).map(|entry| &entry.node.value) {
        None => true,
        Some(Value::Table(table)) => table.entries.is_empty(),
        // Something else was reported already.
        Some(_) => false,
    };
    if is_empty("source") {
        let help = "add [source.clicks] with file = { path = \"clicks.jsonl\" }, a format and columns; \
                    `millstream infer` proposes them";
        reader.problems.push(Problem::error("the pipeline has no source").help(help));
    }
    if is_empty("output") {
        let help = "add [output.clicks] with parquet = { path = \"lake/clicks\" }";
        reader.problems.push(Problem::error("the pipeline has no output").help(help));
    }
}

fn double_stages(reader: &mut Reader<'_>, outline: &Outline) {
    let names: Vec<Located<String>> =
        outline.stages.iter().map(|stage| stage.name.clone()).filter(|name| !name.value.is_empty()).collect();
    reader.no_doubles(&names, |name| format!("two stages have the name \"{name}\""));
}

/// Stages look up in dimensions that are there.
fn check_tables(reader: &mut Reader<'_>, root: &Table) {
    let dimensions: Vec<&str> = entries(root, "dimension").iter().map(|entry| entry.key.as_str()).collect();
    for stage in stage_nodes(root) {
        let Some(name) = text_at(stage, "name") else { continue };
        let looked_up = node_at(stage, "lookup").and_then(|lookup| text_at(lookup, "table"));
        let granted = node_at(stage, "plugin").and_then(|plugin| node_at(plugin, "tables")).map(|tables| &tables.value);
        let granted = match granted {
            Some(Value::Array(tables)) => tables.iter().filter_map(text_in).collect(),
            _ => Vec::new(),
        };
        for table in looked_up.iter().chain(&granted).filter(|table| !dimensions.contains(&table.value.as_str())) {
            let hint = suggestion(&table.value, dimensions.iter().copied(), "there are no dimensions");
            let message = format!("stage \"{}\" looks up in \"{}\", which is no dimension", name.value, table.value);
            let help = format!("dimensions are tables of their own: [dimension.{}]", table.value);
            reader.problems.push(Problem::error(message).at(&table.span, hint).help(help));
        }
    }
}

/// No topic is read and written, and one transaction holds all rows that reach topics exactly once.
fn check_topics(
    reader: &mut Reader<'_>,
    sources: &[Option<Source>],
    topics: &[(String, &KafkaOutput)],
    commit: Option<CommitTo>,
) {
    for (who, topic) in topics {
        let reads = sources.iter().flatten().find(|source| {
            matches!(&source.kind, SourceKind::Kafka(kafka)
                if kafka.topic.value == topic.topic.value && kafka.brokers.value == topic.brokers.value)
        });
        if let Some(source) = reads {
            let message = format!("{who} writes to the topic that source \"{}\" reads", source.name.value);
            let problem = Problem::error(message).at(&topic.topic.span, "rows would go round for ever");
            reader.problems.push(problem.help("write to another topic"));
        }
    }
    let mut exactly_once = topics.iter().filter(|(_, topic)| topic.delivery == Delivery::ExactlyOnce);
    let Some((first, with)) = exactly_once.next() else { return };
    if commit == Some(CommitTo::Log) {
        let problem = Problem::error(format!("{first} delivers each row exactly once, but `commit` is \"log\""))
            .at(&with.topic.span, "this needs a transaction")
            .help("leave `commit` out, or let it deliver `at_least_once`: delivery = \"at_least_once\"");
        reader.problems.push(problem);
    }
    for (who, topic) in exactly_once {
        let other = if topic.brokers.value != with.brokers.value {
            "brokers"
        } else if topic.properties != with.properties {
            "properties"
        } else {
            continue;
        };
        let problem = Problem::error(format!("{who} has other {other} than {first}"))
            .at(&topic.brokers.span, "one transaction cannot hold both")
            .at(&with.brokers.span, "the first is here")
            .help(format!(
                "give both the same {other}, or let one deliver `at_least_once`: delivery = \"at_least_once\""
            ));
        reader.problems.push(problem);
    }
}

/// Two sources never share a group: the host has one place in it.
fn check_groups(reader: &mut Reader<'_>, sources: &[Option<Source>]) {
    let mut groups: Vec<(&Source, &KafkaSource)> = Vec::new();
    for source in sources.iter().flatten() {
        let SourceKind::Kafka(kafka) = &source.kind else { continue };
        let same = |(_, other): &&(&Source, &KafkaSource)| {
            other.group.value == kafka.group.value && other.brokers.value == kafka.brokers.value
        };
        if let Some((other, group)) = groups.iter().find(same) {
            let (name, other) = (&source.name.value, &other.name.value);
            let problem = Problem::error(format!("sources \"{other}\" and \"{name}\" have the same group"))
                .at(&kafka.group.span, "this one")
                .at(&group.group.span, "and this one")
                .help("give each source a group of its own: a host has one place in a group");
            reader.problems.push(problem);
        }
        groups.push((source, kafka));
    }
}

/// Two outputs never share a folder (their files would be taken for each other's), and no topic is read and written.
fn check_places(
    reader: &mut Reader<'_>,
    sources: &[Option<Source>],
    outputs: &[Option<Output>],
    rejects: Option<&Rejects>,
    commit: Option<CommitTo>,
) {
    let mut folders: Vec<(String, &Path, std::ops::Range<usize>)> = Vec::new();
    let mut topics: Vec<(String, &KafkaOutput)> = Vec::new();
    for output in outputs.iter().flatten() {
        match &output.kind {
            OutputKind::Parquet(parquet) => {
                folders.push((format!("output \"{}\"", output.name.value), &parquet.path, output.name.span.clone()));
            }
            OutputKind::Kafka(topic) => topics.push((format!("output \"{}\"", output.name.value), topic)),
        }
    }
    match rejects {
        Some(Rejects::File { path, .. }) => folders.push(("the rejects".to_owned(), path, 0..0)),
        Some(Rejects::Kafka(topic)) => topics.push(("[rejects]".to_owned(), topic)),
        None => {}
    }
    check_topics(reader, sources, &topics, commit);
    for (index, (who, path, span)) in folders.iter().enumerate() {
        let clash = folders[..index].iter().find(|(_, other, _)| path.starts_with(other) || other.starts_with(path));
        if let Some((other, _, other_span)) = clash {
            let problem =
                Problem::error(format!("{who} and {other} write to the same folder, or one into the other's"))
                    .at(span, "this one")
                    .at(other_span, "and this one")
                    .help("give each a folder of its own: readers take all files below a folder for one table");
            reader.problems.push(problem);
        }
    }
}
