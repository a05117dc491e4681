use millstream_sdk::{json, testing};

use super::*;

#[test]
fn a_quarter_of_an_hour_is_late() {
    let mut plugin = testing::configure::<RouteFlights>(json!({ "delayed_minutes": 15 })).expect("configured");
    let departed = "2013-01-01T10:17:00Z";
    let outcome = plugin.process(json!([
        { "departed_at": departed, "arr_delay": 14 },
        { "departed_at": departed, "arr_delay": 15 },
        { "departed_at": departed, "arr_delay": -20 },
        {},
    ]));
    assert_eq!(outcome.routes(), [(0, "on_time"), (1, "delayed"), (2, "on_time"), (3, "cancelled")]);
}

#[test]
fn the_limit_has_to_be_given() {
    assert!(testing::configure::<RouteFlights>(json!({})).is_err());
}
