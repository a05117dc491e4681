//! `--set KEY=VALUE`: what is typed on the command line over what stands in the file.

use toml::de::{DeTable, DeValue};

use super::document::{At, Node, Table, Value, node_of};
use super::problem::{Problem, suggestion};

/// Lays one `--set KEY=VALUE` over the tree. It changes what the file has; of what is named (sources, dimensions, stages,
/// outputs) it makes nothing new, so that a mistyped name is found.
pub(super) fn set(root: &mut Table, key: &str, value: &str) -> Result<(), Problem> {
    let typed = format!("{key}={value}");
    let Some(path) = key_path(key) else {
        return Err(Problem::error(format!("--set {typed}: `{key}` is not a key"))
            .help("write the names with dots between them, such as --set source.clicks.kafka.topic=clicks-2"));
    };
    Setting { path, value, at: At::Set(typed.clone()), typed }.lay(root, 0)
}

struct Setting<'a> {
    path: Vec<String>,
    value: &'a str,
    typed: String,
    at: At,
}

impl Setting<'_> {
    fn lay(&self, table: &mut Table, depth: usize) -> Result<(), Problem> {
        let part = &self.path[depth];
        if matches!(self.path[0].as_str(), "source" | "dimension" | "output") && depth == 1 && table.get(part).is_none()
        {
            return Err(self.not_there(part, table.keys()));
        }
        if depth + 1 == self.path.len() {
            table.entry(part, &self.at).node = self.node();
            return Ok(());
        }
        match &mut table.entry(part, &self.at).node.value {
            Value::Table(inner) => self.lay(inner, depth + 1),
            Value::Array(stages) if depth == 0 && part == "stage" => self.lay_in_stage(stages),
            other => {
                let (parent, kind) = (self.path[..=depth].join("."), other.kind());
                Err(Problem::error(format!("--set {}: `{parent}` is {kind} and has no keys", self.typed)))
            }
        }
    }

    /// `stage.NAME.key`: stages are a list, they are found by their name.
    fn lay_in_stage(&self, stages: &mut [Node]) -> Result<(), Problem> {
        let name = &self.path[1];
        let Some(index) = stages.iter().position(|stage| stage_name(stage) == Some(name)) else {
            return Err(self.not_there(name, stages.iter().filter_map(stage_name)));
        };
        match &mut stages[index].value {
            Value::Table(stage) if self.path.len() > 2 => self.lay(stage, 2),
            _ => Err(Problem::error(format!("--set {}: a stage is changed key by key", self.typed))
                .help(format!("write the key behind the name, such as --set stage.{name}.limits.deadline=5s"))),
        }
    }

    fn not_there<'n>(&self, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> Problem {
        let thing = &self.path[0];
        let hint = suggestion(name, known, &format!("the file has no {thing}"));
        Problem::error(format!("--set {}: there is no {thing} \"{name}\": {hint}", self.typed))
    }

    /// The value read as TOML, else as a plain string.
    fn node(&self) -> Node {
        let at = |_| self.at.clone();
        let node = match DeValue::parse(self.value) {
            Ok(value) => node_of(&value, &at),
            Err(_) => Node { value: Value::String(self.value.to_owned()), at: self.at.clone(), loose: None },
        };
        let quoted = matches!(node.value, Value::Array(_) | Value::Table(_)) || self.value.starts_with(['"', '\'']);
        Node { loose: (!quoted).then(|| self.value.to_owned()), ..node }
    }
}

fn stage_name(stage: &Node) -> Option<&str> {
    match &stage.value {
        Value::Table(table) => match &table.get("name")?.node.value {
            Value::String(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// The parts of a dotted key, with TOML's own rules for quotes.
fn key_path(key: &str) -> Option<Vec<String>> {
    if key.contains(['=', '\n', '\r', '#', '{']) {
        return None;
    }
    let text = format!("{key} = 0");
    let table = DeTable::parse(&text).ok()?.into_inner();
    let mut path = Vec::new();
    let mut level = &table;
    loop {
        let (key, value) = level.iter().next()?;
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => level = inner,
            _ => return Some(path),
        }
    }
}
