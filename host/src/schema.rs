//! Columns by name and logical type, and their Arrow form. A column of text may lie in memory as a dictionary
//! (`Dictionary(Int32, Utf8)`) wherever it is; its logical type stays `utf8`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit as ArrowTimeUnit};
use millstream_sdk::{LogicalType, Nested, TimeUnit};

/// A column's name and type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// The name, unique where it stands.
    pub name: String,
    /// What its values mean.
    pub logical: LogicalType,
    /// Whether a value may be null.
    pub nullable: bool,
}

impl Column {
    /// The Arrow field, with text as plain `Utf8`.
    pub fn arrow_field(&self) -> Field {
        Field::new(&self.name, arrow_type(&self.logical), self.nullable)
    }

    /// The type with a `?` when it is nullable.
    pub fn type_text(&self) -> String {
        format!("{}{}", self.logical, if self.nullable { "?" } else { "" })
    }
}

/// The Arrow type of a logical type: instants in UTC, decimals in 128 bits, uuids as 16 fixed bytes, text as `Utf8`.
pub fn arrow_type(logical: &LogicalType) -> DataType {
    match logical {
        LogicalType::Bool => DataType::Boolean,
        LogicalType::Int8 => DataType::Int8,
        LogicalType::Int16 => DataType::Int16,
        LogicalType::Int32 => DataType::Int32,
        LogicalType::Int64 => DataType::Int64,
        LogicalType::Float32 => DataType::Float32,
        LogicalType::Float64 => DataType::Float64,
        LogicalType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
        LogicalType::Utf8 => DataType::Utf8,
        LogicalType::Binary => DataType::Binary,
        LogicalType::Uuid => DataType::FixedSizeBinary(16),
        LogicalType::Date => DataType::Date32,
        LogicalType::Timestamp(unit) => DataType::Timestamp(arrow_unit(*unit), Some("UTC".into())),
        LogicalType::List(item) => DataType::List(Arc::new(nested_field("item", item))),
        LogicalType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|(name, nested)| nested_field(name, nested)).collect::<Fields>())
        }
    }
}

fn nested_field(name: &str, nested: &Nested) -> Field {
    Field::new(name, arrow_type(&nested.logical), nested.nullable)
}

/// The Arrow unit of a timestamp's unit.
pub fn arrow_unit(unit: TimeUnit) -> ArrowTimeUnit {
    match unit {
        TimeUnit::Second => ArrowTimeUnit::Second,
        TimeUnit::Millisecond => ArrowTimeUnit::Millisecond,
        TimeUnit::Microsecond => ArrowTimeUnit::Microsecond,
        TimeUnit::Nanosecond => ArrowTimeUnit::Nanosecond,
    }
}

/// The logical type of an Arrow type, as Parquet files and dimension tables bring them; `None` when there is none.
/// Unsigned integers widen to the next signed one; a dictionary is its values; timestamps without a zone count as UTC.
pub fn logical_type(arrow: &DataType) -> Option<LogicalType> {
    Some(match arrow {
        DataType::Boolean => LogicalType::Bool,
        DataType::Int8 => LogicalType::Int8,
        DataType::Int16 | DataType::UInt8 => LogicalType::Int16,
        DataType::Int32 | DataType::UInt16 => LogicalType::Int32,
        DataType::Int64 | DataType::UInt32 => LogicalType::Int64,
        DataType::Float32 => LogicalType::Float32,
        DataType::Float64 => LogicalType::Float64,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            LogicalType::Decimal { precision: *precision, scale: *scale as u8 }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => LogicalType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => LogicalType::Binary,
        DataType::FixedSizeBinary(16) => LogicalType::Uuid,
        DataType::Date32 => LogicalType::Date,
        DataType::Timestamp(unit, _) => LogicalType::Timestamp(match unit {
            ArrowTimeUnit::Second => TimeUnit::Second,
            ArrowTimeUnit::Millisecond => TimeUnit::Millisecond,
            ArrowTimeUnit::Microsecond => TimeUnit::Microsecond,
            ArrowTimeUnit::Nanosecond => TimeUnit::Nanosecond,
        }),
        DataType::Dictionary(_, values) => logical_type(values)?,
        DataType::List(item) | DataType::LargeList(item) => LogicalType::List(Box::new(nested_of(item)?)),
        DataType::Struct(fields) => LogicalType::Struct(
            fields.iter().map(|field| Some((field.name().clone(), nested_of(field)?))).collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

fn nested_of(field: &Field) -> Option<Nested> {
    Some(Nested { logical: logical_type(field.data_type())?, nullable: field.is_nullable() })
}
