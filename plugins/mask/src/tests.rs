use millstream_sdk::{json, testing};

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn mask_one(
    logical: &str,
    how: millstream_sdk::serde_json::Value,
    value: millstream_sdk::serde_json::Value,
) -> millstream_sdk::serde_json::Value {
    let config = json!({ "key": KEY, "columns": { "x": how } });
    let mut plugin = testing::Setup::new(config).columns(&format!("x: {logical}")).configure::<MaskStage>().unwrap();
    plugin.process(json!([{ "x": value }])).rows()[0]["x"].clone()
}

/// Made with `printf %s VALUE | openssl dgst -sha256 -mac HMAC -macopt key:KEY`.
#[test]
fn a_token_is_the_begin_of_an_hmac() {
    for (logical, value, expected) in [
        ("utf8", json!("anna@example.com"), "b4f91fcf9c0343c2df41d24673fe622da415a20647f9bdc0ac943f67d4afa59f"),
        ("utf8?", json!(""), ""),
    ] {
        let all = mask_one(logical, json!({ "way": "tokenize", "bytes": 32 }), value.clone());
        let short = mask_one(logical, json!("tokenize"), value.clone());
        assert_eq!(all.as_str().unwrap().len(), 64);
        assert_eq!(short.as_str().unwrap(), &all.as_str().unwrap()[..32]);
        if !expected.is_empty() {
            assert_eq!(all, json!(expected));
        }
    }
}

#[test]
fn numbers_and_uuids_get_the_tokens_of_their_text() {
    for way in ["tokenize", "hash"] {
        let of_text = |text: &str| mask_one("utf8", json!(way), json!(text));
        assert_eq!(mask_one("int64", json!(way), json!(-42)), of_text("-42"));
        assert_eq!(mask_one("int8?", json!(way), json!(7)), of_text("7"));
        assert_eq!(mask_one("binary", json!(way), json!("3432")), of_text("42"));
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(mask_one("uuid", json!(way), json!(uuid)), of_text(uuid));
        assert_eq!(mask_one("utf8?", json!(way), json!(null)), json!(null));
    }
}

#[test]
fn a_domain_gives_other_tokens_and_hashes() {
    for way in ["tokenize", "hash"] {
        let plain = mask_one("utf8", json!(way), json!("a"));
        let one = mask_one("utf8", json!({ "way": way, "domain": "one" }), json!("a"));
        let two = mask_one("utf8", json!({ "way": way, "domain": "two" }), json!("a"));
        assert!(plain != one && one != two && plain != two, "{plain} {one} {two}");
    }
}

#[test]
fn a_dropped_column_is_null_or_a_text_and_does_not_cross() {
    let config = json!({ "columns": { "name": "drop", "tags": "drop", "note": { "way": "drop", "with": "(gone)" } } });
    let columns = "name: utf8, tags: list<struct<a: int8>>, note: utf8?";
    let mut plugin = testing::Setup::new(config).columns(columns).configure::<MaskStage>().unwrap();
    assert_eq!(plugin.contract().reads, []);
    let nullable: Vec<bool> = plugin.contract().writes.iter().map(|field| field.nullable).collect();
    assert_eq!(nullable, [true, false, true]);
    let outcome = plugin.process(json!([{}, {}]));
    assert_eq!(outcome.rows(), vec![json!({ "name": null, "note": "(gone)", "tags": null }); 2]);
}

#[test]
fn an_ip_address_loses_its_last_bits() {
    for (address, expected) in [
        ("192.168.17.200", "192.168.17.0"),
        ("::ffff:192.168.17.200", "192.168.17.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::1", "::"),
    ] {
        assert_eq!(mask_one("utf8", json!("truncate_ip"), json!(address)), json!(expected));
    }
    let how = json!({ "way": "truncate_ip", "v4": 0, "v6": 128 });
    assert_eq!(mask_one("utf8", how.clone(), json!("8.8.8.8")), json!("0.0.0.0"));
    assert_eq!(mask_one("utf8", how, json!("2001:DB8::1")), json!("2001:db8::1"));
}

#[test]
fn what_is_no_address_is_rejected_without_being_shown() {
    let rows = json!([{ "ip": "10.0.0.999" }, { "ip": null }, { "ip": "10.1.2.3" }]);
    let config = json!({ "columns": { "ip": "truncate_ip" } });
    let mut plugin = testing::Setup::new(config).columns("ip: utf8?").configure::<MaskStage>().unwrap();
    let outcome = plugin.process(rows.clone());
    assert_eq!(outcome.rejects(), [(0, "bad_ip", "column `ip` holds no IP address")]);
    assert_eq!(outcome.kept(), [(1, json!({ "ip": null })), (2, json!({ "ip": "10.1.2.0" }))]);
    let config = json!({ "columns": { "ip": { "way": "truncate_ip", "invalid": "null" } } });
    let mut plugin = testing::Setup::new(config).columns("ip: utf8?").configure::<MaskStage>().unwrap();
    let outcome = plugin.process(rows);
    assert_eq!(outcome.rows(), [json!({ "ip": null }), json!({ "ip": null }), json!({ "ip": "10.1.2.0" })]);
}

#[test]
fn a_wrong_config_says_where_and_what_and_never_the_key() {
    let error =
        |config| testing::Setup::new(config).columns("a: utf8, f: float64").configure::<MaskStage>().unwrap_err();
    for (config, expected) in [
        (json!({ "columns": {} }), "config key `columns`: name the columns: columns = { email = \"tokenize\" }"),
        (
            json!({ "columns": { "b": "drop" } }),
            "config key `columns.b`: no column `b` reaches the stage; the columns there are: a, f",
        ),
        (
            json!({ "columns": { "a": "hash" } }),
            "config key `key`: `columns.a` needs a key: key = { secret = \"NAME\" }, the name of an environment variable",
        ),
        (
            json!({ "key": "hunter2", "columns": { "a": "hash" } }),
            "config key `key`: it has 7 bytes, and a key has 16 or more: `openssl rand -hex 32` makes one",
        ),
        (
            json!({ "key": KEY, "columns": { "f": "hash" } }),
            "config key `columns.f`: column `f` is float64; hash and tokenize are for utf8, binary, uuid and the int types",
        ),
        (
            json!({ "columns": { "a": { "way": "truncate_ip", "v4": 33 } } }),
            "config key `columns.a.v4`: 33 is not from 0 to 32",
        ),
        (
            json!({ "key": KEY, "columns": { "a": { "way": "hash", "v4": 3 } } }),
            "config key `columns.a.v4`: it is for truncate_ip: take it away",
        ),
        (
            json!({ "columns": { "f": { "way": "drop", "with": "-" } } }),
            "config key `columns.f`: column `f` is float64, so no text can stand there: take `with` away",
        ),
        (
            json!({ "columns": { "a": "hide" } }),
            "config key `columns.a`: unknown variant `hide`, expected one of `drop`, `hash`, `tokenize`, `truncate_ip`",
        ),
        (
            json!({ "columns": { "a": { "way": "drop", "wiht": 1 } } }),
            "config key `columns.a.wiht`: unknown field `wiht`, expected one of `way`, `with`, `bytes`, `domain`, `v4`, `v6`, `invalid`",
        ),
    ] {
        let said = error(config);
        assert_eq!(said, expected);
        assert!(!said.contains(KEY) && !said.contains("hunter2"));
    }
}
