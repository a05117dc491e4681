use millstream_sdk::{json, testing};

use super::*;

fn outcome(url: &str, user_agent: &str) -> testing::Outcome {
    let config = json!({ "bots": ["bot", "curl/"], "tracking": ["utm_", "gclid"] });
    let mut plugin = testing::configure::<CleanClicks>(config).expect("configured");
    plugin.process(json!([{ "url": url, "user_agent": user_agent }]))
}

#[test]
fn an_address_is_taken_apart() {
    for (url, host, path, query) in [
        ("https://shop.example/tea/p1", "shop.example", "/tea/p1", json!(null)),
        ("http://shop.example", "shop.example", "", json!(null)),
        ("https://shop.example?page=2", "shop.example", "", json!("page=2")),
        ("https://shop.example/a?utm_source=mail&color=red&gclid=x&size=xl", "shop.example", "/a", json!("color=red&size=xl")),
        ("https://shop.example/a?utm_source=mail", "shop.example", "/a", json!(null)),
        ("https://shop.example/a?q=b/c://d", "shop.example", "/a", json!("q=b/c://d")),
    ] {
        let cleaned = json!({ "host": host, "path": path, "query": query });
        assert_eq!(outcome(url, "Firefox").kept, [(0, cleaned)], "{url}");
    }
}

#[test]
fn bots_are_filtered_and_remembered() {
    assert_eq!(outcome("https://shop.example/", "Googlebot/2.1").filtered, [(0, "bot")]);
    let config = Config { bots: vec!["bot".to_owned()], tracking: Vec::new() };
    let mut stage = CleanClicks::new(config).expect("configured");
    for number in 0..=MOST_AGENTS {
        assert!(!stage.is_bot(&format!("Agent {number}")));
        assert!(stage.is_bot("robot"));
    }
    assert!(stage.agents.len() <= MOST_AGENTS);
}

#[test]
fn an_address_without_a_host_is_rejected() {
    let rejects = outcome("/tea/p1?utm_source=mail", "Firefox").rejects;
    assert_eq!((rejects.len(), rejects[0].1.as_str()), (1, "bad_url"));
}
