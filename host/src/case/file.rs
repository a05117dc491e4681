//! The file of a case: JSONL, one header line at most, then rows of tables and rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_sdk::Nested;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::fate::Said;
use super::{Fate, Kind};
use crate::config::{Limits, plain_duration, plain_size_bytes};
use crate::contract::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

/// What the header of a case says: the format, and its version.
pub const FORMAT: &str = "case/1";

/// The first line: everything that stands around the rows. All of it may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub millstream: String,
    /// The plugin's config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The columns that reach the plugin, by name; by default those that its contract reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Map<String, Value>>,
    /// The tables whose rows stand in the case, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableTypes>,
    /// The outputs that others read from the plugin, for one that asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// What the plugin sees as now: RFC 3339, or milliseconds since 1970. By default 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
    /// The stage's limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitTexts>,
    /// Keys of the pipeline file that this case sets, as `--set` does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Environment variables that the pipeline file names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the rows come from, when they were captured; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<Value>,
}

/// A table's columns by name, each with its type.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableTypes {
    /// The key, in order.
    pub key: Map<String, Value>,
    /// The other columns.
    pub columns: Map<String, Value>,
}

/// `limits` as a pipeline file spells them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitTexts {
    /// Most memory of one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Longest call for a full batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// A row of a case.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: usize,
    /// The row or the record, as it stands in the file.
    pub input: Box<RawValue>,
    /// The source, for a pipeline with several.
    pub source: Option<String>,
    /// The record's key.
    pub key: Option<String>,
    /// The record's timestamp, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The record's headers.
    pub headers: Vec<(String, String)>,
    /// What should become of it.
    pub expected: Option<Fate>,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its file.
    pub path: PathBuf,
    /// What it is for.
    pub kind: Kind,
    /// Its header.
    pub header: Header,
    /// Rows of tables: table, row.
    pub tables: Vec<(String, Map<String, Value>)>,
    /// Its rows.
    pub rows: Vec<Row>,
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Probe {
    millstream: Option<serde::de::IgnoredAny>,
    table: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableLine {
    table: String,
    row: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowLine {
    #[serde(rename = "in")]
    input: Box<RawValue>,
    source: Option<String>,
    key: Option<String>,
    timestamp: Option<Value>,
    #[serde(default)]
    headers: Map<String, Value>,
    out: Option<Value>,
    to: Option<Value>,
    rejected: Option<Value>,
    filtered: Option<Value>,
}

impl Case {
    /// Reads a case's file.
    ///
    /// # Errors
    /// `Config` with the line that is wrong.
    pub fn read(path: &Path, kind: Kind) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::Config, format!("the case {} cannot be read", path.display())).caused_by(error)
        })?;
        Self::of_text(path, kind, &text)
    }

    /// Reads a case from its text; `path` is for messages, and for where it is written to.
    pub fn of_text(path: &Path, kind: Kind, text: &str) -> Result<Self> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = Header { millstream: FORMAT.to_owned(), ..Header::default() };
        let (tables, rows) = (Vec::new(), Vec::new());
        let mut case = Self { path: path.to_owned(), kind, header, tables, rows, lines };
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            case.line(index + 1, line).map_err(|wrong| {
                Error::new(ErrorKind::Config, format!("{}:{}: {wrong}", path.display(), index + 1))
                    .help("docs/cases.md describes the lines of a case")
            })?;
        }
        Ok(case)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let wrong = |error: serde_json::Error| {
            let text = error.to_string();
            // The line is this file's, not the one line that was parsed.
            text.split(" at line ").next().unwrap_or_default().to_owned()
        };
        // serde would take a list as the members in their order.
        if !line.trim_start().starts_with('{') {
            return Err("it is no JSON object".to_owned());
        }
        let probe: Probe =
            serde_json::from_str(line).map_err(|error| format!("it is no JSON object: {}", wrong(error)))?;
        if probe.millstream.is_some() {
            if !self.rows.is_empty() || !self.tables.is_empty() {
                return Err("the header must be the first line".to_owned());
            }
            self.header = serde_json::from_str(line).map_err(|error| format!("the header: {}", wrong(error)))?;
            return match self.header.millstream.as_str() {
                FORMAT => self.header.is_for(self.kind),
                other => Err(format!("this is \"{other}\"; this millstream reads \"{FORMAT}\"")),
            };
        }
        if probe.table.is_some() {
            let TableLine { table, row } = serde_json::from_str(line).map_err(wrong)?;
            self.tables.push((table, row));
            return Ok(());
        }
        let line: RowLine = serde_json::from_str(line).map_err(wrong)?;
        let said = Said { out: line.out, to: line.to, rejected: line.rejected, filtered: line.filtered };
        let headers = line.headers.into_iter().map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            other => Err(format!("the header \"{name}\" is a text, not {other}")),
        });
        self.rows.push(Row {
            line: number,
            input: line.input,
            source: line.source,
            key: line.key,
            timestamp_ms: line.timestamp.as_ref().map(instant_ms).transpose()?,
            headers: headers.collect::<Result<_, String>>()?,
            expected: Fate::read(self.kind, said)?,
        });
        Ok(())
    }

    /// The file's text with what the rows in `actual` (by index) came to as their expectation; other lines stay.
    pub fn updated(&self, actual: &BTreeMap<usize, Fate>) -> String {
        let mut lines = self.lines.clone();
        for (index, fate) in actual {
            let row = &self.rows[*index];
            lines[row.line - 1] = row.line_with(self.kind, fate);
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

impl Row {
    fn line_with(&self, kind: Kind, fate: &Fate) -> String {
        let mut line = format!("{{\"in\": {}", self.input);
        let mut member = |name: &str, value: Value| line.push_str(&format!(", \"{name}\": {value}"));
        if let Some(source) = &self.source {
            member("source", source.clone().into());
        }
        if let Some(key) = &self.key {
            member("key", key.clone().into());
        }
        if let Some(timestamp_ms) = self.timestamp_ms {
            member("timestamp", timestamp_ms.into());
        }
        if !self.headers.is_empty() {
            let headers = self.headers.iter().map(|(name, text)| (name.clone(), Value::from(text.clone())));
            member("headers", Value::Object(headers.collect()));
        }
        fate.members(kind).into_iter().for_each(|(name, value)| member(name, value));
        line.push('}');
        line
    }
}

impl Header {
    /// An error when it says what only a case of the other kind has.
    fn is_for(&self, kind: Kind) -> Result<(), String> {
        let of_plugin = [
            ("config", self.config.is_some()),
            ("columns", self.columns.is_some()),
            ("outputs", !self.outputs.is_empty()),
            ("now", self.now.is_some()),
            ("limits", self.limits.is_some()),
        ];
        let of_pipeline = [("set", !self.set.is_empty()), ("env", !self.env.is_empty())];
        let (others, whose, command) = match kind {
            Kind::Pipeline => (&of_plugin[..], "a plugin's", "millstream plugin test PLUGIN --cases FILE"),
            Kind::Plugin => (&of_pipeline[..], "a pipeline's", "millstream test PIPELINE.toml FILE"),
        };
        match others.iter().find(|(_, is_there)| *is_there) {
            Some((key, _)) => Err(format!("the header has \"{key}\", so this is {whose} case: `{command}` runs it")),
            None => Ok(()),
        }
    }

    /// The header as the first line of a file, without the line end.
    pub fn line(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// What the plugin sees as now, in milliseconds since 1970.
    pub fn now_ms(&self) -> Result<i64, String> {
        self.now.as_ref().map_or(Ok(0), instant_ms)
    }

    /// The columns that reach the plugin, when the header says so.
    pub fn columns(&self) -> Result<Option<Vec<Column>>, String> {
        self.columns.as_ref().map(columns).transpose()
    }

    /// The tables.
    pub fn tables(&self) -> Result<Vec<Table>, String> {
        let table = |(name, types): (&String, &TableTypes)| {
            let within = |wrong| format!("table \"{name}\": {wrong}");
            let key = columns(&types.key).map_err(within)?;
            Ok(Table { name: name.clone(), key, columns: columns(&types.columns).map_err(within)? })
        };
        self.tables.iter().map(table).collect()
    }

    /// The stage's limits.
    pub fn limits(&self) -> Result<Limits, String> {
        let mut limits = Limits::default();
        if let Some(LimitTexts { memory, deadline }) = &self.limits {
            if let Some(memory) = memory {
                limits.memory_bytes = plain_size_bytes(memory).map_err(|wrong| format!("limits.memory: {wrong}"))?;
            }
            if let Some(deadline) = deadline {
                limits.deadline = plain_duration(deadline).map_err(|wrong| format!("limits.deadline: {wrong}"))?;
            }
        }
        limits.deadline = limits.deadline.max(Duration::from_millis(10));
        Ok(limits)
    }
}

impl TableTypes {
    /// The types of a table.
    pub fn of(table: &Table) -> Self {
        Self { key: types(&table.key), columns: types(&table.columns) }
    }
}

/// Columns as a header's map from name to type.
pub fn types(columns: &[Column]) -> Map<String, Value> {
    columns.iter().map(|column| (column.name.clone(), column.type_text().into())).collect()
}

/// A row without expectation as a line of a case, without the line end.
pub fn row_line(row: &Map<String, Value>) -> String {
    serde_json::json!({ "in": row }).to_string()
}

/// A row of a table as a line of a case, without the line end.
pub fn table_line(table: &str, row: &Map<String, Value>) -> String {
    serde_json::json!({ "table": table, "row": row }).to_string()
}

fn columns(types: &Map<String, Value>) -> Result<Vec<Column>, String> {
    let column = |(name, text): (&String, &Value)| {
        let wrong = |why: String| format!("the type of column \"{name}\": {why}");
        let text = text.as_str().ok_or_else(|| wrong(format!("a text such as \"int64?\" is expected, not {text}")))?;
        let nested: Nested = text.parse().map_err(|error: millstream_sdk::TypeError| wrong(error.to_string()))?;
        Ok(Column { name: name.clone(), logical: nested.logical, nullable: nested.nullable })
    };
    types.iter().map(column).collect()
}

fn instant_ms(value: &Value) -> Result<i64, String> {
    let parsed = match value {
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
        value => value.as_i64(),
    };
    parsed.ok_or_else(|| format!("{value} is no instant: RFC 3339 text or milliseconds since 1970 are"))
}
