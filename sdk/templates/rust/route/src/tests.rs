use millstream_sdk::{json, testing};

use super::*;

#[test]
fn an_order_goes_by_its_amount() {
    let mut plugin = testing::configure::<MyPlugin>(json!({ "large_from": 100 })).expect("configured");
    let outcome = plugin.process(json!([{ "amount": "99.99" }, { "amount": "-1.00" }, { "amount": "100.00" }]));
    assert_eq!(outcome.routes(), [(0, "small"), (2, "large")]);
    assert_eq!(outcome.rejects(), [(1, "negative_amount", "-1.00")]);
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let error = testing::configure::<MyPlugin>(json!({ "large_from": 0 })).unwrap_err();
    assert_eq!(error, "config key `large_from`: from 0 on every order would be large");
}
