//! A table's file: its rows as batches of typed columns, and what tells that it changed.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::shape::{Shape, not_parquet};
use super::text::{place_of, records_of_file, unreadable};
use crate::config::{ColumnFrom, Format, SourceColumn, Unknown};
use crate::decode::Decoder;
use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Records;
use crate::schema::arrow_type;

const BATCH_ROWS: usize = 8192;

/// What a look at a file shows: it changed when this changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamp {
    pub(super) length_bytes: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(super) modified_ns: u64,
}

impl Stamp {
    /// Looks at a file.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let look = || {
            let metadata = fs::metadata(path)?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
            Ok::<_, std::io::Error>((metadata.is_file(), Self { length_bytes: metadata.len(), modified_ns }))
        };
        match look() {
            Ok((true, stamp)) => Ok(stamp),
            Ok((false, _)) => Err(Error::new(ErrorKind::Config, format!("{} is not a file", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("{} is not there", path.display());
                Err(Error::new(ErrorKind::Unavailable, message)
                    .help("put the table's file there, or correct its `path`"))
            }
            Err(error) => Err(unreadable(path)(error)),
        }
    }
}

/// The SHA-256 of a file's content, in lower-case hex.
pub(super) fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(unreadable(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).map_err(unreadable(path))?;
        if length == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..length]);
    }
}

/// A table's rows in the order of the file: for each batch the columns of `shape`, key first, in Arrow's own types. A
/// row that does not fit its columns is an error that names it; nulls in the key pass, the loader counts them.
pub(super) fn rows_of_file(path: &Path, shape: &Shape) -> Result<Box<dyn Iterator<Item = Result<Vec<ArrayRef>>>>> {
    match shape.format {
        Format::Parquet => parquet_rows(path, shape),
        Format::Csv | Format::Json => text_rows(path, shape),
    }
}

fn text_rows(path: &Path, shape: &Shape) -> Result<Box<dyn Iterator<Item = Result<Vec<ArrayRef>>>>> {
    let mut columns = shape.columns.clone();
    for column in &mut columns[..shape.table.key.len()] {
        column.nullable = true;
    }
    let needed = vec![true; columns.len()];
    let mut decoder = Decoder::new(&columns, shape.format, &Unknown::Ignore, &needed)?;
    let path = path.to_owned();
    let rows =
        records_of_file(&path, shape.format)?.map(move |records| decoded(&mut decoder, &path, &columns, &records?));
    Ok(Box::new(rows))
}

fn decoded(decoder: &mut Decoder, path: &Path, columns: &[SourceColumn], records: &Records) -> Result<Vec<ArrayRef>> {
    let decoded = decoder.decode(records)?;
    if let Some(refusal) = decoded.rejects.first() {
        let offset = records.offsets.get(refusal.row as usize).copied().unwrap_or_default();
        let place = place_of(path, u64::try_from(offset).unwrap_or_default());
        let message = format!("{place}: {}: {}", refusal.reason, refusal.detail);
        return Err(
            Error::new(ErrorKind::Input, message).help("a table's file with a bad row is not loaded; correct the row")
        );
    }
    columns.iter().zip(decoded.columns.columns()).map(|(column, values)| canonical(column, values)).collect()
}

fn parquet_rows(path: &Path, shape: &Shape) -> Result<Box<dyn Iterator<Item = Result<Vec<ArrayRef>>>>> {
    let file = File::open(path).map_err(unreadable(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_parquet(path))?;
    let mut roots = Vec::with_capacity(shape.columns.len());
    for column in &shape.columns {
        let name = field_name(column);
        let index = builder.schema().index_of(name);
        roots.push(
            index.map_err(|_| Error::new(ErrorKind::Input, format!("{} has no column \"{name}\"", path.display())))?,
        );
    }
    let projection = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
    let reader = builder.with_projection(projection).with_batch_size(BATCH_ROWS).build().map_err(not_parquet(path))?;
    let (path, columns, keys) = (path.to_owned(), shape.columns.clone(), shape.table.key.len());
    let mut first_row = 0;
    Ok(Box::new(reader.map(move |batch| {
        let batch = batch.map_err(|error| not_parquet(&path)(error.into()))?;
        let start = first_row;
        first_row += batch.num_rows();
        let columns =
            columns.iter().enumerate().filter_map(|(index, column)| {
                let values = batch.column_by_name(field_name(column))?;
                let may_be_null = column.nullable || index < keys;
                Some(first_null(values).filter(|_| !may_be_null).map_or_else(
                    || canonical(column, values),
                    |row| Err(null_in(&path, start + row, &column.name.value)),
                ))
            });
        columns.collect()
    })))
}

fn first_null(values: &ArrayRef) -> Option<usize> {
    let nulls = values.logical_nulls()?;
    (0..nulls.len()).find(|row| nulls.is_null(*row))
}

fn null_in(path: &Path, row: usize, column: &str) -> Error {
    let message = format!("{}: row {}: column \"{column}\" is null", path.display(), row + 1);
    Error::new(ErrorKind::Input, message).help("write a `?` behind the column's type if it may be null")
}

fn field_name(column: &SourceColumn) -> &str {
    match &column.from {
        ColumnFrom::Field(names) => names.first().map_or(column.name.value.as_str(), String::as_str),
        _ => &column.name.value,
    }
}

fn canonical(column: &SourceColumn, values: &ArrayRef) -> Result<ArrayRef> {
    let wanted = arrow_type(&column.logical);
    if *values.data_type() == wanted {
        return Ok(values.clone());
    }
    let wrong = |error| {
        let message =
            format!("column \"{}\" of type {} does not convert to {wanted}", column.name.value, values.data_type());
        Error::new(ErrorKind::Input, message).caused_by(error)
    };
    cast(values, &wanted).map_err(wrong)
}
