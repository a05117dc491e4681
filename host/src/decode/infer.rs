//! `millstream infer`: proposes a source's `columns` from real records. A proposal is a start for a person: it fits all
//! the records that were looked at, and its notes say what they hint at beyond that.

mod propose;
mod seen;

use std::collections::HashSet;
use std::fmt::Write as _;

use arrow::array::{Array, RecordBatch};
use millstream_sdk::LogicalType;

use self::propose::{Proposal, propose};
use self::seen::{Seen, see_csv, see_json};
use crate::config::Format;
use crate::record::{Payload, Records};
use crate::schema::logical_type;

/// A proposed column.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The column's name: the path's steps joined by `_`, unique.
    pub name: String,
    /// The proposed type.
    pub logical: LogicalType,
    /// Whether some record has no value for it.
    pub nullable: bool,
    /// Where the value stands in the record.
    pub path: Vec<String>,
    /// The share (0 to 1) of records that have the field, a null included.
    pub share: f64,
    /// What else was noticed, for a person.
    pub notes: Vec<String>,
}

/// Proposes columns for these records, in the order in which their fields first appear. Records that cannot be read at
/// all are left out. A field whose name holds a dot is left out too: `from` could not name it.
pub fn infer(records: &[Records], format: Format) -> Vec<Inferred> {
    let mut seen = Seen::default();
    let mut columns = Vec::new();
    for block in records {
        match (&block.payload, format) {
            (Payload::Columns(batch), _) => columns = infer_columns(batch),
            // No source gives them.
            (Payload::Replayed(_), _) => {}
            (Payload::Bytes(values), Format::Csv) => {
                let header = block.csv_header.as_deref().unwrap_or_default();
                values.iter().flatten().for_each(|record| see_csv(&mut seen, header, record));
            }
            (Payload::Bytes(values), _) => values.iter().flatten().for_each(|record| see_json(&mut seen, record)),
        }
    }
    if seen.objects > 0 {
        fields_of(&seen, &mut Vec::new(), seen.objects, format, &mut columns);
    }
    name_uniquely(&mut columns);
    columns
}

/// Goes into objects, so that `device.os` becomes a column of its own.
fn fields_of(object: &Seen, path: &mut Vec<String>, records: u64, format: Format, columns: &mut Vec<Inferred>) {
    for (name, seen) in object.fields() {
        if name.is_empty() || name.starts_with('@') || (name.contains('.') && format != Format::Csv) {
            continue;
        }
        path.push(name.clone());
        if seen.objects > 0 && seen.objects == seen.values() && !seen.is_map() {
            fields_of(seen, path, records, format, columns);
        } else if let Some(Proposal { logical, notes }) = propose(name, seen, format) {
            columns.push(Inferred {
                name: String::new(),
                logical,
                nullable: seen.values() < records,
                path: path.clone(),
                share: seen.present as f64 / records as f64,
                notes,
            });
        }
        path.pop();
    }
}

fn infer_columns(batch: &RecordBatch) -> Vec<Inferred> {
    let fields = batch.schema_ref().fields().iter().zip(batch.columns());
    fields
        .filter_map(|(field, array)| {
            Some(Inferred {
                name: String::new(),
                logical: logical_type(field.data_type())?,
                nullable: field.is_nullable() || array.null_count() > 0,
                path: vec![field.name().clone()],
                share: 1.0,
                notes: Vec::new(),
            })
        })
        .collect()
}

fn name_uniquely(columns: &mut [Inferred]) {
    let mut taken = HashSet::new();
    for column in columns {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let base: String = column.path.join("_").chars().map(plain).collect();
        let mut name = base.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        column.name = name;
    }
}

/// The `columns` of a source as they stand in a pipeline file: one line a column, with its notes as a comment.
pub fn to_toml(columns: &[Inferred]) -> String {
    let entries: Vec<(String, String)> = columns
        .iter()
        .map(|column| {
            let logical = format!("\"{}{}\"", column.logical, if column.nullable { "?" } else { "" });
            let from = column.path.join(".");
            let value = if from == column.name {
                logical
            } else {
                format!("{{ type = {logical}, from = {} }}", toml::Value::from(from))
            };
            (format!("  {} = {value},", column.name), comment(column))
        })
        .collect();
    let width = entries.iter().map(|(entry, _)| entry.chars().count()).max().unwrap_or_default().min(60);
    let mut text = "columns = {\n".to_owned();
    for (entry, comment) in &entries {
        let _ = writeln!(text, "{}", format!("{entry:width$}  # {comment}").trim_end_matches([' ', '#']));
    }
    text.push_str("}\n");
    text
}

fn comment(column: &Inferred) -> String {
    let mut parts = Vec::new();
    if column.share < 1.0 {
        parts.push(format!("in {} of the records", percent(column.share)));
    }
    // A note quotes data: a line break in it would end the comment.
    parts.extend(column.notes.iter().map(|note| note.replace(|c: char| c.is_control(), " ")));
    parts.join("; ")
}

/// Never rounded to all or nothing.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 0.1 {
        "less than 0.1%".to_owned()
    } else if percent > 99.9 {
        "more than 99.9%".to_owned()
    } else {
        format!("{percent:.1}%")
    }
}

#[cfg(test)]
mod tests;
