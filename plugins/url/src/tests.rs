use millstream_sdk::{json, testing};

use super::*;

fn all(url: &str) -> millstream_sdk::serde_json::Value {
    let config = json!({ "column": "url", "scheme": "scheme", "host": "host", "port": "port", "path": "path",
        "query": "query", "fragment": "fragment", "address": "clean", "parameters": { "q": "q" } });
    let mut plugin = testing::Setup::new(config).columns("url: utf8").configure::<Url>().unwrap();
    let outcome = plugin.process(json!([{ "url": url }]));
    assert_eq!(outcome.rejects(), [], "{url}");
    outcome.rows()[0].clone()
}

#[test]
fn an_address_is_taken_apart() {
    assert_eq!(
        all("HTTPS://me:pw@Shop.Example:8443/tea/p%201?utm_source=mail&q=a%20b+c&gclid=x&size=xl#top"),
        json!({ "scheme": "https", "host": "shop.example", "port": 8443, "path": "/tea/p%201", "query": "q=a%20b+c&size=xl",
            "fragment": "top", "clean": "HTTPS://me:pw@Shop.Example:8443/tea/p%201?q=a%20b+c&size=xl#top", "q": "a b c" })
    );
    assert_eq!(
        all("http://[2001:db8::1]:80?utm_medium=x"),
        json!({ "scheme": "http", "host": "[2001:db8::1]", "port": 80, "path": "", "query": null, "fragment": null,
            "clean": "http://[2001:db8::1]:80", "q": null })
    );
    assert_eq!(
        all("https://müller.example/ä|b?q#"),
        json!({ "scheme": "https", "host": "müller.example", "port": null, "path": "/ä|b", "query": "q", "fragment": "",
            "clean": "https://müller.example/ä|b?q#", "q": "" })
    );
}

#[test]
fn of_several_parameters_of_a_name_the_first_counts() {
    assert_eq!(all("a://b?x=1&q=1&q=2")["q"], "1");
    assert_eq!(all("a://b?%71=1")["q"], "1");
    assert_eq!(all("a://b?qq=1")["q"], json!(null));
}

const NO_ADDRESSES: [&str; 9] = [
    "",
    "shop.example/a",
    "https://",
    "https:///a",
    "https://a b/",
    "://a",
    "1://a",
    "https://a:port/",
    "https://a:70000/",
];

#[test]
fn what_is_no_address_is_rejected_or_null() {
    for url in NO_ADDRESSES {
        let rows = json!([{ "url": url }, { "url": "https://a" }, { "url": null }]);
        let config = json!({ "column": "url", "host": "host" });
        let mut plugin = testing::Setup::new(config).columns("url: utf8?").configure::<Url>().unwrap();
        let outcome = plugin.process(rows.clone());
        assert_eq!(outcome.rejects(), [(0, "bad_url", format!("column `url`: `{url}` is no address").as_str())]);
        assert_eq!(outcome.kept(), [(1, json!({ "host": "a" })), (2, json!({ "host": null }))]);
        let config = json!({ "column": "url", "host": "host", "invalid": "null" });
        let mut plugin = testing::Setup::new(config).columns("url: utf8?").configure::<Url>().unwrap();
        let hosts: Vec<_> = plugin.process(rows).rows().iter().map(|row| row["host"].clone()).collect();
        assert_eq!(hosts, [json!(null), json!("a"), json!(null)], "{url}");
    }
}

#[test]
fn a_column_is_nullable_only_where_it_can_be_null() {
    let nullable = |columns: &str, config| {
        let plugin = testing::Setup::new(config).columns(columns).configure::<Url>().unwrap();
        plugin.contract().writes.iter().map(|field| field.nullable).collect::<Vec<_>>()
    };
    let config = json!({ "column": "url", "host": "h", "query": "q", "parameters": { "id": "id" } });
    assert_eq!(nullable("url: utf8", config.clone()), [false, true, true]);
    assert_eq!(nullable("url: utf8?", config), [true, true, true]);
    assert_eq!(nullable("url: utf8", json!({ "column": "url", "host": "h", "invalid": "null" })), [true]);
}

#[test]
fn own_tracking_parameters_take_the_place_of_the_common_ones() {
    let config = json!({ "column": "url", "query": "query", "tracking": ["ref"] });
    let mut plugin = testing::Setup::new(config).columns("url: utf8").configure::<Url>().unwrap();
    let outcome = plugin.process(json!([{ "url": "https://a/?referrer=x&utm_source=y" }]));
    assert_eq!(outcome.rows(), [json!({ "query": "utm_source=y" })]);
}

#[test]
fn a_wrong_config_says_where_and_what() {
    let error = |columns: &str, config| testing::Setup::new(config).columns(columns).configure::<Url>().unwrap_err();
    for (config, expected) in [
        (
            json!({ "column": "uri", "host": "h" }),
            "config key `column`: no column `uri` reaches the stage; the columns there are: url, n",
        ),
        (json!({ "column": "n", "host": "h" }), "config key `column`: column `n` is int64; an address is utf8"),
        (
            json!({ "column": "url", "host": "h", "path": "h" }),
            "config key `path`: column `h` is already written by another key",
        ),
        (
            json!({ "column": "url" }),
            "config: it asks for no part: name columns, such as host = \"host\" and path = \"path\"",
        ),
        (
            json!({ "column": "url", "query": "q", "tracking": [""] }),
            "config key `tracking`: an empty name would take every parameter off",
        ),
    ] {
        assert_eq!(error("url: utf8, n: int64", config), expected);
    }
    let unknown = error("url: utf8", json!({ "column": "url", "hots": "h" }));
    assert!(unknown.starts_with("config key `hots`: unknown field `hots`"), "{unknown}");
}
