//! The rows of a case as the records that a source would give. A record's offset is the index of its row in the case.

use arrow::array::BinaryArray;
use serde_json::{Map, Value};

use super::{Case, Kind, Row};
use crate::config::{ColumnFrom, Format, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::typed;
use crate::record::{Headers, Partition, Payload, Records};
use crate::schema::Column;

/// Most records of a block.
const BLOCK_RECORDS: usize = 4_096;

/// The case's rows as blocks of records of these sources, in order: the index of the source, the block.
pub fn blocks(case: &Case, sources: &[Source]) -> Result<Vec<(usize, Records)>> {
    let mut blocks = Vec::new();
    let mut from = 0;
    while from < case.rows.len() {
        let source = source_of(case, &case.rows[from], sources)?;
        let mut to = from + 1;
        while to < case.rows.len() && to - from < BLOCK_RECORDS && source_of(case, &case.rows[to], sources)? == source {
            to += 1;
        }
        blocks.push((source, block(case, from..to, &sources[source])?));
        from = to;
    }
    Ok(blocks)
}

fn at(case: &Case, row: &Row, wrong: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{}:{}: {wrong}", case.path.display(), row.line))
}

fn source_of(case: &Case, row: &Row, sources: &[Source]) -> Result<usize> {
    let names: Vec<&str> = sources.iter().map(|source| source.name.value.as_str()).collect();
    match &row.source {
        None if sources.len() == 1 => Ok(0),
        None => Err(at(case, row, "the row does not say its source")
            .help(format!("add \"source\": one of {}", names.join(", ")))),
        Some(name) => names.iter().position(|known| known == name).ok_or_else(|| {
            at(case, row, format!("there is no source \"{name}\"")).help(format!("there is {}", names.join(", ")))
        }),
    }
}

fn block(case: &Case, range: std::ops::Range<usize>, source: &Source) -> Result<Records> {
    let rows = &case.rows[range.clone()];
    let (payload, csv_header) = match source.format.value {
        Format::Json => (json(rows), None),
        Format::Csv => {
            let names = field_names(source);
            (csv(case, rows, &names)?, Some(names.into()))
        }
        Format::Parquet => (columns(case, rows, source)?, None),
    };
    let timestamps_ms = if rows.iter().any(|row| row.timestamp_ms.is_some()) {
        rows.iter().map(|row| row.timestamp_ms.unwrap_or(0)).collect()
    } else {
        Vec::new()
    };
    let headers = |row: &Row| -> Headers {
        row.headers.iter().map(|(name, text)| (name.clone(), Some(text.clone().into_bytes()))).collect()
    };
    Ok(Records {
        partition: Partition { source: source.name.value.as_str().into(), key: "case".into() },
        partition_number: 0,
        payload,
        csv_header,
        offsets: range.clone().map(|row| row as i64).collect(),
        next_offset: range.end as i64,
        timestamps_ms,
        keys: Some(rows.iter().map(|row| row.key.as_ref()).collect::<BinaryArray>()),
        headers: rows.iter().map(headers).collect(),
    })
}

/// An object goes in as it is written; a text is the record itself, for what is no JSON; null is a tombstone.
fn json(rows: &[Row]) -> Payload {
    let values = rows.iter().map(|row| match serde_json::from_str::<Value>(row.input.get()) {
        Ok(Value::Null) => None,
        Ok(Value::String(text)) => Some(text.into_bytes()),
        _ => Some(row.input.get().as_bytes().to_vec()),
    });
    Payload::Bytes(values.collect::<BinaryArray>())
}

/// The fields that a source's columns come from, each once.
fn field_names(source: &Source) -> Vec<String> {
    let mut names = Vec::new();
    for column in &source.columns {
        if let ColumnFrom::Field(path) = &column.from
            && !names.contains(&path.join("."))
        {
            names.push(path.join("."));
        }
    }
    names
}

/// An object becomes a line by the names of the fields; a text is the line itself.
fn csv(case: &Case, rows: &[Row], names: &[String]) -> Result<Payload> {
    let line = |row: &Row| match serde_json::from_str::<Value>(row.input.get()) {
        Ok(Value::String(text)) => Ok(text.into_bytes()),
        Ok(Value::Object(fields)) => csv_line(&fields, names).map_err(|wrong| at(case, row, wrong)),
        _ => Err(at(case, row, "`in` is an object of fields, or a text: the record itself")),
    };
    let lines = rows.iter().map(|row| line(row).map(Some)).collect::<Result<Vec<_>>>()?;
    Ok(Payload::Bytes(lines.into_iter().collect::<BinaryArray>()))
}

fn csv_line(fields: &Map<String, Value>, names: &[String]) -> Result<Vec<u8>, String> {
    if let Some(unknown) = fields.keys().find(|name| !names.contains(name)) {
        return Err(format!("no column comes from the field \"{unknown}\"; there are {}", names.join(", ")));
    }
    let cell = |name: &String| match fields.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names.iter().map(cell)).map_err(|error| error.to_string())?;
    let mut line = writer.into_inner().map_err(|error| error.to_string())?;
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

/// Objects become columns of the declared types.
fn columns(case: &Case, rows: &[Row], source: &Source) -> Result<Payload> {
    // The decoder of a pipeline refuses nulls by itself; a plugin's rows have none of it behind them.
    let loose = case.kind == Kind::Pipeline;
    let declared = source.columns.iter().filter_map(|column| {
        let ColumnFrom::Field(path) = &column.from else { return None };
        let nullable = column.nullable || loose;
        Some(Column { name: path.join("."), logical: column.logical.clone(), nullable })
    });
    let declared: Vec<Column> = declared.collect();
    let mut objects = Vec::with_capacity(rows.len());
    for row in rows {
        let object: Map<String, Value> = serde_json::from_str(row.input.get())
            .map_err(|_| at(case, row, "`in` is an object with the columns of the row"))?;
        if let Some(unknown) = object.keys().find(|name| !declared.iter().any(|column| column.name == **name)) {
            let names: Vec<&str> = declared.iter().map(|column| column.name.as_str()).collect();
            return Err(at(case, row, format!("there is no column \"{unknown}\"; there are {}", names.join(", "))));
        }
        objects.push(object);
    }
    let batch = typed(&declared, &objects).map_err(|(index, wrong)| at(case, &rows[index], wrong))?;
    Ok(Payload::Columns(batch))
}
