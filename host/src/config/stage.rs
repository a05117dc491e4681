//! `[[stage]]`: what happens to rows on their way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Number};
use tracing::level_filters::LevelFilter;

use super::config_keys::ConfigKeys;
use super::document::{Node, Table, Value};
use super::keys::{Field, Keys, LIMITS, LOOKUP, PLUGIN, STAGE};
use super::problem::Problem;
use super::reader::Reader;
use super::stage_config::{SECRET, Secrets};
use super::{Limits, Located, LookupStage, Missing, PluginStage, Stage, StageConfig, StageKind, Swap, units};

const MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=4 << 30;
const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
const TRAP_CALLS: RangeInclusive<u64> = 0..=1_000_000;
const LOG: [(&str, LevelFilter); 5] = [
    ("debug", LevelFilter::DEBUG),
    ("info", LevelFilter::INFO),
    ("warn", LevelFilter::WARN),
    ("error", LevelFilter::ERROR),
    ("off", LevelFilter::OFF),
];
const PLUGIN_EXAMPLE: &str = "plugin = { file = \"plugins/clean.wasm\" }";
const LOOKUP_EXAMPLE: &str = "lookup = { table = \"devices\", key = \"device_id\", add = { os = \"device_os\" } }";

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            deadline: Duration::from_secs(2),
            rejected: None,
            trap_calls: 1_000,
            log: LevelFilter::DEBUG,
        }
    }
}

/// One `[[stage]]`.
pub(super) fn stage(reader: &mut Reader<'_>, node: &Node) -> Option<Stage> {
    let field = Field { path: "stage".to_owned(), key_at: &node.at, node };
    let mut keys = Keys::of(reader, &field, &STAGE, &format!("[[stage]] with a name and {PLUGIN_EXAMPLE}"))?;
    let name = keys.require(reader, "name", "name = \"clean\"").and_then(|field| {
        let name = reader.string(&field, "\"clean\"")?;
        if name.value == "source" {
            let help = "`source.NAME` stands for the sources, so no stage can have this name";
            reader.wrong(&field, "cannot be \"source\"", help);
            return None;
        }
        reader.name(&name.value, &field.node.at, "stage")
    });
    if let Some(name) = &name {
        keys.rename(format!("stage.{}", name.value));
    }
    let from = keys.optional(reader, "from", None, |reader, field| reader.string(field, "\"source.clicks\"").map(Some));
    let config = keys.take("config");
    let limits = keys.take("limits");
    let swap = keys.take("swap");
    let either = format!("write {PLUGIN_EXAMPLE}, or {LOOKUP_EXAMPLE}");
    let (kind, limits) = match keys.one_of(reader, ["plugin", "lookup"], &either) {
        Some(("plugin", field)) => {
            let config = config_of(reader, config.as_ref());
            let swap = super::swap::swap(reader, swap.as_ref());
            let plugin = plugin(reader, &field, config, swap);
            (plugin.map(StageKind::Plugin), read_limits(reader, limits.as_ref(), true))
        }
        Some((_, field)) => {
            for config in [&config, &swap].into_iter().flatten() {
                let problem = Problem::error(format!("`{}` is there, but a lookup takes none", config.path));
                reader.problems.push(config.key_at.mark(problem, "for plugins only").help("take it away"));
            }
            (lookup(reader, &field).map(StageKind::Lookup), read_limits(reader, limits.as_ref(), false))
        }
        None => (None, read_limits(reader, limits.as_ref(), true)),
    };
    keys.finish(reader);
    Some(Stage { name: name?, from: from?, kind: kind?, limits: limits? })
}

