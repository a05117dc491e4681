use millstream_sdk::serde_json::Value;
use millstream_sdk::{json, testing};

use super::*;

fn enriched(flight: Value) -> Value {
    let airports = json!([{ "faa": "HNL", "tz": -10 }]);
    let planes = json!([
        { "tailnum": "N66051", "year": 1987, "manufacturer": "BOEING" },
        { "tailnum": "N10156", "manufacturer": "EMBRAER" },
    ]);
    let mut plugin = testing::Setup::new(json!({}))
        .table("airports", "faa: utf8", "tz: int32", airports)
        .table("planes", "tailnum: utf8", "year: int32?, manufacturer: utf8", planes)
        .configure::<EnrichFlights>()
        .expect("no configuration is needed");
    plugin.process(json!([flight])).rows().remove(0)
}

#[test]
fn an_arrival_is_read_from_the_clocks_of_the_destination() {
    // New York 18:25 to Honolulu 23:14, five hours behind.
    let flight = enriched(json!({
        "year": 2013, "departed_at": "2013-01-01T23:25:00Z", "arr_time": 2314, "air_time": 570, "distance": 4963,
        "dest": "HNL", "tailnum": "N66051",
    }));
    let expected =
        json!({ "arrived_at": "2013-01-02T09:14:00Z", "speed": 522, "manufacturer": "BOEING", "plane_age": 26 });
    assert_eq!(flight, expected);
}

#[test]
fn what_is_in_no_table_stays_null() {
    let flight = enriched(json!({
        "year": 2013, "departed_at": "2013-01-01T23:25:00Z", "arr_time": 412, "air_time": 200, "distance": 1598,
        "dest": "SJU",
    }));
    assert_eq!(flight, json!({ "arrived_at": null, "speed": 479, "manufacturer": null, "plane_age": null }));
}

#[test]
fn a_plane_of_unknown_year_has_no_age() {
    let flight = enriched(json!({ "year": 2013, "distance": 200, "dest": "BOS", "tailnum": "N10156" }));
    assert_eq!(flight, json!({ "arrived_at": null, "speed": null, "manufacturer": "EMBRAER", "plane_age": null }));
}
