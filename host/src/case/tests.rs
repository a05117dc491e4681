//! Cases with a real plugin; what they say, what they find, and what an update writes.

use std::path::Path;

use super::*;
use crate::plugin::testing::plugin;

fn case(text: &str) -> Case {
    Case::of_text(Path::new("cases/x.jsonl"), Kind::Plugin, text).unwrap()
}

fn wrong(kind: Kind, text: &str) -> String {
    Case::of_text(Path::new("x.jsonl"), kind, text).unwrap_err().to_string()
}

/// Runs a case, and compares.
fn differences(case: &Case) -> Vec<(usize, String, String, String)> {
    let trial = Trial::of_plugin(case, &plugin()).unwrap_or_else(|_| panic!("the plugin fits the case"));
    let fates = trial.run(case).unwrap();
    let rows = case.rows.iter().zip(&fates);
    let found = rows.filter_map(|(row, fate)| {
        let expected = row.expected.as_ref()?;
        Some(compare(row.line, expected, fate, |to| trial.columns_of(to)))
    });
    found.flatten().map(|one| (one.line, one.what, one.expected, one.actual)).collect()
}

/// Rows of `tests/components/test-plugin`: 13 is rejected, 14 filtered, 15 doubled, any other `n` gets `m = 2 n`.
const ROWS: &str = r#"{"millstream": "case/1", "config": {"behaviour": "reject"}}

{"in": {"n": 1}, "out": {"m": 2}}
{"in": {"n": 13}, "rejected": {"reason": "guilty", "detail": "n is 13"}}
{"in": {"n": 14}, "filtered": "skipped"}
{"in": {"n": 15}, "out": [{"m": 30}, {"m": 30}]}
"#;

#[test]
fn rows_that_come_as_expected_differ_in_nothing() {
    assert_eq!(differences(&case(ROWS)), []);
}

#[test]
fn every_cell_and_every_outcome_that_differs_is_named() {
    let text = ROWS
        .replace("\"m\": 2}", "\"m\": 3}")
        .replace("n is 13", "n was 13")
        .replace("\"skipped\"", "\"dropped\"")
        .replace("[{\"m\": 30}, {\"m\": 30}]", "[{\"m\": 30}, {\"m\": \"thirty\"}]");
    let found = differences(&case(&text));
    let of = |line: usize, what: &str, expected: &str, actual: &str| {
        (line, what.to_owned(), expected.to_owned(), actual.to_owned())
    };
    assert_eq!(
        found,
        [
            of(3, "out.m", "3", "2"),
            of(4, "detail", "\"n was 13\"", "\"n is 13\""),
            of(5, "outcome", "filtered: dropped", "filtered: skipped"),
            of(6, "out[1].m", "\"thirty\" (\"thirty\" is no int64)", "30"),
        ]
    );
}

#[test]
fn a_route_and_a_number_of_rows_count() {
    let text = r#"{"millstream": "case/1", "config": {"behaviour": "route"}}
{"in": {"n": 1}, "to": "odd"}
{"in": {"n": 2}, "to": "odd", "out": {"m": 4}}
{"in": {"n": 15}, "out": [{"m": 30}, {"m": 30}], "to": ["odd", "odd"]}
"#;
    let found = differences(&case(text));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].2.as_str(), found[0].3.as_str()), ("1 row to odd", "1 row to even"));
    assert_eq!((found[1].2.as_str(), found[1].3.as_str()), ("2 rows to odd", "1 row to odd"));
}

#[test]
fn lookups_are_answered_from_the_rows_of_the_case() {
    let text = r#"{"millstream": "case/1", "config": {"behaviour": "lookups"}, "tables": {"users": {"key": {"n": "int64"}, "columns": {"name": "utf8?"}}}}
{"table": "users", "row": {"n": 1, "name": "ada"}}
{"table": "users", "row": {"n": 2}}
{"in": {"n": 1}, "out": {"found": true, "name": "ada"}}
{"in": {"n": 2}, "out": {"found": true}}
{"in": {"n": 3}, "out": {"found": false, "name": null}}
"#;
    assert_eq!(differences(&case(text)), []);
}

#[test]
fn a_trap_is_the_fate_of_its_row_alone() {
    let text = r#"{"millstream": "case/1", "config": {"behaviour": "trap"}}
{"in": {"n": 1}, "out": {"m": 2}}
{"in": {"n": 13}, "rejected": "trap"}
{"in": {"n": 2}, "out": {"m": 4}}
"#;
    assert_eq!(differences(&case(text)), []);
}

