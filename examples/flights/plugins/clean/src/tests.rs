use millstream_sdk::{json, testing};

use super::*;

fn outcome(flight: millstream_sdk::serde_json::Value) -> testing::Outcome {
    let mut plugin = testing::configure::<CleanFlights>(json!({})).expect("no configuration is needed");
    plugin.process(json!([flight]))
}

#[test]
fn a_late_departure_may_be_on_the_next_day() {
    let outcome = outcome(json!({
        "time_hour": "2013-01-10T01:00:00Z", "sched_dep_time": 2030, "dep_time": 2400, "dep_delay": 210,
        "arr_time": 312, "arr_delay": 195,
    }));
    let cleaned = json!({ "scheduled_at": "2013-01-10T01:30:00Z", "departed_at": "2013-01-10T05:00:00Z" });
    assert_eq!(outcome.kept(), [(0, cleaned)]);
}

#[test]
fn a_cancelled_flight_stays_without_a_departure() {
    let outcome = outcome(json!({ "time_hour": "2013-01-01T21:00:00Z", "sched_dep_time": 1630 }));
    assert_eq!(outcome.kept(), [(0, json!({ "scheduled_at": "2013-01-01T21:30:00Z", "departed_at": null }))]);
}

#[test]
fn a_diverted_flight_is_filtered() {
    let outcome = outcome(json!({
        "time_hour": "2013-01-01T20:00:00Z", "sched_dep_time": 1530, "dep_time": 1525, "dep_delay": -5, "arr_time": 1934,
    }));
    assert_eq!(outcome.filtered(), [(0, "diverted")]);
}

#[test]
fn a_flight_that_never_arrived_and_a_clock_that_disagrees_are_rejected() {
    let flight =
        json!({ "time_hour": "2013-01-02T00:00:00Z", "sched_dep_time": 1930, "dep_time": 2016, "dep_delay": 46 });
    assert_eq!(outcome(flight).rejects(), [(0, "no_arrival", "departed at 2016 and never arrived")]);
    let flight =
        json!({ "time_hour": "2013-01-02T00:00:00Z", "sched_dep_time": 1930, "dep_time": 2016, "dep_delay": 45 });
    assert_eq!(outcome(flight).rejects(), [(0, "clock_mismatch", "1930 and 45 minutes are not 2016")]);
}
