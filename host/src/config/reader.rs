//! Values of the wanted type out of the tree; each that is something else is reported with what it should be.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Located;
use super::document::{Node, Value, inside};
use super::environment::Surroundings;
use super::keys::Field;
use super::problem::{Problem, Problems, nearest};
use super::units::{self, Mistake};

/// The most characters of a name: with what the host puts around it, a file's name stays below 255 bytes.
const MOST_NAME_BYTES: usize = 100;

/// What the parts of the reader share.
pub(super) struct Reader<'a> {
    /// The pipeline file's text.
    pub text: &'a str,
    /// The pipeline file's folder.
    pub folder: &'a Path,
    /// Where secrets come from.
    pub surroundings: &'a Surroundings<'a>,
    /// What was found so far.
    pub problems: Problems,
}

impl Reader<'_> {
    /// Reports a value that is of another type.
    pub fn wrong_type(&mut self, field: &Field<'_>, wanted: &str, help: &str) {
        if matches!(field.node.value, Value::Unfilled) {
            return;
        }
        let kind = field.node.value.kind();
        let problem = Problem::error(format!("`{}` must be {wanted}, not {kind}", field.path)).help(help);
        self.problems.push(field.node.at.mark(problem, format!("{wanted} is expected")));
    }

    /// Reports a value that is of the right type and still wrong.
    pub fn wrong(&mut self, field: &Field<'_>, message: &str, help: &str) {
        let problem = Problem::error(format!("`{}` {message}", field.path)).help(help);
        self.problems.push(field.node.at.mark(problem, ""));
    }

    /// Reports what is wrong inside a string.
    pub fn mistake(&mut self, field: &Field<'_>, value: &str, mistake: Mistake) {
        self.problems.push(inside(self.text, &field.node.at, value, mistake, &field.path));
    }

    /// A string that is not empty.
    pub fn string(&mut self, field: &Field<'_>, example: &str) -> Option<Located<String>> {
        let Some(text) = text_of(field.node) else {
            self.wrong_type(field, "a string", &format!("such as {example}"));
            return None;
        };
        if text.trim().is_empty() {
            self.wrong(field, "is empty", &format!("write something such as {example}"));
            return None;
        }
        Some(Located { value: text.to_owned(), span: field.node.at.span() })
    }

    /// A path; a relative one starts at the pipeline file's folder.
    pub fn path(&mut self, field: &Field<'_>, example: &str) -> Option<Located<PathBuf>> {
        let Located { value, span } = self.string(field, example)?;
        Some(Located { value: self.folder.join(value), span })
    }

    /// A name that is used in paths, metrics and messages.
    pub fn name(&mut self, name: &str, at: &super::document::At, what: &str) -> Option<Located<String>> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let message = if name.is_empty() {
            format!("a {what} without a name")
        } else if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
            format!("`{wrong}` in the name of {what} \"{name}\"")
        } else if name.len() > MOST_NAME_BYTES {
            format!("the name of {what} \"{name}\" is longer than {MOST_NAME_BYTES} characters")
        } else {
            return Some(Located { value: name.to_owned(), span: at.span() });
        };
        let help = "names are made of letters, digits, `_` and `-`: they become parts of paths and of metrics";
        self.problems.push(at.mark(Problem::error(message).help(help), ""));
        None
    }

    /// A list's items; each is read by `item`, and one value alone counts as a list of one.
    pub fn list<'f, T>(
        &mut self,
        field: &Field<'f>,
        example: &str,
        item: impl Fn(&mut Self, &Field<'f>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(items) = &field.node.value else {
            self.wrong_type(field, "a list", &format!("such as {example}"));
            return None;
        };
        if items.is_empty() {
            self.wrong(field, "is an empty list", &format!("write something such as {example}"));
            return None;
        }
        let read: Vec<Option<T>> =
            items.iter().map(|node| item(self, &Field { node, path: field.path.clone(), key_at: &node.at })).collect();
        read.into_iter().collect()
    }

    /// A list of different strings.
    pub fn strings(&mut self, field: &Field<'_>, example: &str) -> Option<Vec<Located<String>>> {
        let strings = self.list(field, example, |reader, item| reader.string(item, example))?;
        let doubles = self.no_doubles(&strings, |name| format!("`{}` names \"{name}\" twice", field.path));
        (!doubles).then_some(strings)
    }

    /// Reports what stands a second time; whether something does.
    pub fn no_doubles(&mut self, names: &[Located<String>], message: impl Fn(&str) -> String) -> bool {
        let mut found = false;
        for (index, name) in names.iter().enumerate() {
            if let Some(first) = names[..index].iter().find(|first| first.value == name.value) {
                let problem = Problem::error(message(&name.value)).at(&name.span, "again here");
                self.problems.push(problem.at(&first.span, "first here").help("leave one of them out, or rename it"));
                found = true;
            }
        }
        found
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, field: &Field<'_>, words: &[(&str, T)]) -> Option<T> {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let known = known.join(", ");
        let Some(text) = text_of(field.node) else {
            self.wrong_type(field, "a string", &format!("one of {known}"));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let near = nearest(text, words.iter().map(|(word, _)| *word));
        let label = near.map(|near| format!("did you mean \"{near}\"?")).unwrap_or_else(|| "not known".to_owned());
        let problem = Problem::error(format!("`{}` cannot be \"{text}\"", field.path));
        self.problems.push(field.node.at.mark(problem, label).help(format!("it is one of {known}")));
        None
    }

    /// A whole number in a range.
    pub fn integer(&mut self, field: &Field<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match (&field.node.value, &field.node.loose) {
            (Value::Integer(number), _) => Some(*number),
            (_, Some(loose)) => loose.trim().parse().ok(),
            _ => None,
        };
        let bounds = format!("from {} to {}", range.start(), range.end());
        let Some(number) = number else {
            self.wrong_type(field, "an integer", &format!("write a whole number {bounds}, without quotes"));
            return None;
        };
        match u64::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.wrong(field, &format!("is {number}"), &format!("it can be {bounds}"));
                None
            }
        }
    }

    /// A size in a range.
    pub fn size(&mut self, field: &Field<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = self.unit(field, "\"64 MiB\"", units::size_bytes)?;
        if !range.contains(&bytes) {
            let (least, most) = (units::size_text(*range.start()), units::size_text(*range.end()));
            self.wrong(field, &format!("is {}", units::size_text(bytes)), &format!("it can be {least} to {most}"));
            return None;
        }
        Some(bytes)
    }

    /// A time in a range.
    pub fn duration(&mut self, field: &Field<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
        let time = self.unit(field, "\"10s\"", units::duration)?;
        if !range.contains(&time) {
            let (least, most) = (units::duration_text(*range.start()), units::duration_text(*range.end()));
            self.wrong(field, &format!("is {}", units::duration_text(time)), &format!("it can be {least} to {most}"));
            return None;
        }
        Some(time)
    }

    /// A string in a form of its own.
    pub fn unit<T>(
        &mut self,
        field: &Field<'_>,
        example: &str,
        read: impl Fn(&str) -> Result<T, Mistake>,
    ) -> Option<T> {
        let Some(text) = text_of(field.node) else {
            self.wrong_type(field, "a string", &format!("write it with its unit, such as {example}"));
            return None;
        };
        match read(text) {
            Ok(value) => Some(value),
            Err(mistake) => {
                self.mistake(field, text, mistake);
                None
            }
        }
    }
}

/// The text of a string, or of anything that came from where text has no quotes.
pub(super) fn text_of(node: &Node) -> Option<&str> {
    match (&node.value, &node.loose) {
        (Value::String(text), _) => Some(text),
        (_, loose) => loose.as_deref(),
    }
}

/// Where a part of a string lies in the file, for `Located`.
pub(super) fn span_in(reader: &Reader<'_>, field: &Field<'_>, value: &str, part: Range<usize>) -> Range<usize> {
    match &field.node.at {
        super::document::At::File(span) => super::document::part_of(reader.text, span, value, part),
        set => set.span(),
    }
}
