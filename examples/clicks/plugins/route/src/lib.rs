//! Clicks to two outputs: purchases and views.

use millstream_sdk::prelude::*;

/// What a click's way depends on.
#[derive(Input)]
pub struct Click<'a> {
    kind: &'a str,
}

/// The outputs.
#[derive(Routes, Debug, Clone, Copy, PartialEq)]
pub enum To {
    /// Something was bought.
    Purchases,
    /// A page was looked at.
    Views,
}

/// The stage.
pub struct RouteClicks;

impl<'a> Route<'a> for RouteClicks {
    type Config = ();
    type In = Click<'a>;
    type To = To;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn route(&mut self, click: Click<'a>) -> Result<Emit<To>, Reject> {
        match click.kind {
            "view" => Ok(Emit::one(To::Views)),
            "purchase" => Ok(Emit::one(To::Purchases)),
            other => Err(Reject::new("unknown_kind", other)),
        }
    }
}

millstream_sdk::export!(RouteClicks);

#[cfg(test)]
mod tests;
