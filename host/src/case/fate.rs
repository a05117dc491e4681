//! What becomes of one row: as a case expects it, and as it came.

use serde_json::{Map, Value};

use super::Kind;

/// What becomes of one row (of a plugin) or record (of a pipeline).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fate {
    /// The rows that were made of it.
    pub made: Vec<Made>,
    /// By whom and why it was refused.
    pub rejected: Vec<Refused>,
    /// Where and why it was left out.
    pub filtered: Vec<LeftOut>,
}

/// A row that was made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The route of a plugin, or the output of a pipeline.
    pub to: Option<String>,
    /// The written columns of a plugin, or the output's columns; none when a case does not say.
    pub row: Option<Map<String, Value>>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// `source.NAME` or the stage, in a pipeline; none when a case does not say.
    pub by: Option<String>,
    /// The reason.
    pub reason: String,
    /// The detail; none when a case does not say.
    pub detail: Option<String>,
}

/// Left out on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// The stage, in a pipeline; none when a case does not say.
    pub by: Option<String>,
    /// The reason.
    pub reason: String,
}

/// The part of a case's line that says what should become of the row.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Said {
    pub out: Option<Value>,
    pub to: Option<Value>,
    pub rejected: Option<Value>,
    pub filtered: Option<Value>,
}

impl Fate {
    /// Reads what a case says; none when it says nothing. The error says what is wrong.
    pub(super) fn read(kind: Kind, said: Said) -> Result<Option<Self>, String> {
        let Said { out, to, rejected, filtered } = said;
        if out.is_none() && to.is_none() && rejected.is_none() && filtered.is_none() {
            return Ok(None);
        }
        let made = match kind {
            Kind::Plugin => made_by_plugin(out, to)?,
            Kind::Pipeline if to.is_some() => {
                return Err("`to` is for plugins; the rows of a pipeline stand in `out` by output".to_owned());
            }
            Kind::Pipeline => made_by_pipeline(out)?,
        };
        let rejected = several(rejected).map(refused).collect::<Result<_, _>>()?;
        let filtered = several(filtered).map(left_out).collect::<Result<_, _>>()?;
        Ok(Some(Self { made, rejected, filtered }))
    }

    /// As members of a case's line.
    pub(super) fn members(&self, kind: Kind) -> Vec<(&'static str, Value)> {
        let mut members = Vec::new();
        match kind {
            Kind::Plugin => {
                let rows: Vec<Value> =
                    self.made.iter().filter_map(|made| made.row.clone().map(Value::Object)).collect();
                let to: Vec<Value> = self.made.iter().filter_map(|made| made.to.clone().map(Value::from)).collect();
                members.extend(one_or_all(rows).map(|rows| ("out", rows)));
                members.extend(one_or_all(to).map(|to| ("to", to)));
            }
            Kind::Pipeline => {
                let mut outputs: Map<String, Value> = Map::new();
                for output in self.destinations() {
                    let rows = self.rows_to(output.as_deref());
                    let rows = rows.iter().filter_map(|row| row.cloned().map(Value::Object)).collect();
                    outputs.extend(one_or_all(rows).map(|rows| (output.unwrap_or_default(), rows)));
                }
                if !outputs.is_empty() || (self.rejected.is_empty() && self.filtered.is_empty()) {
                    members.push(("out", Value::Object(outputs)));
                }
            }
        }
        members.extend(one_or_all(self.rejected.iter().map(Refused::json).collect()).map(|all| ("rejected", all)));
        members.extend(one_or_all(self.filtered.iter().map(LeftOut::json).collect()).map(|all| ("filtered", all)));
        members
    }

    /// Where rows went, each once, in the order of the first row.
    pub(super) fn destinations(&self) -> Vec<Option<String>> {
        let mut all = Vec::new();
        for made in &self.made {
            if !all.contains(&made.to) {
                all.push(made.to.clone());
            }
        }
        all
    }

    /// The rows that went to one place.
    pub(super) fn rows_to(&self, to: Option<&str>) -> Vec<Option<&Map<String, Value>>> {
        self.made.iter().filter(|made| made.to.as_deref() == to).map(|made| made.row.as_ref()).collect()
    }

    /// What became of it in a few words: `1 row`, `2 rows to views`, `rejected: bad_url`; with `details` why, too.
    pub fn summary(&self, details: bool) -> String {
        let mut parts = Vec::new();
        let mut destinations = self.destinations();
        destinations.sort();
        for to in destinations {
            let rows = self.rows_to(to.as_deref()).len();
            let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
            parts.push(to.map_or(rows.clone(), |to| format!("{rows} to {to}")));
        }
        let by = |by: &Option<String>| by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let mut refused: Vec<String> = self
            .rejected
            .iter()
            .map(|one| {
                let detail = one.detail.as_deref().filter(|detail| details && !detail.is_empty());
                let detail =
                    detail.map(|detail| format!(": {}", detail.lines().next().unwrap_or_default())).unwrap_or_default();
                format!("rejected{}: {}{detail}", by(&one.by), one.reason)
            })
            .collect();
        refused.sort();
        let mut left_out: Vec<String> =
            self.filtered.iter().map(|one| format!("filtered{}: {}", by(&one.by), one.reason)).collect();
        left_out.sort();
        parts.extend(refused);
        parts.extend(left_out);
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }
}

