//! What the decoder promises, one hazard a test.

use arrow::array::{AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::util::display::array_value_to_string;
use millstream_sdk::Nested;

use super::*;
use crate::config::{ColumnFrom, Located};
use crate::record::Partition;

/// A block of records with these values.
pub(super) fn block(values: &[&str]) -> Records {
    block_of(values.iter().map(|value| Some(value.as_bytes())))
}

pub(super) fn block_of<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Records {
    let values: BinaryArray = values.collect();
    Records {
        partition: Partition { source: "clicks".into(), key: "0".into() },
        partition_number: 3,
        offsets: (100..).take(arrow::array::Array::len(&values)).collect(),
        next_offset: 1000,
        payload: Payload::Bytes(values),
        csv_header: None,
        timestamps_ms: Vec::new(),
        keys: None,
        headers: Vec::new(),
    }
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

/// Columns of (name, type, from); an empty `from` is the name.
pub(super) fn columns_of(columns: &[(&str, &str, &str)]) -> Vec<SourceColumn> {
    let column = |&(name, logical, from): &(&str, &str, &str)| {
        let Nested { logical, nullable } = logical.parse().expect(logical);
        let path = |from: &str| ColumnFrom::Field(from.split('.').map(str::to_owned).collect());
        let from = match from {
            "" => path(name),
            "@key" => ColumnFrom::Key,
            "@timestamp" => ColumnFrom::Timestamp,
            "@partition" => ColumnFrom::Partition,
            "@offset" => ColumnFrom::Offset,
            other => match other.strip_prefix("@headers.") {
                Some(header) => ColumnFrom::Header(header.to_owned()),
                None => path(other),
            },
        };
        SourceColumn { name: located(name.to_owned()), logical, nullable, from }
    };
    columns.iter().map(column).collect()
}

pub(super) fn json_decoder(columns: &[(&str, &str, &str)], unknown: &Unknown) -> Decoder {
    Decoder::new(&columns_of(columns), Format::Json, unknown, &vec![true; columns.len()]).expect("a decoder")
}

pub(super) fn decode(columns: &[(&str, &str, &str)], values: &[&str]) -> Decoded {
    json_decoder(columns, &Unknown::Ignore).decode(&block(values)).expect("decoded")
}

pub(super) fn cell(batch: &RecordBatch, column: &str, row: usize) -> String {
    let array = batch.column_by_name(column).expect(column);
    match array.data_type() {
        _ if array.is_null(row) => "null".to_owned(),
        DataType::Timestamp(unit, Some(_)) => {
            let local = arrow::compute::cast(array, &DataType::Timestamp(*unit, None)).expect("a timestamp");
            format!("{}Z", array_value_to_string(&local, row).expect("shown"))
        }
        _ => array_value_to_string(array, row).expect("shown"),
    }
}

fn reasons(decoded: &Decoded) -> Vec<(u32, &str)> {
    decoded.rejects.iter().map(|refusal| (refusal.row, refusal.reason.as_str())).collect()
}

#[test]
fn a_record_that_fails_late_leaves_nothing_behind() {
    let columns = [("a", "utf8", ""), ("b", "list<struct<c: int32, d: utf8?>>", ""), ("e", "int8", "")];
    let bad = r#"{"a":"gone","b":[{"c":1,"d":"x"},{"c":2}],"e":1000}"#;
    let half = r#"{"a":"gone","b":[{"c":1,"d":"x"},{"c":"#;
    let good = r#"{"a":"here","b":[{"c":3}],"e":1}"#;
    let decoded = decode(&columns, &[bad, good, half, good, bad]);
    assert_eq!(decoded.record_of_row, Some(vec![1, 3]));
    assert_eq!(reasons(&decoded), [(0, "out_of_range"), (2, "bad_json"), (4, "out_of_range")]);
    for row in 0..2 {
        assert_eq!(cell(&decoded.columns, "a", row), "here");
        assert_eq!(cell(&decoded.columns, "b", row), "[{c: 3, d: }]");
    }
}

#[test]
fn the_detail_names_column_type_and_value() {
    let columns =
        [("items", "list<struct<sku: int32?>>", ""), ("at", "timestamp(ms)?", ""), ("os", "utf8?", "device.os")];
    let decoded = decode(
        &columns,
        &[
            r#"{"items":[{"sku":1},{"sku":"x"}]}"#,
            r#"{"items":[],"at":"2024-02-29T12:00:00"}"#,
            r#"{"items":[],"device":"phone"}"#,
            r#"{"items":[],"#,
            r#"{}"#,
        ],
    );
    let details: Vec<_> = decoded.rejects.iter().map(|refusal| refusal.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            r#"column items[1].sku: int32 expected, found "x""#,
            r#"column at: timestamp(ms) with `Z` or an offset like `+01:00` expected, found "2024-02-29T12:00:00""#,
            r#"column device: an object expected, found "phone""#,
            "byte 12: a key expected, found the end of the record",
            "column items: list<struct<sku: int32?>> expected, but the field is missing",
        ]
    );
}

#[test]
fn tombstones_and_empty_values_have_their_own_reasons() {
    let values: [Option<&[u8]>; 3] = [None, Some(b""), Some(b"{\"a\":1}")];
    let mut decoder = json_decoder(&[("a", "int64", "")], &Unknown::Ignore);
    let decoded = decoder.decode(&block_of(values.into_iter())).expect("decoded");
    assert_eq!(reasons(&decoded), [(0, "tombstone"), (1, "empty_value")]);
    assert_eq!(decoded.record_of_row, Some(vec![2]));
}

#[test]
fn no_reject_means_identity() {
    let decoded = decode(&[("a", "int64", "")], &[r#"{"a":1}"#, r#"{"a":2}"#]);
    assert_eq!(decoded.record_of_row, None);
    assert_eq!(decoded.columns.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    let nothing = decode(&[("a", "int64", "")], &[]);
    assert_eq!((nothing.columns.num_rows(), nothing.record_of_row), (0, None));
}

#[test]
fn a_character_cut_by_the_end_of_a_record_is_found() {
    // Together the two records are UTF-8, each alone is not.
    let mut decoder = json_decoder(&[("a", "utf8?", "")], &Unknown::Ignore);
    let values: [Option<&[u8]>; 3] = [Some(b"{\"a\":\"\xc3"), Some(b"\xa4\"}"), Some("{\"a\":\"ä\"}".as_bytes())];
    let decoded = decoder.decode(&block_of(values.into_iter())).expect("decoded");
    assert_eq!(reasons(&decoded), [(0, "bad_utf8"), (1, "bad_utf8")]);
    assert_eq!(cell(&decoded.columns, "a", 0), "ä");
}

#[test]
fn one_record_that_is_not_utf8_does_not_harm_the_others() {
    let mut decoder = json_decoder(&[("a", "utf8?", "")], &Unknown::Ignore);
    let values: [Option<&[u8]>; 2] = [Some(b"{\"a\":\"x\",\"unread\":\"\xff\"}"), Some(b"{\"a\":\"y\"}")];
    let decoded = decoder.decode(&block_of(values.into_iter())).expect("decoded");
    assert_eq!(reasons(&decoded), [(0, "bad_utf8")]);
    assert_eq!(cell(&decoded.columns, "a", 0), "y");
}

#[test]
fn a_remembered_first_key_does_not_excuse_a_missing_comma() {
    let columns = [("a", "int64?", ""), ("b", "int64?", "")];
    let decoded =
        decode(&columns, &[r#"{"b":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":1"b":2}"#, r#"{,"b":2}"#, r#"{"a":1,,"b":2}"#]);
    assert_eq!(reasons(&decoded), [(2, "bad_json"), (3, "bad_json"), (4, "bad_json")]);
}

#[test]
fn faults_in_fields_that_nobody_reads_are_found() {
    let good = r#"{"a":1,"x":{"y":[1,"two",3.0e5,null,true]}}"#;
    let bad = [
        r#"{"a":1,"x":tru}"#,
        r#"{"a":1,"x":01}"#,
        r#"{"a":1,"x":"\q"}"#,
        r#"{"a":1,"x":"\ud800"}"#,
        r#"{"a":1,"x":[1,]}"#,
        r#"{"a":1,"x":{"y":1,}}"#,
        r#"{"a":1,"x":{"y"}}"#,
        "{\"a\":1,\"x\":\"\t\"}",
        r#"{"a":1,"x":"y"#,
        r#"{"a":1,"x":1.}"#,
        r#"{"a":1} x"#,
        r#"{"a":1}{"a":2}"#,
        "\u{feff}{\"a\":1}",
    ];
    for bad in bad {
        let decoded = decode(&[("a", "int64", "")], &[good, bad, good]);
        assert_eq!(reasons(&decoded), [(1, "bad_json")], "{bad}");
    }
}

#[test]
fn a_declared_field_may_not_stand_twice_even_when_nobody_needs_it() {
    let columns = columns_of(&[
        ("a", "int64", ""),
        ("b", "int64", ""),
        ("os", "utf8?", "device.os"),
        ("s", "struct<x: int64?>?", ""),
    ]);
    let mut decoder =
        Decoder::new(&columns, Format::Json, &Unknown::Ignore, &[true, false, true, true]).expect("a decoder");
    let decoded = decoder
        .decode(&block(&[
            r#"{"a":1,"b":1,"b":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"a":1,"device":{"os":"x","os":"y"}}"#,
            r#"{"a":1,"device":{},"device":{}}"#,
            r#"{"a":1,"s":{"x":1,"x":1}}"#,
            r#"{"a":1,"unknown":1,"unknown":2}"#,
        ]))
        .expect("decoded");
    let expected: Vec<_> = (0..6).map(|record| (record, "duplicate_key")).collect();
    assert_eq!(reasons(&decoded), expected);
}

#[test]
fn dotted_paths_go_into_objects() {
    let columns = [("os", "utf8?", "device.os"), ("v", "int64?", "device.version.major"), ("a", "int64", "")];
    let decoded = decode(
        &columns,
        &[
            r#"{"device":{"os":"x","version":{"major":1,"minor":2}},"a":1}"#,
            r#"{"a":2,"device":{"version":null,"os":null}}"#,
            r#"{"device":null,"a":3}"#,
            r#"{"a":4}"#,
        ],
    );
    assert_eq!(reasons(&decoded), []);
    let os: Vec<_> = (0..4).map(|row| cell(&decoded.columns, "os", row)).collect();
    assert_eq!(os, ["x", "null", "null", "null"]);
    assert_eq!(cell(&decoded.columns, "v", 0), "1");
    assert_eq!(decoded.unknown_fields, 1);
}

#[test]
fn two_columns_may_take_one_field() {
    let columns = [("text", "utf8", "at"), ("at", "timestamp(s)", "at"), ("kept", "utf8", "at")];
    let decoded = decode(&columns, &[r#"{"at":"1970-01-01T00:00:01Z"}"#, r#"{"at":5}"#]);
    assert_eq!(reasons(&decoded), [(1, "wrong_type")]);
    assert_eq!(cell(&decoded.columns, "text", 0), cell(&decoded.columns, "kept", 0));
    assert_eq!(cell(&decoded.columns, "at", 0), "1970-01-01T00:00:01Z");
}

#[test]
fn a_field_is_taken_whole_or_in_parts_but_not_both() {
    for columns in [
        [("device", "struct<os: utf8>", ""), ("os", "utf8", "device.os")],
        [("a", "struct<os: utf8>", "device"), ("b", "struct<os: utf8>", "device")],
    ] {
        let columns = columns_of(&columns);
        let error = Decoder::new(&columns, Format::Json, &Unknown::Ignore, &[true, true]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[test]
fn unneeded_columns_are_known_but_not_read() {
    let columns = columns_of(&[("a", "int64", ""), ("b", "int64", ""), ("c", "int64", "x.c")]);
    let mut decoder = Decoder::new(&columns, Format::Json, &Unknown::Reject, &[true, false, false]).expect("a decoder");
    let decoded = decoder
        .decode(&block(&[
            r#"{"a":1,"b":"not read"}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"x":{"c":"not read"}}"#,
            r#"{"a":1,"x":{"d":1}}"#,
            r#"{"a":1,"d":1}"#,
        ]))
        .expect("decoded");
    assert_eq!(decoded.columns.num_columns(), 1);
    assert_eq!(reasons(&decoded), [(3, "unknown_field"), (4, "unknown_field")]);
}

#[test]
fn unknown_fields_are_kept_as_one_object() {
    let columns = [
        ("a", "int64?", ""),
        ("os", "utf8?", "device.os"),
        ("s", "struct<x: int64?>?", ""),
        ("l", "list<struct<x: int64?>>?", ""),
    ];
    let mut decoder = json_decoder(&columns, &Unknown::Keep("rest".to_owned()));
    assert_eq!(decoder.schema().fields().last().expect("a field").name(), "rest");
    let decoded = decoder
        .decode(&block(&[
            r#"{"a":1}"#,
            r#"{"b" : [1, "x"],"a":1,"device":{"os":"x","model":"\u0041"},"s":{"y":{}},"c\"":null}"#,
            r#"{"device":{"os":"x"},"s":null,"l":[{"y":1}]}"#,
            r#"{"b":1,"\u0062":2}"#,
        ]))
        .expect("decoded");
    assert_eq!(reasons(&decoded), [(3, "duplicate_key")]);
    let rest: Vec<_> = (0..3).map(|row| cell(&decoded.columns, "rest", row)).collect();
    assert_eq!(rest, ["null", r#"{"b":[1, "x"],"device":{"model":"\u0041"},"s":{"y":{}},"c\"":null}"#, "null"]);
    assert_eq!(decoded.unknown_fields, 5);
}

#[test]
fn kept_fields_that_nobody_reads_cost_no_column() {
    let columns = columns_of(&[("a", "int64", "")]);
    let keep = Unknown::Keep("rest".to_owned());
    let mut decoder = Decoder::new(&columns, Format::Json, &keep, &[true, false]).expect("a decoder");
    let decoded = decoder.decode(&block(&[r#"{"a":1,"b":2}"#])).expect("decoded");
    assert_eq!((decoded.columns.num_columns(), decoded.unknown_fields), (1, 1));
}

#[test]
fn metadata_are_columns() {
    let columns = [
        ("key", "utf8", "@key"),
        ("trace", "binary?", "@headers.trace"),
        ("at", "timestamp(us)", "@timestamp"),
        ("partition", "int32", "@partition"),
        ("a", "int64", ""),
        ("offset", "int64", "@offset"),
    ];
    let mut records = block(&[r#"{"a":1}"#, "broken", r#"{"a":3}"#, r#"{"a":4}"#, r#"{"a":5}"#]);
    records.keys = Some(BinaryArray::from_iter([Some(&b"k1"[..]), Some(b"k2"), Some(b"\xff"), None, Some(b"k5")]));
    records.timestamps_ms = vec![1, 2, 3, 4, 5];
    records.headers = vec![
        vec![("trace".into(), Some(b"old".to_vec())), ("trace".into(), Some(b"new".to_vec()))],
        vec![],
        vec![],
        vec![],
        vec![("trace".into(), None)],
    ];
    let decoded = json_decoder(&columns, &Unknown::Ignore).decode(&records).expect("decoded");
    assert_eq!(reasons(&decoded), [(1, "bad_json"), (2, "bad_utf8"), (3, "missing_field")]);
    assert_eq!(decoded.record_of_row, Some(vec![0, 4]));
    let shown =
        |row| ["key", "trace", "at", "partition", "a", "offset"].map(|column| cell(&decoded.columns, column, row));
    assert_eq!(shown(0), ["k1", "6e6577", "1970-01-01T00:00:00.001Z", "3", "1", "100"]);
    assert_eq!(shown(1), ["k5", "null", "1970-01-01T00:00:00.005Z", "3", "5", "104"]);
}

#[test]
fn metadata_of_a_wrong_type_are_refused_at_start() {
    for (logical, from) in [
        ("int64", "@key"),
        ("utf8", "@timestamp"),
        ("int64", "@partition"),
        ("int32", "@offset"),
        ("date", "@headers.x"),
    ] {
        let columns = columns_of(&[("a", logical, from)]);
        let error = Decoder::new(&columns, Format::Json, &Unknown::Ignore, &[true]).expect_err(from);
        assert!(error.message().contains(from), "{error}");
    }
}

#[test]
fn a_record_of_20_mb_is_a_record() {
    let long = "x\\n".repeat(7_000_000);
    let record = format!(r#"{{"a":"{long}","skipped":"{long}","b":1}}"#);
    let decoded = decode(&[("a", "utf8", ""), ("b", "int32", "")], &[&record, r#"{"a":"short","b":2}"#]);
    assert_eq!(decoded.columns.column(0).as_string::<i32>().value(0).len(), 14_000_000);
    assert_eq!(decoded.columns.column(1).as_primitive::<Int32Type>().values(), &[1, 2]);
    let broken = decode(&[("a", "int64", "")], &[&record]);
    assert!(broken.rejects[0].detail.len() < 300, "{}", broken.rejects[0].detail.len());
}

#[test]
fn keys_that_are_data_do_not_fill_the_memory_of_shapes() {
    let records: Vec<String> = (0..5000).map(|n| format!(r#"{{"k{n}":1,"a":{n},"m{n}":2}}"#)).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let decoded = decode(&[("a", "int64", "")], &records);
    assert_eq!((decoded.columns.num_rows(), decoded.unknown_fields), (5000, 10_000));
}

mod csv {
    use super::*;

    fn csv(columns: &[(&str, &str, &str)], header: &[&str], values: &[&str], unknown: &Unknown) -> Decoded {
        let mut records = block(values);
        records.csv_header = Some(header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into());
        let mut decoder =
            Decoder::new(&columns_of(columns), Format::Csv, unknown, &vec![true; columns.len()]).expect("a decoder");
        decoder.decode(&records).expect("decoded")
    }

    #[test]
    fn fields_are_found_by_the_header() {
        let columns = [("n", "int64?", ""), ("s", "utf8?", "text"), ("none", "utf8?", ""), ("l", "list<int32>?", "")];
        let decoded = csv(
            &columns,
            &["text", "other", "n", "l"],
            &["a,x,1,[1]", "\"say \"\"hi\"\"\",x,,", "\"\",\"a,b\",+007,\"[1,2]\""],
            &Unknown::Ignore,
        );
        assert_eq!(reasons(&decoded), []);
        let shown: Vec<_> =
            (0..3).map(|row| ["n", "s", "none", "l"].map(|column| cell(&decoded.columns, column, row))).collect();
        assert_eq!(
            shown,
            [["1", "a", "null", "[1]"], ["null", "say \"hi\"", "null", "null"], ["7", "", "null", "[1, 2]"]]
        );
        assert_eq!(decoded.unknown_fields, 3);
    }

    #[test]
    fn wrong_fields_are_refused() {
        let columns = [("n", "int64", ""), ("b", "bool?", "")];
        let decoded = csv(
            &columns,
            &["n", "b"],
            &["1,true", "1", "1,true,x", "x,true", ",true", "1,yes", "\"1,true", "1,"],
            &Unknown::Ignore,
        );
        let expected = [
            (1, "wrong_field_count"),
            (2, "wrong_field_count"),
            (3, "wrong_type"),
            (4, "null_value"),
            (5, "wrong_type"),
            (6, "bad_csv"),
        ];
        assert_eq!(reasons(&decoded), expected);
    }

    #[test]
    fn unknown_fields_are_kept_or_refused() {
        let keep = Unknown::Keep("rest".to_owned());
        let decoded = csv(&[("n", "int64", "")], &["n", "x\"", "y"], &["1,a\"b,", "2,,"], &keep);
        assert_eq!(cell(&decoded.columns, "rest", 0), r#"{"x\"":"a\"b"}"#);
        assert_eq!(cell(&decoded.columns, "rest", 1), "null");
        let refused = csv(&[("n", "int64", "")], &["n", "x"], &["1,a", "2,"], &Unknown::Reject);
        assert_eq!(reasons(&refused), [(0, "unknown_field")]);
    }

    #[test]
    fn a_header_that_names_a_column_twice_is_an_error() {
        let mut records = block(&["1,2"]);
        records.csv_header = Some(vec!["n".to_owned(), "n".to_owned()].into());
        let mut decoder = Decoder::new(&columns_of(&[("n", "int64", "")]), Format::Csv, &Unknown::Ignore, &[true])
            .expect("a decoder");
        assert_eq!(decoder.decode(&records).expect_err("refused").kind(), ErrorKind::Input);
    }
}
