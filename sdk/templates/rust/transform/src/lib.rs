//! An e-mail address in lower case, and its domain; addresses of our own people leave the stream.

use millstream_sdk::prelude::*;

/// The columns that are read. They are checked against the pipeline before anything starts.
#[derive(Input)]
pub struct Event<'a> {
    email: &'a str,
}

/// The columns that are written: new ones, or in the place of those of the same name.
#[derive(Output, Debug, PartialEq)]
pub struct Cleaned {
    email: String,
    #[column(dictionary)]
    domain: String,
}

/// The stage's `config` in the pipeline file; unknown keys are refused.
#[config]
pub struct Config {
    /// Events with an address of this domain are left out.
    own_domain: String,
}

/// The stage.
pub struct MyPlugin {
    config: Config,
}

impl<'a> Transform<'a> for MyPlugin {
    type Config = Config;
    type In = Event<'a>;
    type Out = Cleaned;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.own_domain.contains('@') {
            return Err(ConfigError::key("own_domain", "a domain has no `@`"));
        }
        Ok(Self { config })
    }

    fn transform(&mut self, event: Event<'a>) -> Result<Emit<Cleaned>, Reject> {
        let email = event.email.trim().to_lowercase();
        let (_, domain) = email.split_once('@').ok_or_else(|| Reject::new("bad_email", event.email))?;
        if domain == self.config.own_domain {
            return Ok(Emit::none("own"));
        }
        let domain = domain.to_owned();
        Ok(Emit::one(Cleaned { email, domain }))
    }
}

millstream_sdk::export!(MyPlugin);

#[cfg(test)]
mod tests;
