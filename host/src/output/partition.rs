//! Partition folders: which rows of a batch go where. Folder names follow Hive, so that every reader of a lake knows
//! them: `name=value`, special characters as `%XX`, no value as `__HIVE_DEFAULT_PARTITION__`.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int32Type};
use millstream_sdk::LogicalType;
use rustc_hash::FxHashMap;

use crate::config::{PartitionBy, PartitionTransform};
use crate::digest::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

/// The folder value of rows that have none: null, an empty text, an instant outside the years 0 to 9999.
pub const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// A folder's name has to fit the 255 bytes that file systems allow; a longer value is cut and a digest of all of it added.
const MAX_VALUE_BYTES: usize = 160;

/// The partition transforms of an output, checked against its columns.
#[derive(Debug)]
pub struct Partitioner {
    transforms: Vec<Transform>,
}

#[derive(Debug)]
struct Transform {
    /// Index into the output's columns.
    column: usize,
    /// The folder's name, escaped.
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Units of the column in one bucket, and what the bucket is called.
    Time {
        units_in_bucket: i64,
        bucket: Bucket,
    },
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bucket {
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
}

/// What one transform makes of the rows of a batch.
enum Values {
    One(String),
    Several { of_row: Vec<u32>, values: Vec<String> },
}

/// The rows of a batch that go to one folder.
#[derive(Debug, PartialEq)]
pub struct Share {
    /// The folders, such as `day=2013-01-31/hour=07`.
    pub folders: String,
    /// The rows, in the batch's order.
    pub rows: RecordBatch,
}

impl Partitioner {
    /// Checks that the columns are there and that the transforms fit their types.
    pub fn new(output: &str, partition: &[PartitionBy], columns: &[Column]) -> Result<Self> {
        let transforms = partition.iter().map(|by| Transform::new(output, by, columns)).collect::<Result<Vec<_>>>()?;
        for (index, transform) in transforms.iter().enumerate() {
            if transforms[..index].iter().any(|other| other.name == transform.name) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("output `{output}` has two partition folders of the name `{}`", transform.name),
                )
                .help("use each of `day(..)`, `hour(..)` and a column once"));
            }
        }
        Ok(Self { transforms })
    }

    /// Splits a batch by folder; the order of rows within a folder stays.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<Share>> {
        let mut groups = Groups::all(batch.num_rows());
        for transform in &self.transforms {
            let values = transform.values(batch.column(transform.column))?;
            groups.refine(&transform.name, values);
        }
        groups.shares(batch)
    }
}

impl Transform {
    fn new(output: &str, by: &PartitionBy, columns: &[Column]) -> Result<Self> {
        let name = &by.column.value;
        let problem = |message: String| Error::new(ErrorKind::Config, message);
        let column = columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            problem(format!("output `{output}` is partitioned by `{name}`, which is not one of its columns"))
                .help("add the column to the output, or take it out of `partition`")
        })?;
        let logical = &columns[column].logical;
        let (folder, kind) = match (by.transform, logical) {
            (PartitionTransform::Day, LogicalType::Date) => {
                ("day".to_owned(), Kind::Time { units_in_bucket: 1, bucket: Bucket::Day })
            }
            (PartitionTransform::Day, LogicalType::Timestamp(unit)) => {
                ("day".to_owned(), Kind::Time { units_in_bucket: 86_400 * unit.per_second(), bucket: Bucket::Day })
            }
            (PartitionTransform::Hour, LogicalType::Timestamp(unit)) => {
                ("hour".to_owned(), Kind::Time { units_in_bucket: 3_600 * unit.per_second(), bucket: Bucket::Hour })
            }
            (PartitionTransform::Day, _) => {
                return Err(problem(format!(
                    "output `{output}` is partitioned by day({name}), but `{name}` is {logical}"
                ))
                .help("`day` takes a timestamp or a date"));
            }
            (PartitionTransform::Hour, _) => {
                return Err(problem(format!(
                    "output `{output}` is partitioned by hour({name}), but `{name}` is {logical}"
                ))
                .help("`hour` takes a timestamp"));
            }
            (PartitionTransform::Value, logical) if by.transform.takes(logical) => (escape(name), Kind::Value),
            (PartitionTransform::Value, _) => {
                return Err(problem(format!("output `{output}` is partitioned by `{name}`, which is {logical}")).help(
                    "a folder is made of utf8, bool, int8 to int64, decimal, date or uuid; use `day(..)` and `hour(..)` for a timestamp",
                ));
            }
        };
        Ok(Self { column, name: folder, kind })
    }

    fn values(&self, column: &ArrayRef) -> Result<Values> {
        match self.kind {
            Kind::Time { units_in_bucket, bucket } => buckets(column, units_in_bucket, bucket),
            Kind::Value => texts(column),
        }
    }
}

