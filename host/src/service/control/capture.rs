//! Captured rows as a case (docs/cases.md), by the plugin's own names: `plugin test` runs the plugin on them. The rows of
//! tables that the rows found are with them. Values of masked columns do not leave this module.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use hmac::{Hmac, KeyInit, Mac};
use millstream_sdk::LogicalType;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::super::life::Captured;
use super::shapes::CaptureRequest;
use crate::case::{FORMAT, Header, TableTypes, row_line, table_line};
use crate::clock::{Clock, SystemClock};
use crate::contract::{DeclaredLookup, Table};
use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Sample;
use crate::plan::{PlannedLookup, PlannedPlugin, Work};
use crate::plugin::to_json;
use crate::schema::Column;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Hex digits that stand for a masked text.
const PSEUDONYM_DIGITS: usize = 12;

/// The text of a case: header, rows of tables, rows.
///
/// # Errors
/// `Config` for a masked column that there is not, or that cannot be masked; `Unavailable` when it is too long.
pub(super) fn case(
    pipeline: &str,
    captured: &Captured,
    request: &CaptureRequest,
    most_bytes: usize,
) -> Result<Vec<u8>> {
    let Work::Plugin(plugin) = &captured.planned.work else {
        return Err(Error::new(ErrorKind::Internal, "rows were captured in front of a stage that is no plugin"));
    };
    let columns = columns_of(captured, plugin);
    let masks = Masks::new(&columns, &request.mask)?;
    let mut lines = Lines { text: Vec::new(), most_bytes };
    let now_ms = captured.samples.last().map_or(0, |sample| sample.now_ms);
    lines.add(&header(pipeline, captured, plugin, &columns, request, now_ms).line())?;
    for (declared, planned) in plugin.contract.lookups.iter().zip(&plugin.lookups) {
        for line in table_lines(captured, plugin, declared, planned, &masks)? {
            lines.add(&line)?;
        }
    }
    for sample in &captured.samples {
        for row in rows(sample, &columns, &masks)? {
            lines.add(&row_line(&row))?;
        }
    }
    Ok(lines.text)
}

/// Text that does not grow without end.
struct Lines {
    text: Vec<u8>,
    most_bytes: usize,
}

impl Lines {
    fn add(&mut self, line: &str) -> Result<()> {
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
        if self.text.len() > self.most_bytes {
            let message = format!("the captured rows are longer than {} bytes", self.most_bytes);
            return Err(Error::new(ErrorKind::Unavailable, message).help("ask for fewer rows"));
        }
        Ok(())
    }
}

/// A column that the plugin reads, or looks up by.
struct Read {
    /// By the plugin's own name.
    column: Column,
    /// The pipeline's name.
    name: String,
}

fn columns_of(captured: &Captured, plugin: &PlannedPlugin) -> Vec<Read> {
    let read = plugin.contract.reads.iter().map(|column| &column.name).zip(&plugin.reads);
    let keys = plugin.contract.lookups.iter().zip(&plugin.lookups);
    let keys = keys.flat_map(|(declared, planned)| declared.key.iter().zip(&planned.key));
    let mut columns: Vec<Read> = Vec::new();
    for (own, index) in read.chain(keys) {
        if let Some(input) = captured.planned.input.get(*index)
            && !columns.iter().any(|known| known.column.name == *own)
        {
            columns.push(Read { column: Column { name: own.clone(), ..input.clone() }, name: input.name.clone() });
        }
    }
    columns
}

fn header(
    pipeline: &str,
    captured: &Captured,
    plugin: &PlannedPlugin,
    columns: &[Read],
    request: &CaptureRequest,
    now_ms: i64,
) -> Header {
    let at_ms = SystemClock.now_ms();
    let until_ms = at_ms.saturating_add(i64::from(request.keep_days).saturating_mul(DAY_MS));
    let types = columns.iter().map(|read| (read.column.name.clone(), read.column.type_text().into()));
    let used = |table: &&Table| plugin.contract.lookups.iter().any(|lookup| lookup.table == table.name);
    let tables = plugin.given.tables.iter().filter(used);
    Header {
        millstream: FORMAT.to_owned(),
        config: Some(captured.config.clone()),
        columns: Some(types.collect()),
        tables: tables.map(|table| (table.name.clone(), TableTypes::of(table))).collect(),
        outputs: plugin.given.outputs.clone(),
        now: Some(now_ms.into()),
        captured: Some(json!({
            "pipeline": pipeline,
            "stage": captured.stage,
            "digest": captured.version.digest,
            "rejected": request.rejected,
            "masked": request.mask,
            "at": instant(at_ms),
            "until": instant(until_ms),
        })),
        ..Header::default()
    }
}

