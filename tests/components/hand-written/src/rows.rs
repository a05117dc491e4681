//! Cleaning, addresses, routing and lists by hand.

use millstream_sdk::prelude::*;
use percent_encoding::percent_decode_str;

/// Text as it comes.
#[derive(Input)]
pub struct Dirty<'a> {
    email: Option<&'a str>,
    age: Option<&'a str>,
    placed: &'a str,
    price: &'a str,
    country: Option<&'a str>,
}

/// Types as they should be.
#[derive(Output)]
pub struct Cleaned {
    email: String,
    age: Option<i16>,
    placed: Timestamp,
    #[column(type = "decimal(8,2)")]
    price: Decimal,
    country: String,
}

/// The stage.
pub struct Clean;

impl<'a> Transform<'a> for Clean {
    type Config = ();
    type In = Dirty<'a>;
    type Out = Cleaned;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, order: Dirty<'a>) -> Result<Emit<Cleaned>, Reject> {
        let email = order.email.ok_or_else(|| Reject::new("missing", "email"))?;
        let price: Decimal = order.price.parse().or_reject("bad_cast")?;
        if price < Decimal::new(1, 2) {
            return Err(Reject::new("out_of_range", order.price));
        }
        Ok(Emit::one(Cleaned {
            email: email.trim().to_lowercase(),
            age: order.age.and_then(|age| age.trim().parse().ok()).filter(|age| (0..=120).contains(age)),
            placed: order.placed.parse().or_reject("bad_cast")?,
            price,
            country: match order.country.map(str::trim) {
                None | Some("") => "??".to_owned(),
                Some(country) => country.to_uppercase(),
            },
        }))
    }
}

/// An address.
#[derive(Input)]
pub struct Visit<'a> {
    url: &'a str,
}

/// Its parts.
#[derive(Output)]
pub struct Parts<'a> {
    #[column(dictionary)]
    host: Cow<'a, str>,
    path: &'a str,
    query: Option<Cow<'a, str>>,
    search: Option<Cow<'a, str>>,
}

/// The stage.
pub struct Url;

const TRACKING: [&str; 12] = [
    "utm_", "gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "mc_eid", "mc_cid", "igshid",
];

impl<'a> Transform<'a> for Url {
    type Config = ();
    type In = Visit<'a>;
    type Out = Parts<'a>;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, visit: Visit<'a>) -> Result<Emit<Parts<'a>>, Reject> {
        let (_, address) = visit.url.split_once("://").ok_or_else(|| Reject::new("bad_url", visit.url))?;
        let address = address.split_once('#').map_or(address, |(address, _)| address);
        let (page, query) = address.split_once('?').unwrap_or((address, ""));
        let (host, path) = page.split_at(page.find('/').unwrap_or(page.len()));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let host = host.split_once(':').map_or(host, |(host, _)| host);
        let lower = host.bytes().any(|byte| byte.is_ascii_uppercase());
        let kept = query
            .split('&')
            .filter(|parameter| !parameter.is_empty() && !TRACKING.iter().any(|prefix| parameter.starts_with(prefix)));
        let search = query.split('&').find_map(|parameter| parameter.strip_prefix("q="));
        Ok(Emit::one(Parts {
            host: if lower { host.to_ascii_lowercase().into() } else { host.into() },
            path,
            query: kept.map(Cow::Borrowed).reduce(|query, parameter| Cow::Owned(format!("{query}&{parameter}"))),
            search: search.map(|value| match value.contains(['%', '+']) {
                true => percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned().into(),
                false => value.into(),
            }),
        }))
    }
}

/// What an order's way depends on.
#[derive(Input)]
pub struct Order<'a> {
    kind: &'a str,
    country: Option<&'a str>,
    user_id: i64,
}

/// The outputs.
#[derive(Routes)]
pub enum To {
    /// Something was bought.
    Purchases,
    /// A page was looked at.
    Views,
    /// The rest.
    Others,
}

/// The stage.
pub struct RouteOrders;

impl<'a> Route<'a> for RouteOrders {
    type Config = ();
    type In = Order<'a>;
    type To = To;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn route(&mut self, order: Order<'a>) -> Result<Emit<To>, Reject> {
        let near = order.country.is_some_and(|country| matches!(country, "de" | "fr" | "gb"));
        Ok(Emit::one(match order.kind {
            "refund" => return Err(Reject::new("refund", "")),
            "purchase" if near || order.user_id % 5 == 1 => To::Purchases,
            kind if kind.starts_with("vie") && order.country.is_some() => To::Views,
            _ => To::Others,
        }))
    }
}

/// A list.
#[derive(Input)]
pub struct Basket<'a> {
    items: Option<Vec<Item<'a>>>,
}

/// One of it.
#[derive(Struct)]
pub struct Item<'a> {
    sku: &'a str,
    quantity: Option<i32>,
}

/// A row for each.
#[derive(Output)]
pub struct Line<'a> {
    sku: Option<&'a str>,
    quantity: Option<i32>,
    line: Option<i32>,
}

/// The stage.
pub struct Explode;

impl<'a> Transform<'a> for Explode {
    type Config = ();
    type In = Basket<'a>;
    type Out = Line<'a>;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, basket: Basket<'a>) -> Result<Emit<Line<'a>>, Reject> {
        let items = basket.items.unwrap_or_default();
        if items.is_empty() {
            return Ok(Emit::one(Line { sku: None, quantity: None, line: None }));
        }
        let numbered = (0..).zip(items);
        Ok(Emit::many(numbered.map(|(line, item)| Line {
            sku: Some(item.sku),
            quantity: item.quantity,
            line: Some(line),
        })))
    }
}
