//! A click's address becomes host, path and query, without what only tracks people; bots leave the stream.

use millstream_sdk::prelude::*;
use rustc_hash::FxHashMap;

/// What is cleaned.
#[derive(Input)]
pub struct Click<'a> {
    url: &'a str,
    user_agent: &'a str,
}

/// The parts of the address.
#[derive(Output, Debug, PartialEq)]
pub struct Cleaned<'a> {
    #[column(dictionary)]
    host: &'a str,
    path: &'a str,
    query: Option<Cow<'a, str>>,
}

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// An agent that has one of these in its name is a bot.
    bots: Vec<String>,
    /// A parameter that begins with one of these is left out.
    tracking: Vec<String>,
}

/// The stage.
pub struct CleanClicks {
    config: Config,
    /// What was found out about agents: there are few, and each comes often.
    agents: FxHashMap<String, bool>,
}

const MOST_AGENTS: usize = 10_000;

impl<'a> Transform<'a> for CleanClicks {
    type Config = Config;
    type In = Click<'a>;
    type Out = Cleaned<'a>;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { config, agents: FxHashMap::default() })
    }

    fn transform(&mut self, click: Click<'a>) -> Result<Emit<Cleaned<'a>>, Reject> {
        if self.is_bot(click.user_agent) {
            return Ok(Emit::none("bot"));
        }
        let behind_scheme = click.url.split_once(':').and_then(|(_, address)| address.strip_prefix("//"));
        let address = behind_scheme.ok_or_else(|| Reject::new("bad_url", click.url))?;
        let (page, query) = address.split_once('?').unwrap_or((address, ""));
        let (host, path) = page.split_at(page.find('/').unwrap_or(page.len()));
        Ok(Emit::one(Cleaned { host, path, query: self.without_tracking(query) }))
    }
}

impl CleanClicks {
    fn is_bot(&mut self, agent: &str) -> bool {
        if let Some(bot) = self.agents.get(agent) {
            return *bot;
        }
        let bot = self.config.bots.iter().any(|name| agent.contains(name));
        if self.agents.len() < MOST_AGENTS {
            self.agents.insert(agent.to_owned(), bot);
        }
        bot
    }

    fn without_tracking<'a>(&self, query: &'a str) -> Option<Cow<'a, str>> {
        let tracks = |parameter: &str| self.config.tracking.iter().any(|prefix| parameter.starts_with(prefix));
        let kept = query.split('&').filter(|parameter| !parameter.is_empty() && !tracks(parameter));
        kept.map(Cow::Borrowed).reduce(|query, parameter| Cow::Owned(format!("{query}&{parameter}")))
    }
}

millstream_sdk::export!(CleanClicks);

#[cfg(test)]
mod tests;
