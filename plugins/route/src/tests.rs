use millstream_sdk::serde_json::Value;
use millstream_sdk::{json, testing};

use super::*;

const COLUMNS: &str = "kind: utf8, agent: utf8?, n: int32?, big: int64, share: float64?, amount: decimal(12,2)?, \
                       day: date?, at: timestamp(ms), active: bool?, tags: list<utf8>?";

fn row(values: Value) -> Value {
    let mut row = json!({ "kind": "view", "agent": "Firefox", "n": 5, "big": 7, "share": 0.5, "amount": "12.50",
        "day": "2024-02-29", "at": "2024-02-29T12:00:00Z", "active": true, "tags": [] });
    values.as_object().unwrap().iter().for_each(|(name, value)| row[name] = value.clone());
    row
}

fn setup(config: Value) -> testing::Setup {
    testing::Setup::new(config).columns(COLUMNS).outputs(["yes", "no", "a", "b", "c"])
}

/// What a condition is in a row: true, false, or null.
fn truth(when: &str, values: Value) -> Option<bool> {
    let is = |when: &str| {
        let config = json!({ "rules": [{ "when": when, "to": "yes" }], "default": "no" });
        let mut plugin = setup(config).configure::<RouteStage>().unwrap_or_else(|error| panic!("{error}"));
        let rows =
            plugin.contract().reads.iter().map(|field| (field.name.clone(), row(values.clone())[&field.name].clone()));
        let rows: millstream_sdk::serde_json::Map<String, Value> = rows.collect();
        plugin.process(json!([rows])).routes() == [(0, "yes")]
    };
    match (is(when), is(&format!("NOT ({when})"))) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        (true, true) => panic!("{when} is both true and false"),
    }
}

#[test]
fn conditions_are_those_of_sql() {
    for (when, expected) in [
        ("kind = 'view'", Some(true)),
        ("kind <> 'view'", Some(false)),
        ("'view' = kind", Some(true)),
        ("'a' < kind AND kind < 'z'", Some(true)),
        ("kind = agent", Some(false)),
        ("n = 5 and big >= 7", Some(true)),
        ("n > 5 or big > 7", Some(false)),
        ("n + big = 12", Some(true)),
        ("big % n = 2", Some(true)),
        ("big / 2 = 3.5", Some(true)),
        ("-n = -5", Some(true)),
        ("n * 2 - 3 <= big", Some(true)),
        ("n / 0 = 1", None),
        ("big * 9223372036854775807 = 1", None),
        ("n > 4.5", Some(true)),
        ("n = 5.0", Some(true)),
        ("share = 0.5", Some(true)),
        ("share < n", Some(true)),
        ("share * 2 = 1", Some(true)),
        ("amount = 12.5", Some(true)),
        ("amount > 12.499", Some(true)),
        ("amount >= 13", Some(false)),
        ("amount * 2 = 25", Some(true)),
        ("amount > n", Some(true)),
        ("amount BETWEEN 12 AND 13", Some(true)),
        ("n NOT BETWEEN 1 AND 4", Some(true)),
        ("day = '2024-02-29'", Some(true)),
        ("day < DATE '2024-03-01'", Some(true)),
        ("at = '2024-02-29T12:00:00Z'", Some(true)),
        ("at > '2024-02-29'", Some(true)),
        ("at <= TIMESTAMP '2024-02-29 12:00:00'", Some(true)),
        ("at = '2024-02-29T13:00:00+01:00'", Some(true)),
        ("active", Some(true)),
        ("NOT active", Some(false)),
        ("active = TRUE", Some(true)),
        ("active IS NOT FALSE", Some(true)),
        ("kind IN ('click', 'view')", Some(true)),
        ("kind NOT IN ('click', 'view')", Some(false)),
        ("n IN (1, 5)", Some(true)),
        ("n IN (1, 4.5)", Some(false)),
        ("n IN (1, 5.0)", Some(true)),
        ("n IN (1, NULL)", None),
        ("n IN (5, NULL)", Some(true)),
        ("amount IN (12.5, 3)", Some(true)),
        ("agent LIKE 'Fire%'", Some(true)),
        ("agent LIKE '%fox'", Some(true)),
        ("agent LIKE '%ref%'", Some(true)),
        ("agent LIKE 'F%e_o%'", Some(true)),
        ("agent LIKE 'F_x'", Some(false)),
        ("agent NOT LIKE 'fire%'", Some(true)),
        ("agent ILIKE 'fire%'", Some(true)),
        ("starts_with(agent, 'Fire') AND ends_with(agent, 'fox') AND contains(agent, 'ef')", Some(true)),
        ("lower(agent) = 'firefox'", Some(true)),
        ("upper(trim(agent)) IN ('FIREFOX')", Some(true)),
        ("length(agent) = 7", Some(true)),
        ("lower('A') = 'a'", Some(true)),
        ("1 < 2", Some(true)),
        ("tags IS NULL", Some(false)),
        ("agent IS NOT NULL", Some(true)),
        ("NULL", None),
        ("TRUE", Some(true)),
        ("\"kind\" = 'it''s'", Some(false)),
    ] {
        assert_eq!(truth(when, json!({})), expected, "{when}");
    }
}

