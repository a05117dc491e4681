//! Rejects as people read them.

use std::io::{Result, Write};

use serde_json::{Map, Value};

use super::{Counted, is_of_record};
use crate::cli::columns::write_columns;
use crate::digest::short;
use crate::replay::Asked;

/// A detail is shown so far in a list.
const DETAIL_CHARS: usize = 60;

fn text(object: &Map<String, Value>, name: &str) -> String {
    match object.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn stage(object: &Map<String, Value>) -> String {
    match object.get("stage") {
        Some(Value::String(stage)) => stage.clone(),
        _ => format!("source.{}", text(object, "source")),
    }
}

/// On one line, and not too long.
fn cut(detail: &str) -> String {
    let line: String = detail.chars().take(DETAIL_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if detail.chars().nth(DETAIL_CHARS).is_some() { format!("{line}…") } else { line }
}

/// A line each.
pub(super) fn list(out: &mut dyn Write, rejects: &[Map<String, Value>], more: u64) -> Result<()> {
    let row = |object: &Map<String, Value>| {
        let replayed = if object.get("replayed") == Some(&Value::Bool(true)) { "yes" } else { "-" };
        vec![
            text(object, "id"),
            text(object, "rejected_at"),
            stage(object),
            text(object, "reason"),
            cut(&text(object, "detail")),
            format!("{} {} {}", text(object, "source"), text(object, "partition"), text(object, "offset")),
            text(object, "attempts"),
            replayed.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = rejects.iter().map(row).collect();
    let head = ["id", "rejected at", "stage", "reason", "detail", "source, partition, offset", "attempts", "replayed"];
    write_columns(out, &head, &rows)?;
    match more {
        0 => Ok(()),
        more => writeln!(out, "\nand {more} older ones: -n shows more, --stage, --reason, --since fewer"),
    }
}

/// Everything of one.
pub(super) fn one(out: &mut dyn Write, object: &Map<String, Value>) -> Result<()> {
    for name in object.keys().filter(|name| !is_of_record(name)) {
        writeln!(out, "{name:<16}  {}", text(object, name))?;
    }
    for name in object.keys().filter(|name| is_of_record(name)) {
        writeln!(out, "\n{name}\n{}", text(object, name))?;
    }
    Ok(())
}

/// By stage, reason and plugin.
pub(super) fn counts(out: &mut dyn Write, counts: &[Counted]) -> Result<()> {
    let row = |count: &Counted| {
        vec![
            count.stage.clone(),
            count.reason.clone(),
            count.digest.as_deref().map_or_else(|| "-".to_owned(), short),
            count.rejects.to_string(),
            count.replayed.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = counts.iter().map(row).collect();
    write_columns(out, &["stage", "reason", "plugin", "rejects", "replayed"], &rows)
}

/// What becomes of a request.
pub(super) fn asked(out: &mut dyn Write, asked: &Asked, by_host: bool) -> Result<()> {
    let Asked { id, rows, skipped, elsewhere, elsewhere_by, without_record } = asked;
    match (id, by_host) {
        (None, _) => writeln!(out, "no reject goes in again")?,
        (Some(id), true) => writeln!(out, "replay {id}: {rows} rejects go in again; the running host takes them")?,
        (Some(id), false) => writeln!(out, "replay {id}: {rows} rejects go in again")?,
    }
    if *skipped > 0 {
        writeln!(out, "{skipped} were replayed already and are left alone; --again replays them too")?;
    }
    if *without_record > 0 {
        writeln!(
            out,
            "{without_record} were too long for the topic of rejects, which has no record of them: `rewind --topics-again` reads it again"
        )?;
    }
    match elsewhere_by {
        None => Ok(()),
        Some(host) => writeln!(
            out,
            "{elsewhere} are host {host}'s to replay, which notes it: ask that host, with its data folder"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_and_stays_on_its_line() {
        assert_eq!(cut("a\nb"), "a b");
        assert_eq!(cut(&"é".repeat(70)), "é".repeat(60) + "…");
    }
}
