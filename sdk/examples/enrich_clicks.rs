//! The plugin of the crate's page, as a crate of its own would hold it.
//!
//! `cargo build --release --target wasm32-wasip2 -p millstream-sdk --example enrich_clicks`

use millstream_sdk::prelude::*;

/// What the stage reads.
#[derive(Input, Debug)]
pub struct Click<'a> {
    url: &'a str,
    #[column("user_agent")]
    agent: Option<&'a str>,
    #[lookup(table = "users", key = "user_id")]
    user: Option<User<'a>>,
}

/// What it looks up.
#[derive(Lookup, Debug)]
pub struct User<'a> {
    country: Option<&'a str>,
    plan: &'a str,
}

/// What it writes.
#[derive(Output, Debug, PartialEq)]
pub struct Enriched<'a> {
    host: Cow<'a, str>,
    path: &'a str,
    #[column(dictionary)]
    country: Option<&'a str>,
    paying: bool,
}

/// The stage's table of the pipeline file.
#[config]
pub struct Config {
    /// Parts of user agents whose clicks are left out.
    bots: Vec<String>,
}

/// Takes addresses apart, leaves bots out and adds the user's country.
pub struct EnrichClicks {
    bots: Vec<String>,
}

impl<'a> Transform<'a> for EnrichClicks {
    type Config = Config;
    type In = Click<'a>;
    type Out = Enriched<'a>;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.bots.iter().any(String::is_empty) {
            return Err(ConfigError::key("bots", "an empty name would match everything"));
        }
        Ok(Self { bots: config.bots })
    }

    fn transform(&mut self, click: Click<'a>) -> Result<Emit<Enriched<'a>>, Reject> {
        let agent = click.agent.unwrap_or_default();
        if self.bots.iter().any(|bot| agent.contains(bot)) {
            return Ok(Emit::none("bot"));
        }
        let (host, path) = split(click.url).ok_or_else(|| Reject::new("bad_url", click.url))?;
        Ok(Emit::one(Enriched {
            host,
            path,
            country: click.user.as_ref().and_then(|user| user.country),
            paying: click.user.is_some_and(|user| user.plan != "free"),
        }))
    }
}
millstream_sdk::export!(EnrichClicks);

/// Host, in lower case, and path of an address.
fn split(url: &str) -> Option<(Cow<'_, str>, &str)> {
    let (_, rest) = url.split_once("://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some((host.to_ascii_lowercase().into(), path));
    }
    Some((host.into(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage is called like any function.
    #[test]
    fn an_address_is_taken_apart() {
        let mut stage = EnrichClicks { bots: Vec::new() };
        let user = Some(User { country: Some("DE"), plan: "free" });
        let enriched = stage.transform(Click { url: "https://Example.com/a", agent: None, user });
        let expected = Enriched { host: "example.com".into(), path: "/a", country: Some("DE"), paying: false };
        assert_eq!(enriched, Ok(Emit::one(expected)));
    }
}
