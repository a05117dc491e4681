//! `${..}` in strings: the environment, and files for secrets.

use std::io::Read;
use std::path::Path;

use super::document::{Node, Table, Value, inside};
use super::problem::Problems;
use super::units::Mistake;

/// A secret's file may not be larger.
const MOST_SECRET_BYTES: u64 = 64 * 1024;

/// Where `${..}` gets its values.
pub(super) struct Surroundings<'a> {
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The pipeline file's folder: `${file:..}` is relative to it.
    pub folder: &'a Path,
    /// The pipeline file's text.
    pub text: &'a str,
}

impl Surroundings<'_> {
    /// Fills `${..}` in everywhere below a table.
    pub fn fill_in(&self, table: &mut Table, problems: &mut Problems) {
        for entry in &mut table.entries {
            self.fill_in_node(&mut entry.node, problems);
        }
    }

    fn fill_in_node(&self, node: &mut Node, problems: &mut Problems) {
        match &mut node.value {
            Value::Table(table) => self.fill_in(table, problems),
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_in_node(item, problems)),
            Value::String(text) if text.contains("${") => match self.filled(text) {
                Ok(filled) => {
                    node.loose = Some(filled.clone());
                    *text = filled;
                }
                Err(mistakes) => {
                    for mistake in mistakes {
                        problems.push(inside(self.text, &node.at, text, mistake, ""));
                    }
                    node.value = Value::Unfilled;
                }
            },
            _ => {}
        }
    }

    /// A text with every `${..}` replaced, or everything that is wrong with them.
    fn filled(&self, text: &str) -> Result<String, Vec<Mistake>> {
        let mut filled = String::new();
        let mut mistakes = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let open = at + found;
            if text[..open].ends_with('$') {
                filled.push_str(&text[at..open - 1]);
                filled.push_str("${");
                at = open + 2;
                continue;
            }
            filled.push_str(&text[at..open]);
            let Some(length) = text[open..].find('}') else {
                let help = "close it with `}`, or write `$${` for a plain `${`";
                mistakes.push(Mistake::new(open..text.len(), "`${` without `}`", help));
                at = text.len();
                break;
            };
            let inner = open + 2..open + length;
            match self.value_of(&text[inner.clone()]) {
                Ok(value) => filled.push_str(&value),
                Err((message, help)) => mistakes.push(Mistake::new(open..inner.end + 1, message, help)),
            }
            at = inner.end + 1;
        }
        filled.push_str(&text[at..]);
        if mistakes.is_empty() { Ok(filled) } else { Err(mistakes) }
    }

    /// The value of a secret, which is named as an environment variable or as `file:PATH`; or what is wrong, and the way
    /// out.
    pub fn secret(&self, name: &str) -> Result<String, (String, String)> {
        let value = match name.strip_prefix("file:") {
            Some(path) => {
                let help = "`{ secret = \"file:PATH\" }` is the text of a file, relative to the pipeline file's folder";
                self.file(path, help)?
            }
            None if !is_name(name) => {
                let help =
                    "a secret is named { secret = \"NAME\" }, an environment variable, or { secret = \"file:PATH\" }";
                return Err((format!("`{name}` is not the name of an environment variable"), help.to_owned()));
            }
            None => (self.environment)(name).ok_or_else(|| {
                (
                    format!("the environment has no secret {name}"),
                    format!("set it where the host is started: export {name}=.."),
                )
            })?,
        };
        if value.is_empty() {
            return Err((
                format!("the secret {name} is empty"),
                "give it a value where the host is started".to_owned(),
            ));
        }
        Ok(value)
    }

    fn file(&self, path: &str, help: &str) -> Result<String, (String, String)> {
        let failed = |error| (format!("`{path}` cannot be read: {error}"), help.to_owned());
        read_secret(&self.folder.join(path)).map_err(failed)
    }

    fn value_of(&self, inner: &str) -> Result<String, (String, String)> {
        if let Some(path) = inner.strip_prefix("file:") {
            return self.file(path, "`${file:PATH}` is the text of a file, relative to the pipeline file's folder");
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            let help = "write ${NAME}, ${NAME:-default} or ${file:PATH}; `$${` is a plain `${`";
            return Err((format!("`{name}` is not the name of an environment variable"), help.to_owned()));
        }
        match ((self.environment)(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => {
                let help = format!("set it (export {name}=..), or give a default: ${{{name}:-default}}");
                Err((format!("the environment has no {name}"), help))
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn read_secret(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST_SECRET_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_SECRET_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MOST_SECRET_BYTES} bytes")));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}
