//! What a table looks like: its key and its other columns, from the pipeline file (CSV, JSONL) or from the Parquet file
//! itself, and the format of its file.

use std::fs::File;
use std::path::Path;

use millstream_sdk::LogicalType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::text::unreadable;
use crate::config::{self, ColumnFrom, Format, Located, SourceColumn};
use crate::contract::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Column, logical_type};

/// A table's columns with where they come from in its file.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) format: Format,
    pub(super) table: Table,
    /// Key columns first, then the others, as in `table`.
    pub(super) columns: Vec<SourceColumn>,
}

/// The format of a table's file, from its name.
pub(super) fn format_of(path: &Path) -> Result<Format> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let text = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
    let inner = text.unwrap_or(&name);
    if inner.ends_with(".csv") {
        Ok(Format::Csv)
    } else if [".jsonl", ".ndjson", ".json"].iter().any(|end| inner.ends_with(end)) {
        Ok(Format::Json)
    } else if inner.ends_with(".parquet") && text.is_none() {
        Ok(Format::Parquet)
    } else {
        let message = format!("{} is no table's file by its name", path.display());
        Err(Error::new(ErrorKind::Config, message)
            .help("tables are .csv, .jsonl (also .json, .ndjson) or .parquet; .gz or .zst may follow those of text"))
    }
}

impl Shape {
    /// Reads what the table looks like; of its file only a Parquet footer is read.
    pub(super) fn of(settings: &config::Dimension) -> Result<Self> {
        let path = &settings.path.value;
        let format = format_of(path)?;
        let columns = match format {
            Format::Parquet => parquet_columns(path, &settings.columns)?,
            Format::Csv | Format::Json if settings.columns.is_empty() => {
                return Err(Error::new(ErrorKind::Config, "`columns` is missing")
                    .help("CSV and JSONL files do not say their types: list the columns with their types"));
            }
            Format::Csv | Format::Json => settings.columns.clone(),
        };
        if let Some(column) = columns.iter().find(|column| !matches!(column.from, ColumnFrom::Field(_))) {
            let message = format!(
                "column \"{}\" comes from the record's metadata, which a table's file has not",
                column.name.value
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Self::arrange(settings, format, columns)
    }

    /// Puts the key's columns first.
    fn arrange(settings: &config::Dimension, format: Format, mut others: Vec<SourceColumn>) -> Result<Self> {
        if settings.key.is_empty() {
            return Err(Error::new(ErrorKind::Config, "`key` is empty").help("name the columns that make the key"));
        }
        let mut columns = Vec::with_capacity(others.len());
        for key in &settings.key {
            let Some(index) = others.iter().position(|column| column.name.value == key.value) else {
                let message = match columns.iter().any(|column: &SourceColumn| column.name.value == key.value) {
                    true => format!("key column \"{}\" stands twice in `key`", key.value),
                    false => format!("key column \"{}\" is not among the table's columns", key.value),
                };
                let names: Vec<&str> = others.iter().map(|column| column.name.value.as_str()).collect();
                return Err(
                    Error::new(ErrorKind::Config, message).help(format!("the columns are {}", names.join(", ")))
                );
            };
            let mut column = others.remove(index);
            // Nulls in a key are counted and refused by the loader, whatever the file's schema allows.
            column.nullable = false;
            columns.push(column);
        }
        let keys = columns.len();
        columns.append(&mut others);
        let described: Vec<Column> = columns.iter().map(described).collect();
        let (key, rest) = described.split_at(keys);
        let table = Table { name: settings.name.value.clone(), key: key.to_vec(), columns: rest.to_vec() };
        super::key::KeyLayout::new(&table.key)?;
        Ok(Self { format, table, columns })
    }

    /// What besides the file makes a generation what it is: another text means that it has to be built anew.
    pub(super) fn settings_text(settings: &config::Dimension) -> String {
        let key: Vec<&str> = settings.key.iter().map(|key| key.value.as_str()).collect();
        let columns: Vec<String> = settings
            .columns
            .iter()
            .map(|column| format!("{:?} {} {:?}", column.name.value, described(column).type_text(), column.from))
            .collect();
        format!("key {key:?}; columns {columns:?}; duplicates {:?}", settings.duplicates)
    }
}

fn described(column: &SourceColumn) -> Column {
    Column { name: column.name.value.clone(), logical: column.logical.clone(), nullable: column.nullable }
}

fn parquet_columns(path: &Path, wanted: &[SourceColumn]) -> Result<Vec<SourceColumn>> {
    let file = File::open(path).map_err(unreadable(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_parquet(path))?;
    let schema = reader.schema();
    if wanted.is_empty() {
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
            Ok(SourceColumn {
                name: Located { value: field.name().clone(), span: 0..0 },
                logical: type_of(path, field)?,
                nullable: field.is_nullable(),
                from: ColumnFrom::Field(vec![field.name().clone()]),
            })
        };
        return schema.fields().iter().map(column).collect();
    }
    for column in wanted {
        let ColumnFrom::Field(names) = &column.from else { continue };
        let [name] = names.as_slice() else {
            let message =
                format!("column \"{}\" comes from {}, inside another column", column.name.value, names.join("."));
            return Err(Error::new(ErrorKind::Config, message).help("of a Parquet file whole columns can be taken"));
        };
        let Ok(field) = schema.field_with_name(name) else {
            let message = format!("{} has no column \"{name}\"", path.display());
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::new(ErrorKind::Input, message).help(format!("its columns are {}", names.join(", "))));
        };
        let found = type_of(path, field)?;
        if found != column.logical {
            let message = format!(
                "column \"{name}\" of {} is {found}, the pipeline file says {}",
                path.display(),
                column.logical
            );
            return Err(Error::new(ErrorKind::Input, message).help("leave the type to the file, or change it there"));
        }
    }
    Ok(wanted.to_vec())
}

fn type_of(path: &Path, field: &arrow::datatypes::Field) -> Result<LogicalType> {
    logical_type(field.data_type()).ok_or_else(|| {
        let message = format!(
            "column \"{}\" of {} is {}, which is no type of Millstream",
            field.name(),
            path.display(),
            field.data_type()
        );
        Error::new(ErrorKind::Input, message).help("leave it out: list the wanted ones in `columns`")
    })
}

pub(super) fn not_parquet(path: &Path) -> impl Fn(parquet::errors::ParquetError) -> Error + '_ {
    move |error| Error::new(ErrorKind::Input, format!("{} cannot be read as Parquet", path.display())).caused_by(error)
}