#[test]
fn nulls_have_the_three_truths_of_sql() {
    let nulls =
        json!({ "agent": null, "n": null, "share": null, "amount": null, "day": null, "active": null, "tags": null });
    for (when, expected) in [
        ("n = 5", None),
        ("n = 5 AND big = 0", Some(false)),
        ("n = 5 OR big = 7", Some(true)),
        ("n IS NULL", Some(true)),
        ("n + big IS NULL", Some(true)),
        ("n = n", None),
        ("agent = 'a'", None),
        ("agent = kind", None),
        ("agent LIKE '%'", None),
        ("length(agent) > 0", None),
        ("length(agent) IS NULL", Some(true)),
        ("lower(agent) IS NULL", Some(true)),
        ("agent IN ('a')", None),
        ("n IN (1)", None),
        ("n NOT IN (1)", None),
        ("n IN (1, NULL)", None),
        ("amount > 1", None),
        ("(amount > 1) IS NULL", Some(true)),
        ("share > n", None),
        ("day = '2024-02-29'", None),
        ("active", None),
        ("active IS TRUE", Some(false)),
        ("active IS NOT TRUE", Some(true)),
        ("active = TRUE", None),
        ("n BETWEEN 1 AND 2", None),
        ("tags IS NULL", Some(true)),
    ] {
        assert_eq!(truth(when, nulls.clone()), expected, "{when}");
    }
}

fn kinds(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({ "kind": kind })).collect::<Vec<_>>().into()
}

#[test]
fn the_first_rule_that_is_true_decides() {
    let config = json!({ "rules": [
        { "when": "kind = 'bot'", "filter": "bot" },
        { "when": "kind LIKE 'bad%'", "reject": "bad_kind" },
        { "when": "kind LIKE 'a%'", "to": "a" },
        { "when": "kind LIKE '%b'", "to": "b" },
    ] });
    let rows = kinds(&["ab", "b", "bot", "bad", "x"]);
    let mut plugin = setup(config.clone()).configure::<RouteStage>().unwrap();
    assert_eq!(plugin.contract().outputs, ["a", "b"]);
    let outcome = plugin.process(rows.clone());
    assert_eq!(outcome.routes(), [(0, "a"), (1, "b")]);
    assert_eq!(outcome.filtered(), [(2, "bot")]);
    let details = [(3, "bad_kind", ""), (4, "no_rule", "")];
    assert_eq!(outcome.rejects(), details);

    let mut with_default = config.clone();
    with_default["default"] = json!("c");
    let outcome = setup(with_default).configure::<RouteStage>().unwrap().process(rows.clone());
    assert_eq!(outcome.routes(), [(0, "a"), (1, "b"), (4, "c")]);

    let mut filtering = config;
    filtering["unmatched"] = json!("filter");
    let outcome = setup(filtering).configure::<RouteStage>().unwrap().process(rows);
    assert_eq!(outcome.filtered(), [(2, "bot"), (4, "no_rule")]);
}

#[test]
fn all_rules_that_are_true_send_a_row_once_to_each_output() {
    let config = json!({ "match": "all", "unmatched": "filter", "rules": [
        { "when": "kind LIKE 'a%'", "to": "a" },
        { "when": "kind LIKE '%b'", "to": "b" },
        { "when": "kind = 'ab'", "to": "a" },
    ] });
    let mut plugin = setup(config).configure::<RouteStage>().unwrap();
    let outcome = plugin.process(kinds(&["ab", "x", "b", "a"]));
    assert_eq!(outcome.routes(), [(0, "a"), (0, "b"), (2, "b"), (3, "a")]);
    assert_eq!(outcome.filtered(), [(1, "no_rule")]);
}

/// A dictionary is looked at by its values; the routes are those of plain text.
#[test]
fn a_dictionary_routes_as_plain_text_does() {
    use millstream_sdk::{Column, Dictionary, LogicalType, Node, Values, Varlen};
    let given = Given {
        columns: vec![Field::new("kind", LogicalType::Utf8).nullable()],
        outputs: vec!["a".to_owned(), "b".to_owned()],
        ..Given::default()
    };
    let config = json!({ "default": "b", "rules": [{ "when": "kind IN ('x', 'y') AND length(kind) = 1", "to": "a" }] });
    let config = config::read(config).unwrap();
    let (mut stage, _) = RouteStage::configure(config, &given).unwrap();
    let values = Varlen { offsets: vec![0, 1, 2, 3], data: b"xyz".to_vec() };
    let codes = vec![2, 0, 77, 1, 2];
    let node = Node { validity: vec![0b11011], values: Values::Dictionary(Dictionary { codes, values }) };
    let patch = stage.process(Batch { rows: 5, columns: vec![Column { nodes: vec![node] }], lookups: vec![] }).unwrap();
    assert_eq!((patch.rows, patch.outputs), (None, vec![1, 0, 1, 0, 1]));
}

