use std::sync::Arc;

use arrow::array::BinaryArray;

use super::*;
use crate::decode::Decoder;
use crate::decode::tests::{block, columns_of};

fn proposed(columns: &[Inferred]) -> Vec<(String, String, Vec<String>)> {
    let text = |column: &Inferred| format!("{}{}", column.logical, if column.nullable { "?" } else { "" });
    columns.iter().map(|column| (column.name.clone(), text(column), column.notes.clone())).collect()
}

const RECORDS: &[&str] = &[
    r#"{"id":"6f1c0c1e-8c3b-4f7e-9d52-0a1b2c3d4e5f","ts":1700000000000,"user":{"id":7,"name":"Ann"},"amount":19.99,"tags":["a"],"at":"2024-02-29T12:00:00.123456Z","items":[{"sku":"x","n":1}],"day":"2024-02-29","local":"2024-02-29T12:00:00","price":"12.50","zip":"01234"}"#,
    r#"{"id":"6f1c0c1e-8c3b-4f7e-9d52-0a1b2c3d4e60","ts":1700000000001,"user":{"id":8,"name":null},"amount":5,"tags":[],"at":"2024-02-29T12:00:00+01:00","items":[{"sku":"y"},{"sku":"z","n":2}],"day":"2024-03-01","local":"2024-02-29T12:00:01","price":"3.5","zip":"99999","rare":true}"#,
];

#[test]
fn json_records_become_typed_columns() {
    let columns = infer(&[block(RECORDS)], Format::Json);
    let expected = [
        ("id", "uuid", "uuid"),
        ("ts", "timestamp(ms)", "looks like a timestamp in ms: 1700000000001"),
        ("user_id", "int64", ""),
        ("user_name", "utf8?", ""),
        ("amount", "float64", "decimal with at most 2 digits behind the point: decimal(12,2) would be exact"),
        ("tags", "list<utf8>", ""),
        ("at", "timestamp(us)", "all strings are RFC 3339"),
        ("items", "list<struct<sku: utf8, n: int64?>>", ""),
        ("day", "date", "all strings are dates"),
        ("local", "utf8", "timestamps without a time zone, such as 2024-02-29T12:00:00: a stage has to say which"),
        ("price", "decimal(12,2)", "decimal numbers as strings"),
        ("zip", "utf8", "digits, some with leading zeros"),
        ("rare", "bool?", ""),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, logical, note)| {
            let notes = if note.is_empty() { Vec::new() } else { vec![(*note).to_owned()] };
            ((*name).to_owned(), (*logical).to_owned(), notes)
        })
        .collect();
    assert_eq!(proposed(&columns), expected);
    assert_eq!(columns[12].share, 0.5);
    assert_eq!(columns[2].path, ["user", "id"]);
}

#[test]
fn every_record_that_was_looked_at_decodes_with_the_proposal() {
    let columns = infer(&[block(RECORDS)], Format::Json);
    let declared: Vec<_> = columns
        .iter()
        .map(|column| {
            (
                column.name.clone(),
                format!("{}{}", column.logical, if column.nullable { "?" } else { "" }),
                column.path.join("."),
            )
        })
        .collect();
    let declared: Vec<_> =
        declared.iter().map(|(name, logical, from)| (name.as_str(), logical.as_str(), from.as_str())).collect();
    let columns = columns_of(&declared);
    let needed = vec![true; columns.len()];
    let mut decoder =
        Decoder::new(&columns, Format::Json, &crate::config::Unknown::Reject, &needed).expect("a decoder");
    let decoded = decoder.decode(&block(RECORDS)).expect("decoded");
    assert_eq!(decoded.rejects, []);
    assert_eq!(decoded.columns.num_rows(), RECORDS.len());
}

#[test]
fn the_toml_is_toml() {
    let mut columns = infer(&[block(RECORDS)], Format::Json);
    columns[0].notes.push("a\nline break".to_owned());
    let text = to_toml(&columns);
    let parsed: toml::Table = text.parse().expect(&text);
    let parsed = parsed["columns"].as_table().expect("a table");
    assert_eq!(parsed["ts"].as_str(), Some("timestamp(ms)"));
    assert_eq!(parsed["user_id"]["from"].as_str(), Some("user.id"));
    assert!(text.contains("  rare = \"bool?\","), "{text}");
    assert!(text.contains("# in 50.0% of the records"), "{text}");
}

#[test]
fn mixed_kinds_are_said() {
    let columns = infer(&[block(&[r#"{"a":1,"b":null}"#, r#"{"a":"x"}"#, r#"{"a":2}"#, "no json"])], Format::Json);
    assert_eq!(columns[0].logical, LogicalType::Int64);
    assert_eq!(columns[0].notes, ["mixed: 2 numbers, 1 texts; all but the first kind would be rejected"]);
    assert_eq!(columns[1].notes, ["only nulls were seen"]);
}

#[test]
fn an_object_used_as_a_map_is_no_record() {
    let fields: Vec<_> = (0..600).map(|n| format!("\"k{n}\":1")).collect();
    let record = format!(r#"{{"a":1,"counts":{{{}}}}}"#, fields.join(","));
    let columns = infer(&[block(&[&record])], Format::Json);
    assert_eq!(columns.len(), 1);
}

#[test]
fn csv_fields_are_typed_by_their_text() {
    let mut records = block(&["1,1.5,2013-01-01,NA,007", "2,,2013-01-02,5,010", "3,2.5,2013-01-03,6,100"]);
    let header: Vec<String> = ["n", "x", "day", "delay", "code"].map(str::to_owned).to_vec();
    records.csv_header = Some(Arc::from(header));
    let columns = infer(&[records], Format::Csv);
    let types: Vec<_> = proposed(&columns).into_iter().map(|(_, logical, _)| logical).collect();
    assert_eq!(types, ["int64", "float64?", "date", "utf8", "utf8"]);
    assert!(columns[3].notes.iter().any(|note| note.starts_with("1 of the texts")), "{:?}", columns[3].notes);
}

#[test]
fn names_stay_unique() {
    let columns = infer(&[block(&[r#"{"a_b":1,"a":{"b":2},"a-b":3,"x.y":4,"@z":5}"#])], Format::Json);
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["a_b", "a_b_2", "a_b_3"]);
}

#[test]
fn nothing_seen_proposes_nothing() {
    let mut empty = block(&[]);
    empty.payload = Payload::Bytes(BinaryArray::from_iter_values(Vec::<&[u8]>::new()));
    assert_eq!(infer(&[empty], Format::Json), []);
    assert_eq!(to_toml(&[]), "columns = {\n}\n");
}
