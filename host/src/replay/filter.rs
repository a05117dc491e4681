//! Which rejects are meant, and which of them were replayed already.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::stored::{Block, StoredFile, parse_id};
use super::topic::topic_id;
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::TopicReject;
use crate::source::{Positions, Ranges};

/// Which rejects are meant: those for which all holds that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// These alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Refused by this stage; `source.NAME` is the decoder of a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// For this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By a plugin whose digest begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// From this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Committed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Committed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

impl Filter {
    /// Checks the ids.
    pub fn check(&self) -> Result<()> {
        match self.ids.iter().find(|id| parse_id(id).is_none()) {
            None => Ok(()),
            Some(id) => Err(Error::new(ErrorKind::Config, format!("\"{id}\" is no id of a reject"))
                .help("`millstream rejects list PIPELINE.toml` shows them, such as 0a1b2c3d-0001-00000002-w0-0000:7")),
        }
    }

    /// Whether a row of the file can be meant.
    pub fn has_file(&self, file: &StoredFile) -> bool {
        self.since_ms.is_none_or(|since_ms| file.committed_at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| file.committed_at_ms < until_ms)
            && (self.ids.is_empty()
                || self.ids.iter().filter_map(|id| parse_id(id)).any(|(name, _)| name == *file.name))
    }

    /// Whether a row of a file that can be meant is.
    pub fn has_row(&self, block: &Block, row: usize) -> bool {
        let is = |wanted: &Option<String>, column: &str| {
            wanted.as_deref().is_none_or(|wanted| block.text(column, row) == Some(wanted))
        };
        let id = || {
            self.ids.iter().filter_map(|id| parse_id(id)).any(|id| id == (block.file.to_string(), block.number(row)))
        };
        is(&self.reason, "reason")
            && is(&self.source, "source")
            && self.stage.as_deref().is_none_or(|stage| place(block, row) == stage)
            && self
                .digest
                .as_deref()
                .is_none_or(|digest| block.text("digest", row).is_some_and(|plugin| plugin.starts_with(digest)))
            && (self.ids.is_empty() || id())
    }
}

impl Filter {
    /// Whether a reject of a topic, which pipelines may share, is one of this pipeline and meant; its time is that at which
    /// it was written.
    pub fn has_topic(&self, pipeline: &str, reject: &TopicReject) -> bool {
        let TopicReject { columns, written_at_ms, .. } = reject;
        let text = |column: &str| columns.get(column).and_then(Value::as_str);
        let is =
            |wanted: &Option<String>, column: &str| wanted.as_deref().is_none_or(|wanted| text(column) == Some(wanted));
        text("pipeline") == Some(pipeline)
            && is(&self.reason, "reason")
            && is(&self.source, "source")
            && self.stage.as_deref().is_none_or(|stage| place_of(columns) == stage)
            && self
                .digest
                .as_deref()
                .is_none_or(|digest| text("digest").is_some_and(|plugin| plugin.starts_with(digest)))
            && self.since_ms.is_none_or(|since_ms| *written_at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| *written_at_ms < until_ms)
            && (self.ids.is_empty() || self.ids.contains(&topic_id(reject)))
    }
}

/// Who refused a row, by the fields of its reject: a stage, or `source.NAME` for the decoder.
pub fn place_of(columns: &Map<String, Value>) -> String {
    let text = |column: &str| columns.get(column).and_then(Value::as_str);
    text("stage").map_or_else(|| format!("source.{}", text("source").unwrap_or_default()), str::to_owned)
}

/// Who refused a row: a stage, or `source.NAME` for the decoder.
pub(super) fn place(block: &Block, row: usize) -> std::borrow::Cow<'_, str> {
    match block.text("stage", row) {
        Some(stage) => stage.into(),
        None => format!("source.{}", block.text("source", row).unwrap_or_default()).into(),
    }
}

/// What stands between a file and a selection in the key of a partition that is replayed again.
const AGAIN: char = '#';

/// The key of the partition that a file is for a selection; `again` is its id when noted rows do not count.
pub(super) fn partition_key(file: &str, again: Option<&str>) -> String {
    again.map_or_else(|| file.to_owned(), |id| format!("{file}{AGAIN}{id}"))
}

