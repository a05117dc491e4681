//! The pipeline file as a tree of values that know where they stand: TOML, then `--set`, then `${..}` filled in.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};
use super::units::Mistake;

const ESCAPE_HELP: &str =
    "a backslash between double quotes begins an escape: write it twice, or put the text between single quotes";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum At {
    /// Bytes of the pipeline file.
    File(Range<usize>),
    /// `--set`, as it was typed.
    Set(String),
}

impl At {
    /// The span as `Located` has it.
    pub fn span(&self) -> Range<usize> {
        match self {
            Self::File(span) => span.clone(),
            Self::Set(_) => 0..0,
        }
    }

    /// Gives a problem this place.
    pub fn mark(&self, problem: Problem, label: impl Into<String>) -> Problem {
        match self {
            Self::File(span) => problem.at(span, label),
            Self::Set(typed) => {
                let label = label.into();
                let said = if label.is_empty() { String::new() } else { format!(": {label}") };
                Problem { message: format!("{}{said} (from --set {typed})", problem.message), ..problem }
            }
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub at: At,
    /// The text, when it came from where text has no quotes (`--set`, the environment): it is read as the type that is wanted.
    pub loose: Option<String>,
}

/// A value of TOML.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
    /// A string whose `${..}` could not be filled in: that was reported, and nothing more is said of it.
    Unfilled,
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) | Self::Unfilled => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date or time",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// A table's entries, in the file's order.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: At,
    pub node: Node,
}

impl Table {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// The entry of a key, made as an empty table at `at` when it is not there.
    pub fn entry(&mut self, key: &str, at: &At) -> &mut Entry {
        let index = self.entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
            let node = Node { value: Value::Table(Self::default()), at: at.clone(), loose: None };
            self.entries.push(Entry { key: key.to_owned(), key_at: at.clone(), node });
            self.entries.len() - 1
        });
        &mut self.entries[index]
    }
}

/// Reads the text as TOML; what is no TOML is reported, the rest goes on.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let span = on_characters(text, span);
        let problem = Problem::error(format!("not valid TOML: {}", error.message()));
        let help = error.message().contains("escape").then(|| ESCAPE_HELP.to_owned());
        problems.push(Problem { labels: vec![(span, "here".to_owned())], help, ..problem });
    }
    table_of(table.get_ref(), &|span| At::File(span))
}

/// Widens a span to whole characters within the text, so that it can be shown.
fn on_characters(text: &str, span: Range<usize>) -> Range<usize> {
    let mut start = span.start.min(text.len());
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

fn table_of(table: &DeTable<'_>, at: &dyn Fn(Range<usize>) -> At) -> Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        Entry { key: key.get_ref().to_string(), key_at: at(key.span()), node: node_of(value, at) }
    };
    Table { entries: table.iter().map(entry).collect() }
}

/// A value of the TOML library as one of ours.
pub(super) fn node_of(spanned: &Spanned<DeValue<'_>>, at: &dyn Fn(Range<usize>) -> At) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Float(integer.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(array) => Value::Array(array.iter().map(|item| node_of(item, at)).collect()),
        DeValue::Table(table) => Value::Table(table_of(table, at)),
    };
    Node { value, at: at(spanned.span()), loose: None }
}

/// A mistake within a string as a problem that points at the very part, when the string stands in the file as it is
/// (no escapes, nothing filled in); else at the whole string.
pub(super) fn inside(text: &str, at: &At, value: &str, mistake: Mistake, name: &str) -> Problem {
    let place = match at {
        At::File(span) => At::File(part_of(text, span, value, mistake.at)),
        set => set.clone(),
    };
    let message = if name.is_empty() { mistake.message } else { format!("`{name}`: {}", mistake.message) };
    place.mark(Problem::error(message).help(mistake.help), "")
}

/// Where a part of a string lies in the file; all of the string when it does not stand there as it is.
pub(super) fn part_of(text: &str, span: &Range<usize>, value: &str, part: Range<usize>) -> Range<usize> {
    let quoted = text.get(span.clone()).unwrap_or_default();
    let verbatim = quoted.len() == value.len() + 2 && quoted.get(1..=value.len()) == Some(value);
    if !verbatim {
        return span.clone();
    }
    let start = span.start + 1 + part.start;
    // An empty part, such as a missing end, is shown at the closing quote.
    start..(span.start + 1 + part.end).max(start + 1)
}