fn plugin(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
    config: Option<Located<StageConfig>>,
    swap: Option<Swap>,
) -> Option<PluginStage> {
    let mut keys = Keys::of(reader, field, &PLUGIN, "{ file = \"plugins/clean.wasm\" }")?;
    let example = "\"plugins/clean.wasm\"";
    let file =
        keys.require(reader, "file", "file = \"plugins/clean.wasm\"").and_then(|field| reader.path(&field, example));
    let rename = keys.optional(reader, "rename", BTreeMap::new(), |reader, field| {
        let pairs = pairs(reader, field, "{ url = \"page_url\" }: the plugin's name, then the pipeline's")?;
        Some(pairs.into_iter().map(|(own, pipelines)| (own.value, pipelines.value)).collect())
    });
    let tables = keys.optional(reader, "tables", None, |reader, field| match &field.node.value {
        Value::Array(items) if items.is_empty() => Some(Some(Vec::new())),
        _ => reader.strings(field, "[\"users\"]").map(Some),
    });
    let sha256 = keys.optional(reader, "sha256", None, |reader, field| {
        let digest = reader.string(field, "\"3f9a..\"")?;
        if digest.value.len() != 64 || !digest.value.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            let help = "it is 64 digits of lower-case hex; `millstream plugin inspect FILE` prints it";
            reader.wrong(field, "is no SHA-256", help);
            return None;
        }
        Some(Some(digest))
    });
    keys.finish(reader);
    Some(PluginStage { file: file?, rename: rename?, tables: tables?, sha256: sha256?, config: config?, swap: swap? })
}

/// Names with names: `{ os = "device_os" }`.
fn pairs(reader: &mut Reader<'_>, field: &Field<'_>, example: &str) -> Option<Vec<(Located<String>, Located<String>)>> {
    let Value::Table(table) = &field.node.value else {
        reader.wrong_type(field, "a table", &format!("such as {example}"));
        return None;
    };
    let read: Vec<Option<_>> = table
        .entries
        .iter()
        .map(|entry| {
            let value = reader.string(&Field::of(entry, &field.path), example)?;
            Some((Located { value: entry.key.clone(), span: entry.key_at.span() }, value))
        })
        .collect();
    read.into_iter().collect()
}

