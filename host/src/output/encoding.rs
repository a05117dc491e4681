//! How columns are encoded in Parquet: a dictionary only where it pays, and the cheapest encoding that every common
//! reader knows elsewhere. Chosen for each file by the first rows that it gets.
//!
//! Measured by `cargo bench --bench parquet`, which prints the table: the default properties cost about half as
//! much again, most of it for dictionaries that fill up and are given up, and for page-level statistics.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression as Codec, Encoding, LogicalType as ParquetLogicalType, Repetition, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::{ColumnPath, SchemaDescriptor, Type, TypePtr};
use rustc_hash::{FxBuildHasher, FxHashSet};

use crate::config::Compression;
use crate::error::{Error, ErrorKind, Result};

/// Pages hold at most this many rows: large enough that a page's own cost does not count.
const PAGE_ROWS: usize = 100_000;
/// How many rows are looked at to find out how often values repeat.
const SAMPLE_ROWS: usize = 4_096;
/// A dictionary pays when a value stands at least this often in the sample.
const REPEATS: usize = 4;

/// The properties of a file whose first rows are `sample`.
pub(super) fn properties(schema: &Schema, compression: Compression, sample: &RecordBatch) -> Result<WriterProperties> {
    let mut builder = WriterProperties::builder()
        .set_compression(codec(compression)?)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(SAMPLE_ROWS)
        .set_max_row_group_row_count(None)
        .set_created_by(concat!("millstream ", env!("CARGO_PKG_VERSION")).to_owned());
    for (field, column) in schema.fields().iter().zip(sample.columns()) {
        builder = encode(builder, vec![field.name().clone()], field.data_type(), column);
    }
    Ok(builder.build())
}

/// The Parquet schema: as arrow-rs has it, but uuids are marked as such.
pub(super) fn parquet_schema(schema: &Schema) -> Result<SchemaDescriptor> {
    let problem = |error| Error::new(ErrorKind::Internal, "the columns have no Parquet form").caused_by(error);
    let plain = ArrowSchemaConverter::new().convert(schema).map_err(problem)?;
    let fields = plain.root_schema().get_fields().iter().map(mark_uuids).collect::<parquet::errors::Result<_>>();
    let root = Type::group_type_builder(plain.root_schema().name()).with_fields(fields.map_err(problem)?).build();
    Ok(SchemaDescriptor::new(TypePtr::new(root.map_err(problem)?)))
}

/// The only fixed binaries of 16 bytes without a meaning of their own are uuids: decimals of that width say so.
fn mark_uuids(field: &TypePtr) -> parquet::errors::Result<TypePtr> {
    let info = field.get_basic_info();
    let repetition = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
    let marked = match field.as_ref() {
        Type::PrimitiveType { physical_type: parquet::basic::Type::FIXED_LEN_BYTE_ARRAY, type_length: 16, .. }
            if info.logical_type_ref().is_none() =>
        {
            Type::primitive_type_builder(field.name(), parquet::basic::Type::FIXED_LEN_BYTE_ARRAY)
                .with_repetition(repetition)
                .with_length(16)
                .with_logical_type(Some(ParquetLogicalType::Uuid))
                .build()?
        }
        Type::GroupType { fields, .. } => Type::group_type_builder(field.name())
            .with_repetition(repetition)
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields.iter().map(mark_uuids).collect::<parquet::errors::Result<_>>()?)
            .build()?,
        Type::PrimitiveType { .. } => return Ok(field.clone()),
    };
    Ok(TypePtr::new(marked))
}

fn codec(compression: Compression) -> Result<Codec> {
    Ok(match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level).map_err(|error| {
            Error::new(ErrorKind::Config, format!("zstd({level}) is not a compression"))
                .help("levels go from 1 to 22")
                .caused_by(error)
        })?),
    })
}

fn encode(
    builder: WriterPropertiesBuilder,
    mut path: Vec<String>,
    data_type: &DataType,
    column: &ArrayRef,
) -> WriterPropertiesBuilder {
    match data_type {
        DataType::List(item) => {
            path.extend(["list".to_owned(), item.name().clone()]);
            match column.as_list_opt::<i32>() {
                Some(list) => encode(builder, path, item.data_type(), list.values()),
                None => builder,
            }
        }
        DataType::Struct(fields) => {
            let Some(children) = column.as_struct_opt() else { return builder };
            fields.iter().zip(children.columns()).fold(
                builder,
                |builder, (field, child): (&std::sync::Arc<Field>, _)| {
                    let mut path = path.clone();
                    path.push(field.name().clone());
                    encode(builder, path, field.data_type(), child)
                },
            )
        }
        leaf => encode_leaf(builder, ColumnPath::new(path), leaf, column),
    }
}

