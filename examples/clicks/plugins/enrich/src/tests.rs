use millstream_sdk::{json, testing};

use super::*;

#[test]
fn a_plan_lowers_the_price_and_gaps_stay_null() {
    let users = json!([{ "user_id": 1, "country": "DE", "plan": "pro" }, { "user_id": 2, "plan": "free" }]);
    let urls =
        json!([{ "path": "/tea", "category": "tea", "price_cents": 999 }, { "path": "/help", "category": "help" }]);
    let mut plugin = testing::Setup::new(json!({ "discounts": { "pro": 15 } }))
        .table("users", "user_id: int64", "country: utf8?, plan: utf8", users)
        .table("urls", "path: utf8", "category: utf8, price_cents: int32?", urls)
        .configure::<EnrichClicks>()
        .expect("configured");
    let outcome = plugin.process(json!([
        { "user_id": 1, "path": "/tea" },
        { "user_id": 2, "path": "/tea" },
        { "user_id": 3, "path": "/help" },
        { "user_id": 3, "path": "/search" },
    ]));
    let row = |country, plan, category, offer| json!({ "country": country, "plan": plan, "category": category, "offer_cents": offer });
    assert_eq!(
        outcome.rows(),
        [
            row(Some("DE"), Some("pro"), Some("tea"), Some(849)),
            row(None, Some("free"), Some("tea"), Some(999)),
            row(None, None, Some("help"), None),
            row(None, None, None, None),
        ]
    );
}

#[test]
fn a_discount_above_the_price_is_refused() {
    assert!(testing::configure::<EnrichClicks>(json!({ "discounts": { "pro": 101 } })).is_err());
}