fn instant(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|instant| instant.to_string()).unwrap_or_default()
}

fn rows(sample: &Sample, columns: &[Read], masks: &Masks) -> Result<Vec<Map<String, Value>>> {
    let mut rows = vec![Map::new(); sample.columns.num_rows()];
    for Read { column, name } in columns {
        let values = to_json(array(sample, name)?, column)?.into_iter();
        let values = values.map(|value| masks.cell(&column.name, value, column));
        rows.iter_mut().zip(values).for_each(|(row, value)| drop(row.insert(column.name.clone(), value)));
    }
    Ok(rows)
}

fn array<'a>(sample: &'a Sample, name: &str) -> Result<&'a ArrayRef> {
    let missing = || Error::new(ErrorKind::Unavailable, format!("the plan changed: there is no column \"{name}\" now"));
    sample.columns.column_by_name(name).ok_or_else(|| missing().help("ask again"))
}

/// The rows that a lookup found, each once.
fn table_lines(
    captured: &Captured,
    plugin: &PlannedPlugin,
    declared: &DeclaredLookup,
    planned: &PlannedLookup,
    masks: &Masks,
) -> Result<Vec<String>> {
    let table = plugin.given.tables.iter().find(|table| table.name == declared.table);
    let (Some(table), Some(snapshot)) = (table, captured.tables.get(planned.table)) else { return Ok(Vec::new()) };
    let mut found = BTreeMap::new();
    for sample in &captured.samples {
        let names =
            planned.key.iter().filter_map(|index| captured.planned.input.get(*index)).map(|column| &column.name);
        let key: Vec<ArrayRef> = names.map(|name| array(sample, name).cloned()).collect::<Result<_>>()?;
        let joined = snapshot.lookup(&key, &planned.columns)?;
        let mut cells = Vec::with_capacity(key.len() + joined.columns.len());
        for ((values, part), own) in key.iter().zip(&table.key).zip(&declared.key) {
            let values = to_json(values, part)?.into_iter().map(|value| masks.cell(own, value, part));
            cells.push((&part.name, values.collect::<Vec<Value>>()));
        }
        for (values, column) in joined.columns.iter().zip(&declared.columns) {
            cells.push((&column.name, to_json(values, column)?));
        }
        for row in (0..joined.found.len()).filter(|row| joined.found.value(*row)) {
            let cell = |(name, values): &(&String, Vec<Value>)| ((*name).clone(), values[row].clone());
            let row: Map<String, Value> = cells.iter().map(cell).collect();
            let key: Vec<String> = cells[..key.len()].iter().map(|(name, _)| row[name.as_str()].to_string()).collect();
            found.entry(key).or_insert(row);
        }
    }
    Ok(found.values().map(|row| table_line(&declared.table, row)).collect())
}

/// Takes values away: equal texts stay equal, everything else becomes null, or nothing.
struct Masks {
    /// By the plugin's own names.
    columns: Vec<String>,
    mac: Hmac<Sha256>,
}

impl Masks {
    /// Columns may be named as the pipeline or as the plugin does it.
    fn new(columns: &[Read], wanted: &[String]) -> Result<Self> {
        let mut masked = Vec::with_capacity(wanted.len());
        for name in wanted {
            let found = columns.iter().find(|read| read.name == *name || read.column.name == *name);
            let read = found.ok_or_else(|| {
                let names: Vec<&str> = columns.iter().map(|read| read.name.as_str()).collect();
                Error::new(ErrorKind::Config, format!("the stage reads no column \"{name}\" that could be masked"))
                    .help(format!("it reads {}", names.join(", ")))
            })?;
            if !read.column.nullable && matches!(read.column.logical, LogicalType::Struct(_)) {
                let message = format!("column \"{name}\" {} cannot be masked", read.column.type_text());
                return Err(Error::new(ErrorKind::Config, message).help("only a struct that may be null can be"));
            }
            masked.push(read.column.name.clone());
        }
        let mut key = [0; 64];
        getrandom::fill(&mut key)
            .map_err(|error| Error::new(ErrorKind::Unavailable, format!("no randomness for masks: {error}")))?;
        Ok(Self { columns: masked, mac: KeyInit::new(&key.into()) })
    }

