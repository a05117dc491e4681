use millstream_sdk::serde_json::Value;
use millstream_sdk::{json, testing};

use super::*;

fn explode(columns: &str, config: Value, rows: Value) -> testing::Outcome {
    testing::Setup::new(config).columns(columns).configure::<Explode>().unwrap().process(rows)
}

#[test]
fn a_list_becomes_rows() {
    let rows = json!([{ "tags": ["a", "b"] }, { "tags": ["c"] }]);
    let outcome = explode("tags: list<utf8>", json!({ "column": "tags" }), rows);
    assert_eq!(outcome.kept(), [(0, json!({ "tags": "a" })), (0, json!({ "tags": "b" })), (1, json!({ "tags": "c" }))]);
}

#[test]
fn a_row_without_items_is_kept_or_filtered() {
    let rows = json!([{ "tags": [] }, { "tags": ["a", null] }, { "tags": null }, { "tags": ["b"] }]);
    let config = |empty: &str| json!({ "column": "tags", "into": "tag", "index": "at", "empty": empty });
    let outcome = explode("tags: list<utf8?>?", config("keep"), rows.clone());
    assert_eq!(
        outcome.kept(),
        [
            (0, json!({ "tag": null, "at": null })),
            (1, json!({ "tag": "a", "at": 0 })),
            (1, json!({ "tag": null, "at": 1 })),
            (2, json!({ "tag": null, "at": null })),
            (3, json!({ "tag": "b", "at": 0 })),
        ]
    );
    let outcome = explode("tags: list<utf8?>?", config("filter"), rows);
    assert_eq!(outcome.rows().len(), 3);
    assert_eq!(outcome.filtered(), [(0, "empty_list"), (2, "empty_list")]);
}

#[test]
fn structs_become_their_fields() {
    let columns = "items: list<struct<sku: utf8, price: decimal(8,2)?, tags: list<int8>>?>";
    let rows = json!([
        { "items": [{ "sku": "a", "price": "1.50", "tags": [1, 2] }, null] },
        { "items": [] },
        { "items": [{ "sku": "b", "price": null, "tags": [] }] },
    ]);
    let config = json!({ "column": "items", "fields": {} });
    let outcome = explode(columns, config, rows.clone());
    let none = json!({ "sku": null, "price": null, "tags": null });
    assert_eq!(
        outcome.kept(),
        [
            (0, json!({ "sku": "a", "price": "1.50", "tags": [1, 2] })),
            (0, none.clone()),
            (1, none),
            (2, json!({ "sku": "b", "price": null, "tags": [] })),
        ]
    );
    let config = json!({ "column": "items", "fields": { "tags": "t", "sku": "s" }, "index": "at", "empty": "filter" });
    let outcome = explode(columns, config, rows);
    assert_eq!(outcome.rows()[0], json!({ "s": "a", "t": [1, 2], "at": 0 }));
    assert_eq!(outcome.rows()[1], json!({ "s": null, "t": null, "at": 1 }));
}

#[test]
fn what_stands_below_a_null_list_is_no_item() {
    let (stage, contract) = Explode::configure(
        config::read(json!({ "column": "x", "empty": "filter" })).unwrap(),
        &Given { columns: vec![Field::new("x", "list<int8>".parse().unwrap()).nullable()], ..Given::default() },
    )
    .unwrap();
    assert_eq!(contract.writes, [Field::new("x", LogicalType::Int8)]);
    let list = Node { validity: vec![0b101], values: Values::Offsets(vec![1, 2, 4, 5]) };
    let items = Values::Int8(vec![9, 1, 8, 8, 2, 9]).into();
    let batch = Batch { rows: 3, columns: vec![Column { nodes: vec![list, items] }], lookups: vec![] };
    let mut stage = stage;
    let patch = stage.process(batch).unwrap();
    assert_eq!(patch.rows, Some(vec![0, 2]));
    assert_eq!(patch.columns, [Column { nodes: vec![Values::Int8(vec![1, 2]).into()] }]);
}

#[test]
fn a_wrong_config_says_where_and_what() {
    let columns = "tags: list<utf8>, items: list<struct<sku: utf8>>, n: int64";
    for (config, expected) in [
        (
            json!({ "column": "tag" }),
            "config key `column`: no column `tag` reaches the stage; the columns there are: tags, items, n",
        ),
        (json!({ "column": "n" }), "config key `column`: column `n` is int64; it takes a list<..>"),
        (
            json!({ "column": "tags", "fields": {} }),
            "config key `fields`: the items are utf8, not structs: take `fields` away",
        ),
        (
            json!({ "column": "items", "fields": { "skus": "s" } }),
            "config key `fields.skus`: the items have no such field; they have: sku",
        ),
        (
            json!({ "column": "items", "fields": {}, "into": "x" }),
            "config key `into`: with `fields` each field has its own column: take `into` away",
        ),
        (
            json!({ "column": "tags", "index": "tags" }),
            "config key `index`: column `tags` is already written by another key",
        ),
        (
            json!({ "column": "tags", "empty": "drop" }),
            "config key `empty`: unknown variant `drop`, expected `keep` or `filter`",
        ),
    ] {
        let error = testing::Setup::new(config).columns(columns).configure::<Explode>().unwrap_err();
        assert_eq!(error, expected);
    }
}