#[test]
fn a_wrong_rule_says_where_and_what() {
    let error = |when: &str| {
        let config = json!({ "rules": [{ "when": when, "to": "yes" }] });
        setup(config).configure::<RouteStage>().err().unwrap_or_else(|| panic!("{when} is taken"))
    };
    for (when, expected) in [
        ("knd = 'view'", "no column `knd` reaches the stage; the columns there are: kind, agent, n,"),
        ("kind = view", "no column `view` reaches the stage;"),
        ("kind = 5", "`kind` cannot be compared with `5`: one is text, the other an integer"),
        ("n = 'a'", "`n` cannot be compared with `'a'`: one is an integer, the other text"),
        ("day = 'today'", "`day` cannot be compared with `'today'`: `today` is no date: write it as '2024-02-29'"),
        ("at = 'x'", "`at` cannot be compared with `'x'`: `x` is no timestamp"),
        ("at = '2024-02-29T12:00:00.0001Z'", "`at` cannot be compared with"),
        ("day < at", "`day` cannot be compared with `at`: one is a date, the other a timestamp(ms)"),
        ("n", "`n` is an integer; a condition is true or false"),
        ("n AND active", "`n` is an integer; a condition is true or false"),
        ("n LIKE 'a'", "`n` is an integer; text is needed"),
        ("kind LIKE agent", "`agent` is no constant"),
        ("kind + 1 = 2", "numbers are calculated with, and one is text, the other an integer"),
        ("tags = 'a'", "column `tags` is list<utf8>: only IS NULL and IS NOT NULL can be asked of it"),
        ("md5(kind) = 'x'", "there is no function `md5(kind)`; there are AND, OR,"),
        ("kind = 'a' kind", "`kind` stands behind the expression"),
        ("kind = ", "`kind = ` is no expression: Expected: an expression"),
        ("", "`` is no expression: Expected: an expression"),
        ("kind IN (SELECT 1)", "`kind IN (SELECT 1)` is not supported"),
        ("CASE WHEN n = 1 THEN TRUE END", "`CASE WHEN n = 1 THEN true END` is not supported"),
        ("n IN (1, big)", "`big` in a list is no constant: use OR"),
    ] {
        let said = error(when);
        let expected = format!("config key `rules[0].when`: {expected}");
        assert!(said.starts_with(&expected), "{said}\nexpected\n{expected}");
    }
    let long = vec!["n = 1"; 300].join(" OR ");
    assert!(error(&long).ends_with("it is nested deeper than 200: use IN (..), or further rules"), "{}", error(&long));
    assert!(error(&"x".repeat(20_000)).contains("it has 20000 bytes, and may have 16384"));
    let deep = format!("{}n = 1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(error(&deep).contains("recursion limit"), "{}", &error(&deep)[10_000..]);
}

#[test]
fn a_wrong_config_says_where_and_what() {
    let rule = |to: Value| json!({ "rules": [to] });
    for (config, expected) in [
        (json!({ "rules": [] }), "config key `rules`: 1 to 256 rules:"),
        (
            rule(json!({ "when": "TRUE", "to": "yess" })),
            "config key `rules[0].to`: nobody reads output `yess`; those that are read: yes, no, a, b, c.",
        ),
        (rule(json!({ "when": "TRUE" })), "config key `rules[0]`: a rule has one of `to`, `filter` and `reject`"),
        (
            rule(json!({ "when": "TRUE", "to": "yes", "filter": "x" })),
            "config key `rules[0]`: a rule has one of `to`, `filter` and `reject`",
        ),
        (rule(json!({ "when": "TRUE", "filter": "" })), "config key `rules[0].filter`: it is a short word"),
        (rule(json!({ "when": "TRUE", "filter": "x" })), "config key `rules`: no rule has an output"),
        (
            json!({ "match": "all", "rules": [{ "when": "TRUE", "filter": "x" }] }),
            "config key `rules[0].filter`: it needs match = \"first\"",
        ),
        (
            json!({ "rules": [{ "when": "TRUE", "to": "a" }], "default": "b", "unmatched": "filter" }),
            "config key `unmatched`: with `default` every row has an output",
        ),
        (
            json!({ "rules": [{ "when": "TRUE", "to": "a" }], "default": "x" }),
            "config key `default`: nobody reads output `x`",
        ),
        (
            json!({ "rules": [{ "if": "TRUE", "to": "a" }] }),
            "config key `rules[0].if`: unknown field `if`, expected one of `when`, `to`, `filter`, `reject`",
        ),
    ] {
        let error = setup(config).configure::<RouteStage>().unwrap_err();
        assert!(error.starts_with(expected), "{error}\nexpected\n{expected}");
    }
}
