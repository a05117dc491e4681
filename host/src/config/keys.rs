//! The keys of the pipeline file, table by table, and the walk over one table that leaves no key unlooked at.

use super::document::{At, Entry, Node, Table, Value};
use super::problem::{Problem, nearest};
use super::reader::Reader;

/// A table of the pipeline file. `docs/pipeline.md` has a heading for each, with exactly these keys below it (tested).
pub(super) struct Section {
    /// The path as the reference has it; a name that the author chooses is in capitals.
    pub path: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
}

pub(super) const TOP: Section = Section {
    path: "the top level",
    keys: &["name", "data", "workers", "commit", "epoch", "batch", "source", "dimension", "stage", "output", "rejects"],
};
pub(super) const EPOCH: Section = Section { path: "epoch", keys: &["interval", "memory"] };
pub(super) const BATCH: Section = Section { path: "batch", keys: &["rows", "bytes"] };
pub(super) const SOURCE: Section =
    Section { path: "source.NAME", keys: &["file", "kafka", "format", "unknown", "event_time", "columns"] };
pub(super) const SOURCE_FILE: Section = Section { path: "source.NAME.file", keys: &["path"] };
pub(super) const SOURCE_KAFKA: Section = Section {
    path: "source.NAME.kafka",
    keys: &["brokers", "topic", "group", "start", "lost", "properties_file", "properties"],
};
pub(super) const UNKNOWN: Section = Section { path: "source.NAME.unknown", keys: &["keep"] };
pub(super) const COLUMN: Section = Section { path: "source.NAME.columns.COLUMN", keys: &["type", "from"] };
pub(super) const DIMENSION: Section =
    Section { path: "dimension.NAME", keys: &["file", "columns", "shrink", "memory"] };
pub(super) const DIMENSION_FILE: Section =
    Section { path: "dimension.NAME.file", keys: &["path", "key", "duplicates"] };
pub(super) const STAGE: Section =
    Section { path: "stage", keys: &["name", "from", "plugin", "config", "lookup", "limits", "swap"] };
pub(super) const PLUGIN: Section = Section { path: "stage.plugin", keys: &["file", "rename", "tables", "sha256"] };
pub(super) const SWAP: Section = Section { path: "stage.swap", keys: &["decision", "rejected", "slower", "probation"] };
pub(super) const LOOKUP: Section = Section { path: "stage.lookup", keys: &["table", "key", "add", "missing"] };
pub(super) const LIMITS: Section =
    Section { path: "stage.limits", keys: &["memory", "deadline", "rejected", "trap_calls", "log"] };
pub(super) const OUTPUT: Section = Section { path: "output.NAME", keys: &["from", "columns", "parquet", "kafka"] };
pub(super) const PARQUET: Section =
    Section { path: "output.NAME.parquet", keys: &["path", "partition", "target_file", "max_age", "compression"] };
pub(super) const OUTPUT_KAFKA: Section = Section {
    path: "output.NAME.kafka",
    keys: &["brokers", "topic", "key", "format", "delivery", "properties_file", "properties"],
};
pub(super) const REJECTS: Section = Section { path: "rejects", keys: &["file", "kafka"] };
pub(super) const REJECTS_FILE: Section = Section { path: "rejects.file", keys: &["path", "keep"] };
pub(super) const REJECTS_KAFKA: Section =
    Section { path: "rejects.kafka", keys: &["brokers", "topic", "delivery", "properties_file", "properties"] };

/// All of them.
pub(super) const SECTIONS: [&Section; 21] = [
    &TOP,
    &EPOCH,
    &BATCH,
    &SOURCE,
    &SOURCE_FILE,
    &SOURCE_KAFKA,
    &UNKNOWN,
    &COLUMN,
    &DIMENSION,
    &DIMENSION_FILE,
    &STAGE,
    &PLUGIN,
    &LOOKUP,
    &LIMITS,
    &SWAP,
    &OUTPUT,
    &PARQUET,
    &OUTPUT_KAFKA,
    &REJECTS,
    &REJECTS_FILE,
    &REJECTS_KAFKA,
];

/// A value with its path, such as `source.clicks.format`: what messages call it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub path: String,
    pub key_at: &'a At,
    pub node: &'a Node,
}

impl<'a> Field<'a> {
    pub fn of(entry: &'a Entry, parent: &str) -> Self {
        Self { path: joined(parent, &entry.key), key_at: &entry.key_at, node: &entry.node }
    }
}

