//! Writes the tables of `docs/decoding.md` by decoding what they show, and fails when the page differs.

use std::fmt::Write as _;

use super::flaw::Reason;
use super::tests::{block, block_of, cell, columns_of};
use super::*;

/// Beside the package, where cargo runs the tests.
const PAGE: &str = "../docs/decoding.md";

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "1.0",
    "1e3",
    "1e-1",
    "0.1",
    "1.5",
    "19.99",
    "19.990",
    "0.001",
    "128",
    "3000000000",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "10000000000.00",
    "1e39",
    "1e400",
    "\"12\"",
    "\"12.5\"",
    "\"1e400\"",
    "\"\"",
    "true",
    "null",
    "01",
    "+1",
    ".5",
    "1.",
    "0x1F",
    "NaN",
    "Infinity",
];
const NUMBER_TYPES: &[&str] =
    &["bool", "int8", "int32", "int64", "float32", "float64", "decimal(12,2)", "timestamp(ms)"];

const TEXTS: &[&str] = &[
    r#""""#,
    r#""abc""#,
    r#""caf\u00e9 \ud83d\ude00""#,
    r#""\ud83d""#,
    r#""a\qb""#,
    r#""YWJj""#,
    r#""YWI=""#,
    r#""YWI""#,
    r#""6f1c0c1e-8c3b-4f7e-9d52-0a1b2c3d4e5f""#,
    r#""6F1C0C1E8C3B4F7E9D520A1B2C3D4E5F""#,
    r#""2024-02-29""#,
    r#""2023-02-29""#,
    r#""2024-02-29T12:00:00Z""#,
    r#""2024-02-29 12:00:00.123456+01:00""#,
    r#""1969-12-31T23:59:59.9999Z""#,
    r#""2024-02-29T12:00:00""#,
    r#""2024-02-29T12:00Z""#,
    r#""2024-02-29T12:00:00+0100""#,
    r#""2016-12-31T23:59:60Z""#,
    r#""1700000000000""#,
    "1700000000000",
    "1700000000.5",
    "false",
    "null",
];
const TEXT_TYPES: &[&str] = &["utf8", "binary", "uuid", "date", "timestamp(ms)"];

const NESTED: &[&str] = &[
    "[]",
    "[1,2]",
    "[1,null]",
    "[1,\"2\"]",
    "[1,]",
    "{}",
    r#"{"a":1}"#,
    r#"{"b":"x"}"#,
    r#"{"a":1,"b":null}"#,
    r#"{"a":1,"c":2}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"a":null}"#,
    r#"[{"a":1},{"a":2,"b":"x"}]"#,
    r#""x""#,
    "null",
];
const NESTED_TYPES: &[&str] =
    &["list<int32>", "list<int32?>", "struct<a: int32, b: utf8?>", "list<struct<a: int32, b: utf8?>>"];

