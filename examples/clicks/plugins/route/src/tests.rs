use millstream_sdk::{json, testing};

use super::*;

#[test]
fn each_kind_has_its_output_and_others_are_rejected() {
    let mut plugin = testing::configure::<RouteClicks>(json!({})).expect("no configuration is needed");
    let outcome = plugin.process(json!([{ "kind": "purchase" }, { "kind": "hover" }, { "kind": "view" }]));
    assert_eq!(outcome.routes(), [(0, "purchases"), (2, "views")]);
    assert_eq!(outcome.rejects(), [(1, "unknown_kind", "hover")]);
}
