use millstream_sdk::{json, testing};

use super::*;

#[test]
fn a_text_is_measured_in_characters() {
    let mut plugin = testing::Setup::new(json!({ "column": "title", "length": "title_length" }))
        .columns("id: int64, title: utf8?")
        .configure::<MyPlugin>()
        .expect("configured");
    let outcome = plugin.process(json!([{ "title": "grüße" }, { "title": null }, { "title": "" }]));
    let lengths: Vec<_> = outcome.rows().iter().map(|row| row["title_length"].clone()).collect();
    assert_eq!(lengths, [json!(5), json!(null), json!(0)]);
}

#[test]
fn a_column_that_is_not_there_is_refused() {
    let setup = testing::Setup::new(json!({ "column": "name", "length": "n" })).columns("title: utf8");
    assert_eq!(setup.configure::<MyPlugin>().unwrap_err(), "config key `column`: there is no column `name`");
}