const RECORDS: &[(&str, &str)] = &[
    ("", r#"{"id":1,"name":"x"}"#),
    ("", r#" { "name" : null , "id" : 1 } "#),
    ("", r#"{"id":1,"device":{"os":"x","model":"y"}}"#),
    ("", r#"{"id":1,"device":null}"#),
    ("", r#"{"id":1,"device":"phone"}"#),
    ("an escaped key", r#"{"\u0069d":1}"#),
    ("a field in another case", r#"{"ID":1}"#),
    ("a field missing", r#"{"name":"x"}"#),
    ("null where it may not be", r#"{"id":null}"#),
    ("a declared field twice", r#"{"id":1,"id":1}"#),
    ("a declared field twice that nobody needs", r#"{"id":1,"spare":1,"spare":1}"#),
    ("an unknown field twice", r#"{"id":1,"x":1,"x":2}"#),
    ("a wrong type that nobody needs", r#"{"id":1,"spare":"x"}"#),
    ("a number that no type holds, unread", r#"{"id":1,"x":1e999}"#),
    ("broken in an unread field", r#"{"id":1,"x":{"y":tru}}"#),
    ("a lone surrogate in an unread field", r#"{"id":1,"x":"\ud800"}"#),
    ("a control character in a string", "{\"id\":1,\"x\":\"a\u{1}b\"}"),
    ("cut off", r#"{"id":1,"name":"x"#),
    ("trailing comma", r#"{"id":1,}"#),
    ("trailing garbage", r#"{"id":1} x"#),
    ("two objects", r#"{"id":1}{"id":2}"#),
    ("single quotes", "{'id':1}"),
    ("a comment", r#"{"id":1 /* one */}"#),
    ("NaN", r#"{"id":1,"x":NaN}"#),
    ("byte order mark", "\u{feff}{\"id\":1}"),
    ("an array", r#"[{"id":1}]"#),
    ("a number", "1"),
    ("blanks only", "  "),
];

const CSV_VALUES: &[&str] = &[
    "",
    "\"\"",
    "abc",
    "\"a,b\"",
    "\"say \"\"hi\"\"\"",
    "5\" pipe",
    "\"a\"b",
    "\"a",
    "12",
    " 12",
    "+7",
    "007",
    "1.0",
    "1.5",
    "1e3",
    "true",
    "True",
    "yes",
    "NA",
    "2024-02-29",
    "2024-02-29T12:00:00Z",
    "2024-02-29T12:00:00",
    "\"[1,2]\"",
];
const CSV_TYPES: &[&str] =
    &["utf8", "bool", "int32", "float64", "decimal(12,2)", "date", "timestamp(ms)", "list<int32>"];

/// A value of the only column, or the reason in italics.
fn outcome(decoded: &Decoded, column: &str) -> String {
    match decoded.rejects.first() {
        Some(refusal) => format!("*{}*", refusal.reason),
        None => match cell(&decoded.columns, column, 0) {
            text if decoded
                .columns
                .schema()
                .field_with_name(column)
                .is_ok_and(|field| *field.data_type() == DataType::Utf8)
                && text != "null" =>
            {
                code(&format!("\"{text}\""))
            }
            text if text.is_empty() => "(empty)".to_owned(),
            text => code(&text),
        },
    }
}

fn code(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\u{1}', "\u{2401}").replace('\u{feff}', "\\u{feff}");
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

fn decode(columns: &[(&str, &str, &str)], needed: &[bool], records: &Records, format: Format) -> Decoded {
    let mut decoder = Decoder::new(&columns_of(columns), format, &Unknown::Ignore, needed).expect("a decoder");
    decoder.decode(records).expect("decoded")
}

fn head(first: &str, others: &[&str]) -> String {
    let columns: Vec<_> = others.iter().map(|logical| code(logical)).collect();
    format!("| {first} | {} |\n|{}\n", columns.join(" | "), "---|".repeat(others.len() + 1))
}

fn value_table(values: &[&str], types: &[&str]) -> String {
    let mut table = head("JSON value", types);
    for value in values {
        let outcomes = types.iter().map(|logical| {
            let record = format!("{{\"v\":{value}}}");
            outcome(&decode(&[("v", logical, "")], &[true], &block(&[&record]), Format::Json), "v")
        });
        let _ = writeln!(table, "| {} | {} |", code(value), outcomes.collect::<Vec<_>>().join(" | "));
    }
    table
}

fn record_table() -> String {
    let columns = [("id", "int64", ""), ("name", "utf8?", ""), ("os", "utf8?", "device.os"), ("spare", "int64?", "")];
    let needed = [true, true, true, false];
    let mut table = "| record | | id, name, os or the reject | detail |\n|---|---|---|---|\n".to_owned();
    let mut row = |what: &str, shown: &str, records: &Records| {
        let decoded = decode(&columns, &needed, records, Format::Json);
        let (outcome, detail) = match decoded.rejects.first() {
            Some(refusal) => (format!("*{}*", refusal.reason), refusal.detail.replace('|', "\\|")),
            None => (["id", "name", "os"].map(|column| outcome(&decoded, column)).join(", "), String::new()),
        };
        let _ = writeln!(table, "| {} | {what} | {outcome} | {detail} |", code(shown));
    };
    for (what, record) in RECORDS {
        row(what, record, &block(&[record]));
    }
    let deep = |levels: usize| format!("{{\"id\":1,\"x\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    row("127 levels deep", "", &block(&[&deep(127)]));
    row("128 levels deep", "", &block(&[&deep(128)]));
    row("a byte that is no UTF-8", "", &block_of([Some(&b"{\"id\":1,\"x\":\"caf\xe9\"}"[..])].into_iter()));
    row("no bytes", "", &block(&[""]));
    row("no value (a Kafka tombstone)", "", &block_of([None].into_iter()));
    table
}

fn csv_table() -> String {
    let mut table = head("CSV field", CSV_TYPES);
    for value in CSV_VALUES {
        let outcomes = CSV_TYPES.iter().map(|logical| {
            // A second field, so that an empty one does not make an empty record.
            let mut records = block(&[&format!("{value},x")]);
            records.csv_header = Some(vec!["v".to_owned(), "x".to_owned()].into());
            outcome(&decode(&[("v", logical, "")], &[true], &records, Format::Csv), "v")
        });
        let shown = if value.is_empty() { "(empty)".to_owned() } else { code(value) };
        let _ = writeln!(table, "| {shown} | {} |", outcomes.collect::<Vec<_>>().join(" | "));
    }
    table
}

fn reason_table() -> String {
    let mut table = "| reason | meaning |\n|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let _ = writeln!(table, "| `{}` | {} |", reason.word(), reason.meaning());
    }
    table
}

/// The page with each table between its marks written anew.
fn rewritten(page: &str) -> String {
    let mut rewritten = String::new();
    let mut rest = page;
    while let Some(start) = rest.find("<!-- table: ") {
        let end = start + rest[start..].find("<!-- end -->").expect("an end mark behind every table mark");
        let mark = &rest[start..][..rest[start..].find('\n').expect("a line")];
        let name = mark.trim_start_matches("<!-- table: ").trim_end_matches(" -->");
        let table = match name {
            "numbers" => value_table(NUMBERS, NUMBER_TYPES),
            "texts" => value_table(TEXTS, TEXT_TYPES),
            "nested" => value_table(NESTED, NESTED_TYPES),
            "records" => record_table(),
            "csv" => csv_table(),
            "reasons" => reason_table(),
            other => panic!("docs/decoding.md asks for a table `{other}` that does not exist"),
        };
        let _ = write!(rewritten, "{}{mark}\n{table}", &rest[..start]);
        rest = &rest[end..];
    }
    rewritten + rest
}

#[test]
fn the_page_shows_what_the_decoder_does() {
    let page = std::fs::read_to_string(PAGE).expect("docs/decoding.md");
    let rewritten = rewritten(&page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &rewritten).expect("docs/decoding.md is written");
        return;
    }
    let differs = page.lines().zip(rewritten.lines()).find(|(old, new)| old != new);
    assert!(
        page == rewritten,
        "docs/decoding.md differs, first in {differs:?}: run this test with UPDATE_DOCS=1 and look at the diff"
    );
}