fn wrong_column(what: &str, column: &ArrayRef) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("a batch brings {} where an output's partition needs {what}", column.data_type()),
    )
}

fn buckets(column: &ArrayRef, units_in_bucket: i64, bucket: Bucket) -> Result<Values> {
    let numbers = cast(column, &DataType::Int64).map_err(|error| wrong_column("a time", column).caused_by(error))?;
    let numbers: &Int64Array = numbers.as_primitive();
    if numbers.null_count() == 0
        && let (Some(least), Some(most)) = (numbers.values().iter().min(), numbers.values().iter().max())
        && least.div_euclid(units_in_bucket) == most.div_euclid(units_in_bucket)
    {
        return Ok(Values::One(bucket_text(least.div_euclid(units_in_bucket), bucket)));
    }
    let mut codes = Codes::default();
    let of_row = (0..numbers.len())
        .map(|row| {
            let number = numbers.is_valid(row).then(|| numbers.value(row).div_euclid(units_in_bucket));
            codes.code(number, || number.map_or_else(|| NO_VALUE.to_owned(), |number| bucket_text(number, bucket)))
        })
        .collect();
    Ok(Values::Several { of_row, values: codes.values })
}

fn bucket_text(number: i64, bucket: Bucket) -> String {
    let day = if bucket == Bucket::Day { number } else { number.div_euclid(24) };
    let seconds = day.checked_mul(86_400);
    let date = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match date.map(|date| jiff::tz::TimeZone::UTC.to_datetime(date).date()) {
        Some(date) if date.year() >= 0 => match bucket {
            Bucket::Day => format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
            Bucket::Hour => format!("{:02}", number.rem_euclid(24)),
        },
        _ => NO_VALUE.to_owned(),
    }
}

fn texts(column: &ArrayRef) -> Result<Values> {
    if let Some(dictionary) = column.as_any_dictionary_opt()
        && let DataType::Dictionary(key, _) = column.data_type()
        && **key == DataType::Int32
    {
        let folders = as_text(dictionary.values())?;
        let keys = column.as_dictionary::<Int32Type>().keys();
        let mut codes = Codes::default();
        let of_row = keys
            .iter()
            .map(|key| {
                let at = key.and_then(|key| usize::try_from(key).ok()).filter(|at| folders.is_valid(*at));
                codes.code(at, || at.map_or_else(|| NO_VALUE.to_owned(), |at| folder_value(folders.value(at))))
            })
            .collect();
        return Ok(Values::Several { of_row, values: codes.values });
    }
    let text = as_text(column)?;
    let mut codes = Codes::default();
    let of_row = text
        .iter()
        .map(|value| codes.code(value, || value.map_or_else(|| NO_VALUE.to_owned(), folder_value)))
        .collect();
    Ok(Values::Several { of_row, values: codes.values })
}

fn as_text(column: &ArrayRef) -> Result<StringArray> {
    if let Some(uuids) = column.as_fixed_size_binary_opt() {
        return Ok(uuids.iter().map(|uuid| uuid.map(uuid_text)).collect());
    }
    let text = cast(column, &DataType::Utf8).map_err(|error| wrong_column("text", column).caused_by(error))?;
    Ok(text.as_string::<i32>().clone())
}