impl Refused {
    fn json(&self) -> Value {
        // A trap's message holds addresses and frames, which change with every build.
        let detail = self.detail.as_ref().filter(|detail| !detail.is_empty() && self.reason != "trap");
        if self.by.is_none() && detail.is_none() {
            return self.reason.clone().into();
        }
        let mut members = Map::new();
        members.extend(self.by.as_ref().map(|by| ("by".to_owned(), by.clone().into())));
        members.insert("reason".to_owned(), self.reason.clone().into());
        members.extend(detail.map(|detail| ("detail".to_owned(), detail.clone().into())));
        Value::Object(members)
    }
}

impl LeftOut {
    fn json(&self) -> Value {
        match &self.by {
            None => self.reason.clone().into(),
            Some(by) => serde_json::json!({ "by": by, "reason": self.reason }),
        }
    }
}

fn one_or_all(mut values: Vec<Value>) -> Option<Value> {
    match values.len() {
        0 => None,
        1 => values.pop(),
        _ => Some(Value::Array(values)),
    }
}

fn several(value: Option<Value>) -> impl Iterator<Item = Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
    }
    .into_iter()
}

fn row(value: Value, what: &str) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(row) => Ok(row),
        other => Err(format!("{what} is an object, or a list of objects, not {other}")),
    }
}

fn made_by_plugin(out: Option<Value>, to: Option<Value>) -> Result<Vec<Made>, String> {
    let says_rows = out.is_some();
    let rows = several(out).map(|value| row(value, "`out`")).collect::<Result<Vec<_>, _>>()?;
    let names = several(to).map(|name| match name {
        Value::String(name) => Ok(name),
        other => Err(format!("`to` is the name of an output, or a list of names, not {other}")),
    });
    let names = names.collect::<Result<Vec<String>, String>>()?;
    match (says_rows, names.is_empty()) {
        (_, true) => Ok(rows.into_iter().map(|row| Made { to: None, row: Some(row) }).collect()),
        (false, false) => Ok(names.into_iter().map(|name| Made { to: Some(name), row: None }).collect()),
        (true, false) if names.len() == rows.len() => {
            Ok(names.into_iter().zip(rows).map(|(name, row)| Made { to: Some(name), row: Some(row) }).collect())
        }
        (true, false) => Err(format!("`out` has {} rows, but `to` has {} names", rows.len(), names.len())),
    }
}

fn made_by_pipeline(out: Option<Value>) -> Result<Vec<Made>, String> {
    let Some(out) = out else { return Ok(Vec::new()) };
    let mut made = Vec::new();
    for (output, rows) in row(out, "`out`, by output,")? {
        for value in several(Some(rows)) {
            let row = row(value, &format!("`out.{output}`"))?;
            made.push(Made { to: Some(output.clone()), row: Some(row) });
        }
    }
    Ok(made)
}

fn text(members: &mut Map<String, Value>, name: &str, place: &str) -> Result<Option<String>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{place}.{name}` is a text, not {other}")),
    }
}

fn refused(value: Value) -> Result<Refused, String> {
    let mut members = match value {
        Value::String(reason) => return Ok(Refused { by: None, reason, detail: None }),
        value => row(value, "`rejected`, when it is no reason,")?,
    };
    let by = text(&mut members, "by", "rejected")?;
    let reason = text(&mut members, "reason", "rejected")?.ok_or("`rejected` has no `reason`")?;
    let detail = text(&mut members, "detail", "rejected")?;
    match members.keys().next() {
        Some(unknown) => Err(format!("`rejected` has `{unknown}`; it may have `by`, `reason`, `detail`")),
        None => Ok(Refused { by, reason, detail }),
    }
}

fn left_out(value: Value) -> Result<LeftOut, String> {
    let mut members = match value {
        Value::String(reason) => return Ok(LeftOut { by: None, reason }),
        value => row(value, "`filtered`, when it is no reason,")?,
    };
    let by = text(&mut members, "by", "filtered")?;
    let reason = text(&mut members, "reason", "filtered")?.ok_or("`filtered` has no `reason`")?;
    match members.keys().next() {
        Some(unknown) => Err(format!("`filtered` has `{unknown}`; it may have `by`, `reason`")),
        None => Ok(LeftOut { by, reason }),
    }
}
