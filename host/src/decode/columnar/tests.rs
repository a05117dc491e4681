use arrow::array::{
    BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray,
    StringArray, StructArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Fields, Int32Type};

use super::*;
use crate::config::Format;
use crate::decode::tests::{block, cell, columns_of};
use crate::decode::{Decoded, Decoder};
use crate::record::Payload;

fn decode(columns: &[(&str, &str, &str)], unknown: &Unknown, batch: RecordBatch) -> Decoded {
    let mut records = block(&vec![""; batch.num_rows()]);
    records.payload = Payload::Columns(batch);
    let mut decoder =
        Decoder::new(&columns_of(columns), Format::Parquet, unknown, &vec![true; columns.len()]).expect("a decoder");
    decoder.decode(&records).expect("decoded")
}

fn one(array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("a", Arc::new(array) as ArrayRef, true)]).expect("a batch")
}

/// What becomes of each row of column `a` as this type: its value or its reason.
fn outcomes(logical: &str, array: impl Array + 'static) -> Vec<String> {
    let batch = one(array);
    let rows = batch.num_rows();
    let decoded = decode(&[("a", logical, "")], &Unknown::Ignore, batch);
    let mut outcomes = vec![String::new(); rows];
    for refusal in &decoded.rejects {
        outcomes[refusal.row as usize] = refusal.reason.clone();
    }
    for row in 0..decoded.columns.num_rows() {
        let record = decoded.record_of_row.as_ref().map_or(row, |records| records[row] as usize);
        outcomes[record] = cell(&decoded.columns, "a", row);
    }
    outcomes
}

#[test]
fn numbers_keep_every_digit_or_are_refused() {
    assert_eq!(outcomes("int8?", Int64Array::from(vec![Some(1), Some(128), None])), ["1", "out_of_range", "null"]);
    assert_eq!(outcomes("int64", UInt64Array::from(vec![7, u64::MAX])), ["7", "out_of_range"]);
    let floats = Float64Array::from(vec![Some(3.0), Some(1.5), Some(f64::NAN), Some(1e30), None]);
    assert_eq!(outcomes("int64", floats.clone()), ["3", "inexact", "out_of_range", "out_of_range", "null_value"]);
    assert_eq!(outcomes("float32?", Float64Array::from(vec![0.5, 1e300])), ["0.5", "out_of_range"]);
    let decimals = Decimal128Array::from(vec![1234, 1230, 99_999]).with_precision_and_scale(10, 3).expect("a decimal");
    assert_eq!(outcomes("decimal(4,2)", decimals.clone()), ["inexact", "1.23", "out_of_range"]);
    assert_eq!(outcomes("int64", decimals), ["inexact", "inexact", "inexact"]);
    assert_eq!(outcomes("decimal(4,1)", Int32Array::from(vec![5, 5000])), ["5.0", "out_of_range"]);
}

#[test]
fn texts_follow_the_rules_of_json() {
    assert_eq!(outcomes("date", StringArray::from(vec!["2024-02-29", "2023-02-29"])), ["2024-02-29", "bad_date"]);
    assert_eq!(outcomes("utf8", LargeStringArray::from(vec!["x"])), ["x"]);
    let codes: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
    assert_eq!(outcomes("utf8", codes), ["x", "y", "x"]);
    assert_eq!(outcomes("int64?", StringArray::from(vec![Some("1"), None])), ["wrong_type", "null"]);
    assert_eq!(outcomes("bool", BooleanArray::from(vec![true])), ["true"]);
    assert_eq!(outcomes("utf8", arrow::array::BinaryArray::from(vec![&b"x"[..], b"\xff"])), ["x", "bad_utf8"]);
}

#[test]
fn timestamps_change_their_unit_towards_the_past() {
    let nanoseconds = TimestampNanosecondArray::from(vec![-1, 1_999_999]);
    assert_eq!(outcomes("timestamp(ms)", nanoseconds), ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.001Z"]);
    assert_eq!(outcomes("timestamp(s)", Int64Array::from(vec![1])), ["1970-01-01T00:00:01Z"]);
    let seconds = arrow::array::TimestampSecondArray::from(vec![1, i64::MAX]);
    assert_eq!(outcomes("timestamp(ns)", seconds), ["1970-01-01T00:00:01Z", "out_of_range"]);
}

#[test]
fn faults_inside_lists_and_structs_refuse_the_row() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1)]),
        Some(vec![Some(2), None]),
        None,
        Some(vec![Some(300)]),
    ]);
    assert_eq!(outcomes("list<int8>?", list.clone()), ["[1]", "null_value", "null", "out_of_range"]);
    assert_eq!(outcomes("list<int32?>?", list), ["[1]", "[2, ]", "null", "[300]"]);
    let fields: Fields = vec![Field::new("x", DataType::Int64, true), Field::new("more", DataType::Int64, true)].into();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![Some(1), None])), Arc::new(Int64Array::from(vec![1, 1]))];
    let value = StructArray::new(fields, columns, None);
    assert_eq!(outcomes("struct<x: int32, y: utf8?>", value.clone()), ["{x: 1, y: }", "null_value"]);
    let decoded = decode(&[("x", "int64?", "a.x"), ("z", "utf8?", "a.z")], &Unknown::Ignore, one(value));
    assert_eq!(cell(&decoded.columns, "x", 0), "1");
    assert_eq!(cell(&decoded.columns, "z", 0), "null");
}

#[test]
fn unknown_columns_are_counted_kept_or_refused() {
    let batch = || {
        let (a, b) = (Int64Array::from(vec![1, 2]), StringArray::from(vec![Some("x"), None]));
        let at = TimestampNanosecondArray::from(vec![Some(0), None]).with_timezone("Europe/Berlin");
        let columns = [("a", Arc::new(a) as ArrayRef, true), ("b", Arc::new(b), true), ("at", Arc::new(at), true)];
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    };
    assert_eq!(decode(&[("a", "int64", "")], &Unknown::Ignore, batch()).unknown_fields, 4);
    assert_eq!(decode(&[("a", "int64", "")], &Unknown::Reject, batch()).rejects.len(), 2);
    let kept = decode(&[("a", "int64", "")], &Unknown::Keep("rest".to_owned()), batch());
    assert_eq!(
        [cell(&kept.columns, "rest", 0), cell(&kept.columns, "rest", 1)],
        [r#"{"b":"x","at":"1970-01-01T00:00:00Z"}"#, "null"]
    );
}

#[test]
fn a_missing_column_is_null_or_refuses_every_row() {
    let decoded = decode(&[("z", "int64?", "")], &Unknown::Ignore, one(Int64Array::from(vec![1, 2])));
    assert_eq!((decoded.columns.num_rows(), decoded.rejects.len()), (2, 0));
    let decoded = decode(&[("z", "int64", "")], &Unknown::Ignore, one(Int64Array::from(vec![1, 2])));
    assert_eq!((decoded.columns.num_rows(), decoded.rejects[1].reason.as_str()), (0, "missing_field"));
}
