//! Where the keys of a stage's `config` stand, so that a plugin's refusal is shown at the key that it is about.
//!
//! Promise: a place is a key of that very config, or there is none. Keys come from the parsed document, not from its text,
//! and what a message may mean in two ways has no place.

use std::ops::Range;

use super::document::{At, Node, Table, Value};

/// The keys of a config, with those of tables in it.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigKeys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    /// As the SDKs name it: `columns.age[0].cast`.
    path: String,
    name: String,
    at: Range<usize>,
}

/// How the SDKs begin a refusal that is about one key.
const OF_KEY: &str = "config key `";

impl ConfigKeys {
    /// The keys of a config's table that stand in the file.
    pub fn of(config: &Table) -> Self {
        let mut keys = Self::default();
        keys.add(config, "");
        keys
    }

    fn add(&mut self, table: &Table, within: &str) {
        for entry in &table.entries {
            let path = if within.is_empty() { entry.key.clone() } else { format!("{within}.{}", entry.key) };
            self.add_below(&entry.node, &path);
            if let At::File(at) = &entry.key_at {
                self.0.push(Key { path, name: entry.key.clone(), at: at.clone() });
            }
        }
    }

    fn add_below(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Table(table) => self.add(table, path),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.add_below(item, &format!("{path}[{index}]")));
            }
            _ => {}
        }
    }

    /// The key that a refusal is about. What the SDKs say names its path, and behind it perhaps a key below; of other
    /// messages the first word in backticks counts when the config has one key of that name.
    pub fn of_refusal(&self, message: &str) -> Option<Range<usize>> {
        let mut quoted = message.split('`').skip(1).step_by(2);
        let first = quoted.next()?;
        if message.starts_with(OF_KEY) {
            let below = quoted.next().and_then(|name| self.only(|key| key.path == format!("{first}.{name}")));
            return below.or_else(|| self.only(|key| key.path == first));
        }
        // A key that is missing is not one of another table that has the same name.
        if message.contains("missing") { None } else { self.only(|key| key.name == first) }
    }

    fn only(&self, is_it: impl Fn(&Key) -> bool) -> Option<Range<usize>> {
        let mut found = self.0.iter().filter(|key| is_it(key));
        let key = found.next()?;
        found.next().is_none().then(|| key.at.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::problem::Problems;
    use super::*;

    const TEXT: &str = "strict = true\nwords = [{ text = 'a' }, { text = 'b' }]\n\
        [columns]\norder = { trim = true }\nemial = { trim = true, case = 'lower' }\n";

    #[test]
    fn a_refusal_is_about_one_key_or_none() {
        let mut problems = Problems::new(Path::new("a.toml"), TEXT);
        let keys = ConfigKeys::of(&super::super::document::parse(TEXT, &mut problems));
        let at = |message: &str| keys.of_refusal(message).map(|at| (at.start, TEXT[at].to_owned()));
        let of = |place: &str, name: &str| Some((TEXT.find(place).unwrap(), name.to_owned()));
        for (message, key) in [
            ("config key `columns.emial`: there is no column", of("emial", "emial")),
            ("config key `columns.emial`: unknown field `case`, expected `cases`", of("case", "case")),
            ("config key `columns`: missing field `strict`", of("columns", "columns")),
            ("config key `words[1].text`: too short", of("text = 'b'", "text")),
            ("config key `nothing`: no", None),
            ("unknown field `strict`, expected `loose`", of("strict", "strict")),
            ("unknown field `trim`", None),
            ("missing field `strict`", None),
            ("no", None),
        ] {
            assert_eq!(at(message), key, "{message}");
        }
    }
}