    /// A value of a column, by the plugin's name of it.
    fn cell(&self, name: &str, value: Value, column: &Column) -> Value {
        if value.is_null() || !self.columns.iter().any(|masked| masked == name) {
            return value;
        }
        match (&column.logical, value) {
            (LogicalType::Utf8, Value::String(text)) => {
                // The key is forgotten with the capture: nobody can try texts out.
                let proof = hex(&self.mac.clone().chain_update(text.as_bytes()).finalize().into_bytes());
                format!("masked-{}", &proof[..PSEUDONYM_DIGITS]).into()
            }
            _ if column.nullable => Value::Null,
            (logical, _) => nothing(logical),
        }
    }
}

/// The value of a type that says least.
fn nothing(logical: &LogicalType) -> Value {
    match logical {
        LogicalType::Bool => false.into(),
        LogicalType::Float32 | LogicalType::Float64 => 0.0.into(),
        LogicalType::Decimal { .. } => "0".into(),
        LogicalType::Utf8 | LogicalType::Binary => "".into(),
        LogicalType::Uuid => "00000000-0000-0000-0000-000000000000".into(),
        LogicalType::Date => "1970-01-01".into(),
        LogicalType::List(_) => Value::Array(Vec::new()),
        LogicalType::Struct(_) => Value::Null,
        _ => 0.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::column;

    fn reads() -> Vec<Read> {
        let read =
            |own: &str, name: &str, type_text: &str| Read { column: column(own, type_text), name: name.to_owned() };
        vec![
            read("url", "page_url", "utf8"),
            read("agent", "agent", "utf8?"),
            read("n", "n", "int64"),
            read("amount", "amount", "decimal(12,2)?"),
            read("device", "device", "struct<os: utf8>"),
        ]
    }

    #[test]
    fn equal_texts_become_equal_pseudonyms_that_say_nothing() {
        let reads = reads();
        let masks = Masks::new(&reads, &["page_url".to_owned(), "agent".to_owned()]).unwrap();
        let mask = |masks: &Masks, text: &str| masks.cell("url", text.into(), &reads[0].column);
        let (once, again, other) = (mask(&masks, "a"), mask(&masks, "a"), mask(&masks, "b"));
        assert!(once == again && once != other, "{once} {again} {other}");
        assert!(once.as_str().unwrap().starts_with("masked-"), "{once}");
        assert_eq!(masks.cell("agent", Value::Null, &reads[1].column), Value::Null);
        assert_eq!(masks.cell("agent", "a".into(), &reads[1].column), once, "the same text in another column");
        let others = Masks::new(&reads, &["url".to_owned()]).unwrap();
        assert_ne!(mask(&others, "a"), once, "each capture has a key of its own");
    }

    #[test]
    fn other_values_become_null_or_nothing_and_unmasked_ones_stay() {
        let reads = reads();
        let masks = Masks::new(&reads, &["n".to_owned(), "amount".to_owned()]).unwrap();
        let cell = |at: usize, value: Value| masks.cell(&reads[at].column.name, value, &reads[at].column);
        assert_eq!((cell(2, 7.into()), cell(3, "1.00".into())), (0.into(), Value::Null));
        assert_eq!(cell(0, "a".into()), Value::from("a"));
    }

    #[test]
    fn what_cannot_be_masked_is_named() {
        let wrong = |name: &str| match Masks::new(&reads(), &[name.to_owned()]) {
            Ok(_) => panic!("{name} is masked"),
            Err(error) => error.to_string(),
        };
        assert_eq!(wrong("nothing"), "the stage reads no column \"nothing\" that could be masked");
        assert_eq!(wrong("device"), "column \"device\" struct<os: utf8> cannot be masked");
    }

    #[test]
    fn a_case_ends_where_it_would_be_too_long() {
        let mut lines = Lines { text: Vec::new(), most_bytes: 10 };
        lines.add("12345").unwrap();
        assert!(lines.add("12345").unwrap_err().message().contains("longer than 10 bytes"));
    }
}
