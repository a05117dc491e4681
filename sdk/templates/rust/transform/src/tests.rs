use millstream_sdk::{json, testing};

use super::*;

fn outcome(email: &str) -> testing::Outcome {
    let mut plugin = testing::configure::<MyPlugin>(json!({ "own_domain": "example.com" })).expect("configured");
    plugin.process(json!([{ "email": email }]))
}

#[test]
fn an_address_becomes_lower_case_and_gives_its_domain() {
    let cleaned = json!({ "email": "ada@lovelace.org", "domain": "lovelace.org" });
    assert_eq!(outcome(" Ada@Lovelace.org ").rows(), [cleaned]);
}

#[test]
fn our_own_people_are_left_out() {
    assert_eq!(outcome("bob@example.com").filtered(), [(0, "own")]);
}

#[test]
fn what_is_no_address_is_rejected() {
    assert_eq!(outcome("nobody").rejects(), [(0, "bad_email", "nobody")]);
}

#[test]
fn a_domain_with_an_at_sign_is_refused() {
    let error = testing::configure::<MyPlugin>(json!({ "own_domain": "@example.com" })).unwrap_err();
    assert_eq!(error, "config key `own_domain`: a domain has no `@`");
}
