use millstream_sdk::serde_json::Value;
use millstream_sdk::{json, testing};

use super::*;

fn clean(columns: &str, rules: Value, rows: Value) -> testing::Outcome {
    let setup = testing::Setup::new(json!({ "columns": rules })).columns(columns);
    setup.configure::<Clean>().unwrap_or_else(|error| panic!("{error}")).process(rows)
}

/// The values of column `x`, with the reason in their place where a row was rejected.
fn x(logical: &str, rule: Value, values: Value) -> Vec<Value> {
    let values: Vec<Value> = values.as_array().unwrap().iter().map(|value| json!({ "x": value })).collect();
    let count = values.len();
    let outcome = clean(&format!("x: {logical}"), json!({ "x": rule }), values.into());
    let mut found = vec![Value::Null; count];
    outcome.kept().iter().for_each(|(row, written)| found[*row as usize] = written["x"].clone());
    outcome.rejects().iter().for_each(|(row, reason, _)| found[*row as usize] = format!("!{reason}").into());
    found
}

fn list(value: Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

#[test]
fn text_is_trimmed_cased_and_checked_in_this_order() {
    let rule = json!({ "trim": true, "case": "lower", "empty": "null", "pattern": "^[a-zä]+$" });
    assert_eq!(
        x("utf8?", rule, json!([" ABC ", "ÄBC", "   ", null, "a1", "b"])),
        list(json!(["abc", "äbc", null, null, "!no_match", "b"]))
    );
    assert_eq!(x("utf8", json!({ "case": "upper" }), json!(["straße", "A1"])), list(json!(["STRASSE", "A1"])));
}

#[test]
fn rows_without_a_value_get_a_default_or_are_rejected() {
    assert_eq!(x("utf8?", json!({ "default": "-" }), json!([null, "", "a"])), list(json!(["-", "", "a"])));
    assert_eq!(x("utf8?", json!({ "required": true }), json!([null, "", "a"])), list(json!(["!missing", "", "a"])));
    let rule = json!({ "empty": "null", "required": true });
    assert_eq!(x("utf8", rule, json!(["", "a"])), list(json!(["!missing", "a"])));
    assert_eq!(x("int16?", json!({ "default": -1 }), json!([null, 7])), list(json!([-1, 7])));
    let rule = json!({ "default": "2020-01-01T00:00:00Z" });
    assert_eq!(x("timestamp(s)?", rule, json!([null])), list(json!(["2020-01-01T00:00:00Z"])));
}

#[test]
fn required_is_for_columns_of_any_type() {
    let values = json!([null, [{ "a": 1 }]]);
    let found = x("list<struct<a: int8>>?", json!({ "required": true }), values);
    assert_eq!(found, list(json!(["!missing", [{ "a": 1 }]])));
}

#[test]
fn values_out_of_range_are_rejected_or_null() {
    let values = json!([-1, 0, 5, 10, 11]);
    let found = x("int32", json!({ "min": 0, "max": 10 }), values.clone());
    assert_eq!(found, list(json!(["!out_of_range", 0, 5, 10, "!out_of_range"])));
    let found = x("int32", json!({ "min": 0, "invalid": "null" }), values.clone());
    assert_eq!(found, list(json!([null, 0, 5, 10, 11])));
    let found = x("int32", json!({ "max": 5, "invalid": "null", "default": 99 }), values);
    assert_eq!(found, list(json!([-1, 0, 5, 99, 99])));
    let found = x("float64", json!({ "min": 0.5 }), json!([0.25, 0.5, "NaN"]));
    assert_eq!(found, list(json!(["!out_of_range", 0.5, "!out_of_range"])));
    let found = x("decimal(8,2)?", json!({ "min": "0.01" }), json!(["0.00", "0.01", null]));
    assert_eq!(found, list(json!(["!out_of_range", "0.01", null])));
    let rule = json!({ "min": "2020-01-01", "max": "2020-12-31" });
    assert_eq!(x("date", rule, json!(["2019-12-31", "2020-06-01"])), list(json!(["!out_of_range", "2020-06-01"])));
}

#[test]
fn text_becomes_every_type() {
    for (to, good, expected, bad) in [
        ("int8", json!(["12", "+7", "-128", "007"]), json!([12, 7, -128, 7]), json!(["128", "1.0", "", " 1", "x"])),
        ("int64", json!(["9223372036854775807"]), json!([i64::MAX]), json!(["9223372036854775808"])),
        ("float64", json!(["1.5", "-2e3", "7"]), json!([1.5, -2000.0, 7.0]), json!(["inf", "NaN", "1e999", "1,5"])),
        ("float32", json!(["0.5"]), json!([0.5]), json!(["1e39"])),
        (
            "decimal(6,2)",
            json!(["12.5", "-0.05", "+3", "1.500", ".5", "9999.99"]),
            json!(["12.50", "-0.05", "3.00", "1.50", "0.50", "9999.99"]),
            json!(["1.505", "10000", "", ".", "1.2.3", "--1", "1e3", "99999999999999999999999999999999999999999"]),
        ),
        (
            "bool",
            json!(["true", "TRUE", "1", "y", "no", "F", "0"]),
            json!([true, true, true, true, false, false, false]),
            json!(["2", "", "ja"]),
        ),
        (
            "date",
            json!(["2024-02-29"]),
            json!(["2024-02-29"]),
            json!(["2023-02-29", "2024-02-29T00:00:00", "29.2.2024"]),
        ),
        (
            "timestamp(ms)",
            json!(["2024-02-29T12:00:00.0019Z", "2024-02-29 12:00:00+01:00"]),
            json!(["2024-02-29T12:00:00.001Z", "2024-02-29T11:00:00Z"]),
            json!(["2024-02-29T12:00:00", "2024-02-29", "now"]),
        ),
        (
            "uuid",
            json!(["67E55044-10b1-426f-9247-bb680e5fe0c8"]),
            json!(["67e55044-10b1-426f-9247-bb680e5fe0c8"]),
            json!(["67e55044"]),
        ),
    ] {
        assert_eq!(x("utf8", json!({ "cast": to }), good), list(expected), "{to}");
        let count = list(bad.clone()).len();
        assert_eq!(x("utf8", json!({ "cast": to }), bad), vec![json!("!bad_cast"); count], "{to}");
    }
}

#[test]
fn every_type_becomes_text() {
    for (from, values, expected) in [
        ("int8?", json!([-5, null]), json!(["-5", null])),
        ("float64", json!([1.0, 0.1]), json!(["1.0", "0.1"])),
        ("float32", json!([0.1]), json!(["0.1"])),
        ("decimal(6,2)", json!(["-0.05"]), json!(["-0.05"])),
        ("bool", json!([true, false]), json!(["true", "false"])),
        ("date", json!(["1969-12-31"]), json!(["1969-12-31"])),
        ("timestamp(us)", json!(["1969-12-31T23:59:59.5Z"]), json!(["1969-12-31T23:59:59.5Z"])),
        ("uuid", json!(["67e55044-10b1-426f-9247-bb680e5fe0c8"]), json!(["67e55044-10b1-426f-9247-bb680e5fe0c8"])),
    ] {
        assert_eq!(x(from, json!({ "cast": "utf8" }), values), list(expected), "{from}");
    }
}

#[test]
fn numbers_and_instants_become_one_another_unless_something_is_lost() {
    for (from, to, values, expected) in [
        ("int64", "int8", json!([127, 128]), json!([127, "!bad_cast"])),
        ("int32", "decimal(4,2)", json!([99, 100]), json!(["99.00", "!bad_cast"])),
        ("int32", "float64", json!([3]), json!([3.0])),
        ("float64", "int32", json!([3.0, 3.5, 1e12]), json!([3, "!bad_cast", "!bad_cast"])),
        ("float64", "decimal(4,2)", json!([0.1, 2.345, 100.0]), json!(["0.10", "2.35", "!bad_cast"])),
        ("float64", "float32", json!([0.5, 1e300]), json!([0.5, "!bad_cast"])),
        ("decimal(6,2)", "int16", json!(["3.00", "3.10"]), json!([3, "!bad_cast"])),
        ("decimal(6,2)", "decimal(6,1)", json!(["3.10", "3.15"]), json!(["3.1", "!bad_cast"])),
        ("decimal(6,2)", "float64", json!(["-0.25"]), json!([-0.25])),
        ("bool", "int8", json!([true, false]), json!([1, 0])),
        ("date", "timestamp(ms)", json!(["1970-01-02"]), json!(["1970-01-02T00:00:00Z"])),
        ("timestamp(ms)", "date", json!(["1969-12-31T23:59:59.999Z"]), json!(["1969-12-31"])),
        ("timestamp(ns)", "timestamp(s)", json!(["1969-12-31T23:59:59.9Z"]), json!(["1969-12-31T23:59:59Z"])),
        ("int64", "timestamp(s)", json!([86400]), json!(["1970-01-02T00:00:00Z"])),
        ("timestamp(ms)", "int64", json!(["1970-01-01T00:00:00.5Z"]), json!([500])),
    ] {
        assert_eq!(x(from, json!({ "cast": to }), values), list(expected), "{from} to {to}");
    }
}

#[test]
fn a_format_reads_dates_and_timestamps() {
    let rule = json!({ "cast": "date", "format": "%d.%m.%Y" });
    assert_eq!(x("utf8", rule, json!(["29.02.2024", "2024-02-29"])), list(json!(["2024-02-29", "!bad_cast"])));
    let rule = json!({ "cast": "timestamp(s)", "format": "%d/%b/%Y:%H:%M:%S %z" });
    assert_eq!(x("utf8", rule, json!(["10/Oct/2000:13:55:36 -0700"])), list(json!(["2000-10-10T20:55:36Z"])));
    let rule = json!({ "cast": "timestamp(s)", "format": "%Y-%m-%d %H:%M" });
    assert_eq!(x("utf8", rule, json!(["2000-10-10 13:55"])), list(json!(["2000-10-10T13:55:00Z"])));
}

#[test]
fn a_reject_shows_the_value_as_it_came() {
    let outcome = clean(
        "x: utf8, n: int32",
        json!({ "x": { "trim": true, "cast": "int8" }, "n": { "max": 3 } }),
        json!([
            { "x": " 1x ", "n": 1 }, { "x": "2", "n": 4 }, { "x": "y", "n": 4 }, { "x": "3", "n": 3 }
        ]),
    );
    assert_eq!(
        outcome.rejects(),
        [
            (1, "out_of_range", "column `n`: `4` is not within min and max"),
            (2, "out_of_range", "column `n`: `4` is not within min and max"),
            (0, "bad_cast", "column `x`: ` 1x ` is no int8"),
        ]
    );
    assert_eq!(outcome.kept(), [(3, json!({ "x": 3, "n": 3 }))]);
}

/// A dictionary is cleaned by its values and stays one; the result is that of plain text.
#[test]
fn a_dictionary_is_cleaned_by_its_values() {
    let texts = [Some(" a"), None, Some("b"), Some(" a"), Some("12"), Some("")];
    let mut builder = <Option<&str> as millstream_sdk::WriteValue<millstream_sdk::Repeated>>::builder(0);
    texts.into_iter().for_each(|text| {
        millstream_sdk::WriteValue::<millstream_sdk::Repeated>::write(text, &mut builder);
    });
    let mut nodes = Vec::new();
    <Option<&str> as millstream_sdk::WriteValue<millstream_sdk::Repeated>>::finish(builder, &mut nodes);
    let column = Column { nodes };
    let plain = Column::of(texts).unwrap();
    for rule in [
        json!({ "trim": true, "empty": "null", "default": "none" }),
        json!({ "trim": true, "pattern": "^[a-z]" }),
        json!({ "cast": "int64", "invalid": "null" }),
        json!({ "cast": "int64", "invalid": "null", "default": 5 }),
        json!({ "case": "upper", "required": true }),
    ] {
        let given = Given { columns: vec![Field::new("x", LogicalType::Utf8).nullable()], ..Given::default() };
        let config = config::read(json!({ "columns": { "x": rule } })).unwrap();
        let (mut stage, contract) = Clean::configure(config, &given).unwrap();
        let mut run =
            |column: &Column| stage.process(Batch { rows: 6, columns: vec![column.clone()], lookups: vec![] }).unwrap();
        let (by_value, by_row) = (run(&column), run(&plain));
        assert_eq!((&by_value.rows, &by_value.rejects), (&by_row.rows, &by_row.rejects), "{rule}");
        let rows = by_row.rows.as_ref().map_or(6, Vec::len);
        if contract.writes[0].logical == LogicalType::Utf8 {
            assert!(matches!(by_value.columns[0].nodes[0].values, Values::Dictionary(_)), "{rule}");
            let read = |patch: &Patch| {
                let batch = Batch { rows: rows as u32, columns: patch.columns.clone(), lookups: vec![] };
                let reader = batch.read::<Option<String>>(0).unwrap();
                (0..rows).map(|row| reader.get(row).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(read(&by_value), read(&by_row), "{rule}");
        } else {
            assert_eq!(by_value.columns, by_row.columns, "{rule}");
        }
    }
}

#[test]
fn a_column_is_nullable_as_its_rule_makes_it() {
    for (logical, rule, nullable) in [
        ("utf8?", json!({ "trim": true }), true),
        ("utf8?", json!({ "required": true }), false),
        ("utf8?", json!({ "default": "" }), false),
        ("utf8", json!({ "trim": true }), false),
        ("utf8", json!({ "empty": "null" }), true),
        ("utf8", json!({ "cast": "int8" }), false),
        ("utf8", json!({ "cast": "int8", "invalid": "null" }), true),
    ] {
        let setup = testing::Setup::new(json!({ "columns": { "x": rule } })).columns(&format!("x: {logical}"));
        let plugin = setup.configure::<Clean>().unwrap();
        assert_eq!(plugin.contract().writes[0].nullable, nullable, "{logical} {rule}");
    }
}

#[test]
fn a_wrong_config_says_where_and_what() {
    for (columns, expected) in [
        (json!({}), "config key `columns`: name the columns: columns = { email = { trim = true, required = true } }"),
        (json!({ "y": {} }), "config key `columns.y`: no column `y` reaches the stage; the columns there are: x, n, l"),
        (json!({ "x": {} }), "config key `columns.x`: it asks for nothing: name a rule, such as `trim = true`"),
        (
            json!({ "n": { "trim": true } }),
            "config key `columns.n.trim`: it is for text, and column `n` is int32: take it away",
        ),
        (json!({ "x": { "cast": "int" } }), "config key `columns.x.cast`: `int` is not a type; the types are"),
        (json!({ "n": { "cast": "bool" } }), "config key `columns.n.cast`: int32 cannot become bool: text becomes"),
        (json!({ "x": { "pattern": "(" } }), "config key `columns.x.pattern`: it is no regular expression:"),
        (json!({ "n": { "min": "a" } }), "config key `columns.n.min`: `a` is no int32"),
        (json!({ "n": { "min": 3, "max": 2 } }), "config key `columns.n.min`: it is above `max`: no value is valid"),
        (
            json!({ "x": { "max": "b" } }),
            "config key `columns.x.max`: it is for numbers, dates and timestamps, and column `x` is utf8",
        ),
        (json!({ "n": { "default": 1.5 } }), "config key `columns.n.default`: `1.5` is no int32"),
        (json!({ "n": { "default": [] } }), "config key `columns.n.default`: expected a number, a text, true or false"),
        (
            json!({ "x": { "default": "", "required": true } }),
            "config key `columns.x.required`: with a `default` no row is without a value",
        ),
        (json!({ "x": { "format": "%Y" } }), "config key `columns.x.format`: it says how text is read"),
        (json!({ "x": { "cast": "date", "format": "%H" } }), "config key `columns.x.format`: it names no day:"),
        (json!({ "l": { "min": 1 } }), "config key `columns.l`: column `l` is list<int8>: only `required` is for it"),
        (json!({ "x": { "trimm": true } }), "config key `columns.x.trimm`: unknown field `trimm`, expected one of"),
    ] {
        let setup = testing::Setup::new(json!({ "columns": columns })).columns("x: utf8, n: int32, l: list<int8>");
        let error = setup.configure::<Clean>().unwrap_err();
        assert!(error.starts_with(expected), "{error}\nexpected\n{expected}");
    }
}