/// The text form of a uuid (RFC 9562).
pub(super) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn folder_value(value: &str) -> String {
    if value.is_empty() {
        return NO_VALUE.to_owned();
    }
    let escaped = escape(value);
    if escaped.len() <= MAX_VALUE_BYTES {
        return escaped;
    }
    let mut cut = MAX_VALUE_BYTES;
    while !escaped.is_char_boundary(cut) || escaped[..cut].bytes().rev().take(2).any(|byte| byte == b'%') {
        cut -= 1;
    }
    format!("{}-{}", &escaped[..cut], &digest(value.as_bytes())[..16])
}

/// Hive's escaping of partition names and values.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(character) {
            let _ = write!(escaped, "%{:02X}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Gives equal keys equal small numbers. Neighbouring rows mostly have the same key.
struct Codes<K> {
    last: Option<(K, u32)>,
    known: FxHashMap<K, u32>,
    values: Vec<String>,
}

impl<K> Default for Codes<K> {
    fn default() -> Self {
        Self { last: None, known: FxHashMap::default(), values: Vec::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash> Codes<K> {
    fn code(&mut self, key: K, value: impl FnOnce() -> String) -> u32 {
        if let Some((last, code)) = &self.last
            && *last == key
        {
            return *code;
        }
        let values = &mut self.values;
        let code = *self.known.entry(key).or_insert_with(|| {
            values.push(value());
            values.len() as u32 - 1
        });
        self.last = Some((key, code));
        code
    }
}

/// A partition of the rows, made finer by one transform after the other.
struct Groups {
    rows: usize,
    /// The group of each row; none while all are in one.
    of_row: Option<Vec<u32>>,
    folders: Vec<String>,
}

impl Groups {
    fn all(rows: usize) -> Self {
        Self { rows, of_row: None, folders: vec![String::new()] }
    }

    fn refine(&mut self, name: &str, values: Values) {
        let (of_row, values) = match values {
            Values::One(value) => {
                self.folders.iter_mut().for_each(|folders| push_folder(folders, name, &value));
                return;
            }
            Values::Several { of_row, values } => (of_row, values),
        };
        let mut codes = Codes::default();
        let before = self.of_row.take();
        let refined = of_row
            .iter()
            .enumerate()
            .map(|(row, value)| {
                let group = before.as_ref().map_or(0, |groups| groups[row]);
                codes.code((group, values[*value as usize].as_str()), || {
                    let mut folders = self.folders[group as usize].clone();
                    push_folder(&mut folders, name, &values[*value as usize]);
                    folders
                })
            })
            .collect();
        if codes.values.len() > 1 {
            self.of_row = Some(refined);
        }
        if !codes.values.is_empty() {
            self.folders = codes.values;
        }
    }

    fn shares(self, batch: &RecordBatch) -> Result<Vec<Share>> {
        if self.rows == 0 {
            return Ok(Vec::new());
        }
        let Some(of_row) = self.of_row else {
            return Ok(self.folders.into_iter().map(|folders| Share { folders, rows: batch.clone() }).collect());
        };
        let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); self.folders.len()];
        for (row, group) in of_row.iter().enumerate() {
            rows_of[*group as usize].push(row as u32);
        }
        self.folders
            .into_iter()
            .zip(rows_of)
            .map(|(folders, rows)| Ok(Share { folders, rows: pick(batch, rows)? }))
            .collect()
    }
}

fn push_folder(folders: &mut String, name: &str, value: &str) {
    if !folders.is_empty() {
        folders.push('/');
    }
    let _ = write!(folders, "{name}={value}");
}

/// Rows of a batch, in order; without a copy when they lie side by side.
fn pick(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    let (first, count) = (rows.first().copied().unwrap_or(0) as usize, rows.len());
    if rows.last().is_some_and(|last| *last as usize + 1 == first + count) {
        return Ok(batch.slice(first, count));
    }
    take_record_batch(batch, &UInt32Array::from(rows))
        .map_err(|error| Error::new(ErrorKind::Internal, "a batch cannot be split by partition").caused_by(error))
}

#[cfg(test)]
mod tests;