/// The file of rejects that a partition of them is.
pub fn file_of(key: &str) -> &str {
    key.split(AGAIN).next().unwrap_or(key)
}

/// The rejects that commits note as replayed, by the key of their partition.
#[derive(Clone, Debug, Default)]
pub struct Replayed(BTreeMap<String, Ranges>);

impl Replayed {
    /// What these positions note.
    pub fn of(positions: &Positions) -> Self {
        let own = positions.iter().filter(|(partition, _)| partition.is_of_rejects());
        Self(own.map(|(partition, position)| (partition.key.to_string(), position.ranges.clone())).collect())
    }

    /// Whether a row was replayed, by whichever selection.
    pub fn has(&self, file: &str, row: i64) -> bool {
        self.of_file(file).any(|ranges| ranges.covers(row))
    }

    /// The row behind the last one that was replayed of a file.
    pub(super) fn end(&self, file: &str) -> Option<i64> {
        self.of_file(file).filter_map(Ranges::end).max()
    }

    fn of_file(&self, file: &str) -> impl Iterator<Item = &Ranges> {
        let from_there = self.0.range(file.to_owned()..).take_while(move |(key, _)| key.starts_with(file));
        from_there.filter(move |(key, _)| file_of(key) == file).map(|(_, ranges)| ranges)
    }

    /// Whether a row of the partition was read.
    pub(super) fn has_read(&self, key: &str, row: i64) -> bool {
        self.0.get(key).is_some_and(|ranges| ranges.covers(row))
    }

    /// Notes a row.
    pub(super) fn add(&mut self, key: &str, row: i64) {
        self.0.entry(key.to_owned()).or_default().add(row, row + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_as_replayed_by_whichever_selection() {
        let mut replayed = Replayed::default();
        replayed.add("a.parquet", 1);
        replayed.add(&partition_key("a.parquet", Some("7")), 5);
        assert!(replayed.has("a.parquet", 1) && replayed.has("a.parquet", 5) && !replayed.has("a.parquet", 2));
        assert!(!replayed.has("b.parquet", 1) && !replayed.has("a", 1));
        assert!(!replayed.has_read("a.parquet", 5) && replayed.has_read("a.parquet#7", 5));
    }

    #[test]
    fn a_file_is_looked_into_when_its_time_and_name_fit() {
        let file = |ms| StoredFile { name: "rejects-x.parquet".into(), path: "x".into(), committed_at_ms: ms };
        let time = Filter { since_ms: Some(10), until_ms: Some(20), ..Filter::default() };
        assert_eq!([9, 10, 19, 20].map(|ms| time.has_file(&file(ms))), [false, true, true, false]);
        let named = |id: &str| Filter { ids: vec![id.to_owned()], ..Filter::default() }.has_file(&file(0));
        assert!(named("x:3") && !named("y:3"));
    }

    #[test]
    fn rejects_of_a_topic_are_chosen_as_those_of_files_are() {
        let columns = serde_json::json!({ "pipeline": "p", "stage": null, "source": "clicks", "reason": "not_json", "digest": "abcd" });
        let columns = columns.as_object().unwrap();
        let at = |written_at_ms| TopicReject { partition: 2, offset: 7, written_at_ms, columns: columns.clone() };
        let of = |stage: &str| Filter { stage: Some(stage.to_owned()), ..Filter::default() }.has_topic("p", &at(5));
        assert!(of("source.clicks") && !of("clean"));
        let time = Filter { since_ms: Some(5), until_ms: Some(6), ..Filter::default() };
        assert_eq!([4, 5, 6].map(|ms| time.has_topic("p", &at(ms))), [false, true, false]);
        let of = |digest: &str| Filter { digest: Some(digest.to_owned()), ..Filter::default() }.has_topic("p", &at(5));
        assert!(of("ab") && !of("b"));
        let of = |id: &str| Filter { ids: vec![id.to_owned()], ..Filter::default() }.has_topic("p", &at(5));
        assert!(of("2:7") && !of("7:2"));
        assert!(!Filter::default().has_topic("another", &at(5)));
    }
}