fn joined(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The walk over one table: keys are taken, and what was not taken at the end is unknown.
pub(super) struct Keys<'a> {
    section: &'static Section,
    path: String,
    at: &'a At,
    table: &'a Table,
    taken: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// Begins the walk over the table of a field; reports it when it is no table.
    pub fn of(reader: &mut Reader<'_>, field: &Field<'a>, section: &'static Section, example: &str) -> Option<Self> {
        let Value::Table(table) = &field.node.value else {
            reader.wrong_type(field, "a table", &format!("such as {example}"));
            return None;
        };
        // The header of `[a.b]` says more than the lines below it, and a table between braces is its own place.
        Some(Self { section, path: field.path.clone(), at: field.key_at, table, taken: Vec::new() })
    }

    /// Begins the walk over the whole file.
    pub fn top(table: &'a Table, at: &'a At) -> Self {
        Self { section: &TOP, path: String::new(), at, table, taken: Vec::new() }
    }

    /// Gives the table another name in messages: a stage is called by its own, once that is known.
    pub fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// The value of a key.
    pub fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.taken.push(key);
        self.table.get(key).map(|entry| Field::of(entry, &self.path))
    }

    /// The value of a key that must be there; `example` is how it is written.
    pub fn require(&mut self, reader: &mut Reader<'_>, key: &'static str, example: &str) -> Option<Field<'a>> {
        let found = self.take(key);
        if found.is_none() {
            self.missing(reader, &format!("no `{key}`"), &format!("write {example}"));
        }
        found
    }

    /// The value of a key that has a default; `None` when it is there and wrong.
    pub fn optional<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        default: T,
        read: impl FnOnce(&mut Reader<'_>, &Field<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.take(key) {
            Some(field) => read(reader, &field),
            None => Some(default),
        }
    }

    /// The value of the one of two keys that is there; both or neither is reported.
    pub fn one_of(
        &mut self,
        reader: &mut Reader<'_>,
        keys: [&'static str; 2],
        example: &str,
    ) -> Option<(&'static str, Field<'a>)> {
        match (self.take(keys[0]), self.take(keys[1])) {
            (Some(first), None) => Some((keys[0], first)),
            (None, Some(second)) => Some((keys[1], second)),
            (None, None) => {
                self.missing(reader, &format!("neither `{}` nor `{}`", keys[0], keys[1]), example);
                None
            }
            (Some(first), Some(second)) => {
                let owner = self.owner();
                let problem = Problem::error(format!("{owner} has both `{}` and `{}`", keys[0], keys[1]));
                let problem = second.key_at.mark(problem, "and here");
                let problem = first.key_at.mark(problem, "here");
                reader.problems.push(problem.help("keep one of them"));
                None
            }
        }
    }

    fn missing(&self, reader: &mut Reader<'_>, what: &str, help: &str) {
        let problem = Problem::error(format!("{} has {what}", self.owner())).help(help);
        reader.problems.push(self.at.mark(problem, "here"));
    }

    /// `"the pipeline"` or the path in quotes.
    pub fn owner(&self) -> String {
        if self.path.is_empty() { "the pipeline file".to_owned() } else { format!("`{}`", self.path) }
    }

    /// Reports the keys that nobody took.
    pub fn finish(self, reader: &mut Reader<'_>) {
        #[cfg(test)]
        {
            let mut known: Vec<_> = self.section.keys.to_vec();
            let mut taken = self.taken.clone();
            known.sort_unstable();
            taken.sort_unstable();
            assert_eq!(known, taken, "the reader of {} takes other keys than the section lists", self.section.path);
        }
        for entry in &self.table.entries {
            if !self.taken.contains(&entry.key.as_str()) {
                reader.problems.push(self.unknown(entry));
            }
        }
    }

    fn unknown(&self, entry: &Entry) -> Problem {
        let key = &entry.key;
        let problem = Problem::error(format!("unknown key `{key}` in {}", self.owner()));
        let near = nearest(key, self.section.keys.iter().copied());
        let elsewhere = self.elsewhere(key);
        let keys = self.section.keys.join(", ");
        match near {
            Some(near) => entry.key_at.mark(problem, format!("did you mean `{near}`?")),
            None if !elsewhere.is_empty() => {
                let problem = entry.key_at.mark(problem, "not here");
                let places: Vec<String> = elsewhere.iter().map(|path| format!("`{path}`")).collect();
                problem.help(format!("`{key}` is a key of {}; the keys here are {keys}", places.join(", ")))
            }
            None => entry.key_at.mark(problem, "not known").help(format!("the keys here are {keys}")),
        }
    }
    /// The tables that have the key, if possible only those right below this one.
    fn elsewhere(&self, key: &str) -> Vec<&'static str> {
        let below = format!("{}.", self.section.path);
        let having = SECTIONS.iter().filter(|section| section.keys.contains(&key)).map(|section| section.path);
        let (near, far): (Vec<&str>, Vec<&str>) = having.partition(|path| path.starts_with(&below));
        if near.is_empty() { far } else { near }
    }
}