#[test]
fn an_update_writes_what_came_and_leaves_the_rest() {
    let text = r#"{"millstream": "case/1", "config": {"behaviour": "reject"}}

{"in": {"n": 1},   "out": {"m": 2}}
{"in": {"n": 15.0e0}}
{"in": {"n": 13}, "out": {"m": 1}}
"#;
    let text = text.replace("15.0e0", "15");
    let case = case(&text);
    let trial = Trial::of_plugin(&case, &plugin()).unwrap_or_else(|_| panic!("the plugin fits the case"));
    let fates = trial.run(&case).unwrap();
    let changed = fates.into_iter().enumerate().skip(1).collect();
    let updated = case.updated(&changed);
    let expected = r#"{"millstream": "case/1", "config": {"behaviour": "reject"}}

{"in": {"n": 1},   "out": {"m": 2}}
{"in": {"n": 15}, "out": [{"m":30},{"m":30}]}
{"in": {"n": 13}, "rejected": {"reason":"guilty","detail":"n is 13"}}
"#;
    assert_eq!(updated, expected);
    let case = Case::of_text(Path::new("x"), Kind::Plugin, &updated).unwrap();
    assert_eq!(differences(&case), []);
}

#[test]
fn a_wrong_line_is_named_with_what_is_wrong() {
    for (text, message) in [
        ("{\"in\": {}}\n[1]", "x.jsonl:2: it is no JSON object"),
        ("{\"in\": 1", "x.jsonl:1: it is no JSON object: EOF while parsing an object"),
        ("{\"in\": 1, \"outt\": 2}", "x.jsonl:1: unknown field `outt`"),
        ("{\"in\": 1, \"out\": 2}", "x.jsonl:1: `out` is an object, or a list of objects, not 2"),
        ("{\"in\": 1, \"out\": [{}], \"to\": [\"a\", \"b\"]}", "x.jsonl:1: `out` has 1 rows, but `to` has 2 names"),
        ("{\"in\": 1, \"rejected\": {}}", "x.jsonl:1: `rejected` has no `reason`"),
        ("{\"in\": 1}\n{\"millstream\": \"case/1\"}", "x.jsonl:2: the header must be the first line"),
        ("{\"millstream\": \"case/9\"}", "x.jsonl:1: this is \"case/9\"; this millstream reads \"case/1\""),
        ("{\"in\": 1, \"timestamp\": \"noon\"}", "x.jsonl:1: \"noon\" is no instant"),
    ] {
        let said = wrong(Kind::Plugin, text);
        assert!(said.starts_with(message), "{text}: {said}");
    }
    let said = wrong(Kind::Pipeline, "{\"in\": 1, \"to\": \"views\"}");
    assert!(said.starts_with("x.jsonl:1: `to` is for plugins"), "{said}");
    let said = wrong(Kind::Pipeline, "{\"millstream\": \"case/1\", \"config\": {}}");
    assert!(
        said.starts_with("x.jsonl:1: the header has \"config\", so this is a plugin's case: `millstream plugin test")
    );
    let said = wrong(Kind::Plugin, "{\"millstream\": \"case/1\", \"set\": {\"a\": \"b\"}}");
    assert!(said.starts_with("x.jsonl:1: the header has \"set\", so this is a pipeline's case: `millstream test"));
}

#[test]
fn a_row_that_does_not_fit_the_contract_is_named() {
    let said = |text: &str| {
        let case = case(text);
        let trial = Trial::of_plugin(&case, &plugin()).unwrap_or_else(|_| panic!("the plugin fits the case"));
        trial.run(&case).unwrap_err().to_string()
    };
    assert_eq!(
        said("{\"in\": {\"n\": 1}}\n{\"in\": {\"n\": \"one\"}}\n"),
        "cases/x.jsonl:2: column \"n\": \"one\" is no int64"
    );
    assert_eq!(said("{\"in\": {\"n\": 1, \"k\": 2}}\n"), "cases/x.jsonl:1: there is no column \"k\"; there are n");
}

#[test]
fn an_output_that_is_not_there_is_an_error_of_the_case() {
    let case = case("{\"in\": {\"n\": 1}, \"to\": \"nowhere\"}\n");
    let trial = Trial::of_plugin(&case, &plugin()).unwrap_or_else(|_| panic!("the plugin fits the case"));
    let error = trial.knows_outputs_of(&case).unwrap_err();
    assert_eq!(error.message(), "cases/x.jsonl:1: the plugin has no output \"nowhere\"");
    assert_eq!(error.way_out(), Some("it has none"));
}

#[test]
fn what_is_captured_is_a_case() {
    let rows = serde_json::json!({ "n": 1 });
    let header = Header { millstream: FORMAT.to_owned(), now: Some(5.into()), ..Header::default() };
    let text = format!("{}\n{}\n", header.line(), row_line(rows.as_object().unwrap()));
    let case = case(&text);
    assert_eq!((case.header.now_ms(), case.rows.len()), (Ok(5), 1));
    assert!(case.rows[0].expected.is_none());
}

#[test]
fn a_plugin_is_measured() {
    let case = case(ROWS);
    let trial = Trial::of_plugin(&case, &plugin()).unwrap_or_else(|_| panic!("the plugin fits the case"));
    let cost = bench(&trial, &case, &plugin(), 64, std::time::Duration::from_millis(1)).unwrap();
    assert!(cost.rows == 64 && cost.calls >= 5 && cost.total_ns() > 0.0 && cost.plugin_ns > 0.0, "{cost:?}");
    assert_eq!(cost.lookups_ns, 0.0);
}