fn encode_leaf(
    builder: WriterPropertiesBuilder,
    path: ColumnPath,
    data_type: &DataType,
    column: &ArrayRef,
) -> WriterPropertiesBuilder {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::Binary);
    let builder = match data_type {
        DataType::Utf8 | DataType::Binary => {
            builder.set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        }
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Date32
        | DataType::Timestamp(_, _) => builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED),
        DataType::Decimal128(precision, _) if *precision <= 18 => {
            builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
        }
        // BYTE_STREAM_SPLIT would make floats smaller, but Spark 3 cannot read it.
        _ => builder,
    };
    let repeats = matches!(column.data_type(), DataType::Dictionary(_, _)) || (is_text && repeats(column));
    builder.set_column_dictionary_enabled(path, repeats)
}

/// Whether each value stands several times in the first rows, on average.
fn repeats(column: &ArrayRef) -> bool {
    let mut seen = FxHashSet::default();
    let rows = column.len().min(SAMPLE_ROWS);
    let mut note = |value: Option<&[u8]>| {
        if let Some(value) = value {
            seen.insert(FxBuildHasher.hash_one(value));
        }
    };
    if let Some(texts) = column.as_string_opt::<i32>() {
        texts.iter().take(rows).for_each(|text| note(text.map(str::as_bytes)));
    } else if let Some(binaries) = column.as_binary_opt::<i32>() {
        binaries.iter().take(rows).for_each(note);
    } else {
        return false;
    }
    // A few rows tell little: then the dictionary, which gives up by itself when it fills.
    rows < 64 || seen.len() * REPEATS <= rows
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::schema::Column;

    #[test]
    fn a_dictionary_is_used_where_values_repeat() {
        let rows = 1_000;
        let unique: StringArray = (0..rows).map(|row| Some(format!("event-{row}"))).collect();
        let few: StringArray = (0..rows).map(|row| Some(format!("kind-{}", row % 5))).collect();
        let codes: DictionaryArray<Int32Type> = (0..rows).map(|row| Some(["a", "b"][row % 2])).collect();
        let batch = RecordBatch::try_from_iter([
            ("unique", Arc::new(unique) as ArrayRef),
            ("few", Arc::new(few)),
            ("codes", Arc::new(codes)),
            ("number", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ])
        .unwrap();
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let schema =
            Schema::new(vec![text("unique"), text("few"), text("codes"), Field::new("number", DataType::Int64, false)]);
        let properties = properties(&schema, Compression::Zstd(1), &batch).unwrap();
        let dictionary = |name: &str| properties.dictionary_enabled(&ColumnPath::from(name));
        assert!(!dictionary("unique") && dictionary("few") && dictionary("codes") && !dictionary("number"));
        let encoding = |name: &str| properties.encoding(&ColumnPath::from(name));
        assert_eq!(encoding("unique"), Some(Encoding::DELTA_LENGTH_BYTE_ARRAY));
        assert_eq!(encoding("number"), Some(Encoding::DELTA_BINARY_PACKED));
    }

    #[test]
    fn uuids_are_marked_at_any_depth_and_decimals_are_not() {
        let fields: Vec<Field> = [("id", "uuid"), ("ids", "list<uuid?>"), ("of", "struct<id: uuid, d: decimal(38,2)>")]
            .iter()
            .map(|(name, logical)| {
                Column { name: (*name).to_owned(), logical: logical.parse().unwrap(), nullable: false }.arrow_field()
            })
            .collect();
        let schema = parquet_schema(&Schema::new(fields)).unwrap();
        let marked: Vec<bool> = schema
            .columns()
            .iter()
            .map(|column| column.logical_type_ref() == Some(&ParquetLogicalType::Uuid))
            .collect();
        assert_eq!(marked, [true, true, true, false]);
    }

    #[test]
    fn a_wrong_level_is_refused() {
        assert!(codec(Compression::Zstd(23)).is_err());
    }
}
