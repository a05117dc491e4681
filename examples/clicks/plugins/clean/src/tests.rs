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
        ("https://shop.example/tea/p1", "shop.example", "/tea/p1", None),
        ("http://shop.example", "shop.example", "", None),
        ("https://shop.example?page=2", "shop.example", "", Some("page=2")),
        (
            "https://shop.example/a?utm_source=mail&color=red&gclid=x&size=xl",
            "shop.example",
            "/a",
            Some("color=red&size=xl"),
        ),
        ("https://shop.example/a?utm_source=mail", "shop.example", "/a", None),
        ("https://shop.example/a?q=b/c://d", "shop.example", "/a", Some("q=b/c://d")),
    ] {
        let cleaned = json!({ "host": host, "path": path, "query": query });
        assert_eq!(outcome(url, "Firefox").rows(), [cleaned], "{url}");
    }
}

#[test]
fn bots_are_filtered_however_many_agents_there_were() {
    assert_eq!(outcome("https://shop.example/", "Googlebot/2.1").filtered(), [(0, "bot")]);
    let config = Config { bots: vec!["bot".to_owned()], tracking: Vec::new() };
    let mut stage = CleanClicks::new(config).expect("configured");
    for number in 0..=MOST_AGENTS {
        assert!(!stage.is_bot(&format!("Agent {number}")));
        assert!(stage.is_bot("robot"));
    }
    assert!(stage.agents.len() <= MOST_AGENTS);
    assert!(stage.is_bot("another bot"));
}

#[test]
fn an_address_without_a_host_is_rejected() {
    let outcome = outcome("/tea/p1?utm_source=mail", "Firefox");
    assert_eq!(outcome.rejects().iter().map(|reject| reject.1).collect::<Vec<_>>(), ["bad_url"]);
}
