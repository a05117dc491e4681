//! Who clicked, on what, and the price that this user is offered: from two tables that the host looks up.

use std::collections::BTreeMap;

use millstream_sdk::prelude::*;

/// A click with its user and its page; either may be missing from its table.
#[derive(Input)]
pub struct Click<'a> {
    #[lookup(table = "users", key = "user_id")]
    user: Option<User<'a>>,
    #[lookup(table = "urls", key = "path")]
    page: Option<Page<'a>>,
}

/// A user; the country is not always known.
#[derive(Lookup)]
pub struct User<'a> {
    country: Option<&'a str>,
    plan: &'a str,
}

/// A page; not every page sells something.
#[derive(Lookup)]
pub struct Page<'a> {
    category: &'a str,
    price_cents: Option<i32>,
}

/// What the click gains.
#[derive(Output, Debug, PartialEq)]
pub struct Enriched<'a> {
    #[column(dictionary)]
    country: Option<&'a str>,
    #[column(dictionary)]
    plan: Option<&'a str>,
    #[column(dictionary)]
    category: Option<&'a str>,
    offer_cents: Option<i32>,
}

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// Percent off by plan; other plans, and people who are no users, pay the full price.
    discounts: BTreeMap<String, i32>,
}

/// The stage.
pub struct EnrichClicks {
    config: Config,
}

impl<'a> Transform<'a> for EnrichClicks {
    type Config = Config;
    type In = Click<'a>;
    type Out = Enriched<'a>;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.discounts.values().any(|percent| !(0..=100).contains(percent)) {
            return Err(ConfigError::key("discounts", "a discount is 0 to 100 percent"));
        }
        Ok(Self { config })
    }

    fn transform(&mut self, click: Click<'a>) -> Result<Emit<Enriched<'a>>, Reject> {
        let plan = click.user.as_ref().map(|user| user.plan);
        let percent = 100 - plan.and_then(|plan| self.config.discounts.get(plan)).unwrap_or(&0);
        let price_cents = click.page.as_ref().and_then(|page| page.price_cents);
        Ok(Emit::one(Enriched {
            country: click.user.as_ref().and_then(|user| user.country),
            plan,
            category: click.page.as_ref().map(|page| page.category),
            offer_cents: price_cents.map(|cents| (i64::from(cents) * i64::from(percent) / 100) as i32),
        }))
    }
}

millstream_sdk::export!(EnrichClicks);

#[cfg(test)]
mod tests;