fn lookup(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<LookupStage> {
    let example = "{ table = \"devices\", key = \"device_id\", add = { os = \"device_os\" } }";
    let mut keys = Keys::of(reader, field, &LOOKUP, example)?;
    let table = keys
        .require(reader, "table", "table = \"devices\", the name of a dimension")
        .and_then(|field| reader.string(&field, "\"devices\""));
    let key =
        keys.require(reader, "key", "key = \"device_id\", the column that holds the key").and_then(
            |field| match &field.node.value {
                Value::Array(_) => {
                    reader.list(&field, "[\"origin\", \"hour\"]", |reader, item| reader.string(item, "\"device_id\""))
                }
                _ => reader.string(&field, "\"device_id\"").map(|key| vec![key]),
            },
        );
    let example = "add = { os = \"device_os\" }: the new column, then the table's";
    let add = keys.require(reader, "add", example).and_then(|field| {
        let add = pairs(reader, &field, "{ os = \"device_os\" }")?;
        if let Value::Table(table) = &field.node.value {
            table.entries.iter().for_each(|entry| drop(reader.name(&entry.key, &entry.key_at, "column")));
        }
        Some(add)
    });
    let words = [("null", Missing::Null), ("reject", Missing::Reject), ("filter", Missing::Filter)];
    let missing = keys.optional(reader, "missing", Missing::Null, |reader, field| reader.word(field, &words));
    keys.finish(reader);
    Some(LookupStage { table: table?, key: key?, add: add?, missing: missing? })
}

fn read_limits(reader: &mut Reader<'_>, field: Option<&Field<'_>>, plugin: bool) -> Option<Limits> {
    let Some(field) = field else { return Some(Limits::default()) };
    let mut keys = Keys::of(reader, field, &LIMITS, "{ memory = \"64 MiB\", deadline = \"2s\" }")?;
    if !plugin {
        for (key, what) in [("memory", "memory"), ("deadline", "deadline"), ("trap_calls", "traps"), ("log", "lines")] {
            if let Value::Table(table) = &field.node.value
                && let Some(entry) = table.get(key)
            {
                let message = format!("`{}.{key}` is there, but a lookup has no {what} of its own", field.path);
                let problem = Problem::error(message).help("only `rejected` limits a lookup");
                reader.problems.push(entry.key_at.mark(problem, "for plugins only"));
            }
        }
    }
    let memory_bytes = keys
        .optional(reader, "memory", Limits::default().memory_bytes, |reader, field| reader.size(field, MEMORY_BYTES));
    let deadline =
        keys.optional(reader, "deadline", Limits::default().deadline, |reader, field| reader.duration(field, DEADLINE));
    let rejected = keys.optional(reader, "rejected", None, |reader, field| {
        reader.unit(field, "\"5% over 1m\"", units::share_over).map(Some)
    });
    let trap_calls = keys.optional(reader, "trap_calls", Limits::default().trap_calls, |reader, field| {
        u32::try_from(reader.integer(field, TRAP_CALLS)?).ok()
    });
    let log = keys.optional(reader, "log", Limits::default().log, |reader, field| reader.word(field, &LOG));
    keys.finish(reader);
    Some(Limits {
        memory_bytes: memory_bytes?,
        deadline: deadline?,
        rejected: rejected?,
        trap_calls: trap_calls?,
        log: log?,
    })
}

/// `config` as JSON. What JSON cannot say (a date, nan) is reported, and so is a secret that is not there.
fn config_of(reader: &mut Reader<'_>, field: Option<&Field<'_>>) -> Option<Located<StageConfig>> {
    let Some(field) = field else {
        return Some(Located { value: "{}".into(), span: 0..0 });
    };
    let Value::Table(table) = &field.node.value else {
        reader.wrong_type(field, "a table", "such as { max_age = \"7d\" }; the plugin gets it as JSON");
        return None;
    };
    let mut secrets = Secrets::default();
    let value = json_table(reader, table, &field.path, &mut secrets)?;
    Some(Located { value: StageConfig::new(&value, secrets, ConfigKeys::of(table)), span: field.node.at.span() })
}

fn json_table(reader: &mut Reader<'_>, table: &Table, path: &str, secrets: &mut Secrets) -> Option<serde_json::Value> {
    let read: Vec<Option<(String, serde_json::Value)>> = table
        .entries
        .iter()
        .map(|entry| Some((entry.key.clone(), json(reader, &Field::of(entry, path), secrets)?)))
        .collect();
    read.into_iter().collect::<Option<Map<_, _>>>().map(serde_json::Value::Object)
}

/// `{ secret = "NAME" }`: stays a name; its value goes to the secrets.
fn secret(reader: &mut Reader<'_>, field: &Field<'_>, secrets: &mut Secrets) -> Option<serde_json::Value> {
    let name = reader.string(field, "\"MASK_KEY\", the name of an environment variable")?.value;
    match reader.surroundings.secret(&name) {
        Ok(value) => {
            secrets.add(&name, value);
            Some(serde_json::json!({ SECRET: name }))
        }
        Err((message, help)) => {
            let problem = Problem::error(format!("`{}`: {message}", field.path)).help(help);
            reader.problems.push(field.node.at.mark(problem, "this secret"));
            None
        }
    }
}

fn json(reader: &mut Reader<'_>, field: &Field<'_>, secrets: &mut Secrets) -> Option<serde_json::Value> {
    Some(match &field.node.value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => match Number::from_f64(*number) {
            Some(number) => serde_json::Value::Number(number),
            None => {
                reader.wrong(
                    field,
                    &format!("is {number}, which JSON does not have"),
                    "the plugin gets `config` as JSON",
                );
                return None;
            }
        },
        Value::Unfilled => return None,
        Value::Boolean(boolean) => (*boolean).into(),
        Value::Datetime(text) => text.clone().into(),
        Value::Array(items) => {
            let item = |node| Field { path: field.path.clone(), key_at: field.key_at, node };
            let read: Vec<Option<serde_json::Value>> =
                items.iter().map(|node| json(reader, &item(node), secrets)).collect();
            serde_json::Value::Array(read.into_iter().collect::<Option<_>>()?)
        }
        Value::Table(table) => match table.entries.as_slice() {
            [entry] if entry.key == SECRET => secret(reader, &Field::of(entry, &field.path), secrets)?,
            _ => json_table(reader, table, &field.path, secrets)?,
        },
    })
}
