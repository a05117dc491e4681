use millstream_sdk::serde_json::Value;
use millstream_sdk::{json, testing};

use super::*;

fn enriched(flight: Value) -> Value {
    let mut plugin = testing::configure::<EnrichFlights>(json!({})).expect("no configuration is needed");
    let outcome = plugin.process(json!([flight]));
    outcome.kept.into_iter().next().expect("every flight is kept").1
}

#[test]
fn an_arrival_is_read_from_the_clocks_of_the_destination() {
    // New York 18:25 to Honolulu 23:14, five hours behind: 9 hours and 49 minutes.
    let flight = enriched(json!({
        "year": 2013, "departed_at": "2013-01-01T23:25:00Z", "arr_time": 2314, "air_time": 570, "distance": 4963,
        "destination": { "tz": -10 }, "plane": { "year": 1987, "manufacturer": "BOEING" },
    }));
    let expected = json!({
        "arrived_at": "2013-01-02T09:14:00Z", "mph": 522, "manufacturer": "BOEING", "plane_age": 26,
    });
    assert_eq!(flight, expected);
}

#[test]
fn what_is_in_no_table_stays_null() {
    let flight = enriched(json!({
        "year": 2013, "departed_at": "2013-01-01T23:25:00Z", "arr_time": 412, "air_time": 200, "distance": 1598,
    }));
    let expected = json!({ "arrived_at": null, "mph": 479, "manufacturer": null, "plane_age": null });
    assert_eq!(flight, expected);
}

#[test]
fn a_plane_of_unknown_year_has_no_age() {
    let flight = enriched(json!({
        "year": 2013, "distance": 200, "plane": { "manufacturer": "EMBRAER" },
    }));
    assert_eq!((&flight["manufacturer"], &flight["plane_age"]), (&json!("EMBRAER"), &Value::Null));
}
