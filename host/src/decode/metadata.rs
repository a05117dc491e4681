//! Columns from what surrounds a record: key, headers, timestamp, partition, offset.

use arrow::array::{Array, ArrayRef};
use millstream_sdk::{LogicalType, TimeUnit};

use super::column::{Column, Values};
use super::flaw::{Checked, Flaw, Reason};
use super::text::is_instant;
use crate::config::{ColumnFrom, SourceColumn};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Records;

/// A column that is taken from a record's metadata.
#[derive(Debug)]
pub(super) struct Metadata {
    name: String,
    from: ColumnFrom,
    column: Column,
}

/// Rows whose value does not fit the column, each with what is wrong.
type Flaws = Vec<(usize, Box<Flaw>)>;

impl Metadata {
    /// None when the column comes from a field of the record.
    pub(super) fn new(declared: &SourceColumn) -> Result<Option<Self>> {
        let (from, types, fits) = match &declared.from {
            ColumnFrom::Field(_) => return Ok(None),
            ColumnFrom::Key => ("@key".to_owned(), "utf8 or binary", is_text(&declared.logical)),
            ColumnFrom::Header(name) => (format!("@headers.{name}"), "utf8 or binary", is_text(&declared.logical)),
            ColumnFrom::Timestamp => {
                ("@timestamp".to_owned(), "a timestamp", matches!(declared.logical, LogicalType::Timestamp(_)))
            }
            ColumnFrom::Partition => ("@partition".to_owned(), "int32", declared.logical == LogicalType::Int32),
            ColumnFrom::Offset => ("@offset".to_owned(), "int64", declared.logical == LogicalType::Int64),
        };
        if !fits {
            let name = &declared.name.value;
            let message = format!("column \"{name}\" takes {from}, which is {types}, as {}", declared.logical);
            return Err(Error::new(ErrorKind::Config, message).help(format!("declare it as {types}")));
        }
        let column = Column::new(&declared.logical, declared.nullable);
        Ok(Some(Self { name: declared.name.value.clone(), from: declared.from.clone(), column }))
    }

    /// The column for these records, a placeholder where there is a flaw; and the flaws, by row.
    pub(super) fn take(&mut self, records: &Records, rows: &[u32]) -> Result<(ArrayRef, Flaws)> {
        let mut flaws = Vec::new();
        for (row, record) in rows.iter().enumerate() {
            if let Err(flaw) = self.append(records, *record as usize) {
                self.column.placeholder();
                flaws.push((row, flaw.within(&self.name)));
            }
        }
        Ok((self.column.finish()?, flaws))
    }

    fn append(&mut self, records: &Records, record: usize) -> Checked<()> {
        let bytes = match &self.from {
            ColumnFrom::Key => {
                records.keys.as_ref().filter(|keys| keys.is_valid(record)).map(|keys| keys.value(record))
            }
            ColumnFrom::Header(name) => records
                .headers
                .get(record)
                .and_then(|headers| headers.iter().rev().find(|(other, _)| other == name))
                .and_then(|(_, value)| value.as_deref()),
            _ => None,
        };
        match (&mut self.column.values, bytes) {
            (Values::Utf8(values), Some(bytes)) => {
                if simdutf8::basic::from_utf8(bytes).is_err() {
                    return Err(Flaw::found(Reason::BadUtf8, "utf8", bytes));
                }
                values.push(bytes);
            }
            (Values::Binary(values), Some(bytes)) => values.push(bytes),
            (Values::Int32(values), _) => values.push(records.partition_number),
            (Values::Int64(values), _) => values.push(records.offsets[record]),
            (Values::Timestamp(values, unit), _) => {
                match records.timestamps_ms.get(record) {
                    Some(&ms) => values.push(in_unit(ms, *unit).ok_or_else(|| {
                        Flaw::found(Reason::OutOfRange, &self.column.logical, ms.to_string().as_bytes())
                    })?),
                    None => return self.column.null(Reason::MissingField),
                }
            }
            _ => return self.column.null(Reason::MissingField),
        }
        Ok(())
    }
}

fn is_text(logical: &LogicalType) -> bool {
    matches!(logical, LogicalType::Utf8 | LogicalType::Binary)
}

fn in_unit(ms: i64, unit: TimeUnit) -> Option<i64> {
    let count = match unit {
        TimeUnit::Second => Some(ms.div_euclid(1_000)),
        TimeUnit::Millisecond => Some(ms),
        TimeUnit::Microsecond => ms.checked_mul(1_000),
        TimeUnit::Nanosecond => ms.checked_mul(1_000_000),
    };
    count.filter(|count| is_instant(*count, unit))
}
