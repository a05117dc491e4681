//! A stage's `config`, and the secrets in it.
//!
//! Promise: the value of `{ secret = "NAME" }` is seen by the plugin's `configure` and by nothing else. It holds because
//! everything that is printed, hashed or kept (the plan, its fingerprint, commits, footers, `Debug`) is made of the text in
//! which secrets are names; only [`StageConfig::resolved`] puts values in; and what a plugin says goes through
//! [`StageConfig::hide`], so that a plugin that repeats its config in an error or a log line does not tell it either.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::config_keys::ConfigKeys;

/// The key of a table that stands for a secret.
pub(super) const SECRET: &str = "secret";

/// Shorter lines of a secret that has several are no secrets by themselves: `-----`.
const LEAST_LINE_BYTES: usize = 8;

/// A stage's `config` as JSON, in which `{"secret": "NAME"}` stands for the value of a secret.
#[derive(Clone)]
pub struct StageConfig {
    text: Arc<str>,
    secrets: Arc<Secrets>,
    /// Where its keys stand; none when it is not the pipeline file's own.
    keys: Option<Arc<ConfigKeys>>,
}

/// The values of secrets by name. There is no way to print them.
#[derive(Clone, Default)]
pub(super) struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Adds a secret's value.
    pub fn add(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }
}

impl StageConfig {
    /// The pipeline file's config, with the values of the secrets that it names and the places of its keys.
    pub(super) fn new(config: &Value, secrets: Secrets, keys: ConfigKeys) -> Self {
        Self { text: config.to_string().into(), secrets: Arc::new(secrets), keys: Some(Arc::new(keys)) }
    }

    /// A config that names one secret.
    #[cfg(test)]
    pub(crate) fn with_secret(config: &Value, name: &str, value: &str) -> Self {
        let mut secrets = Secrets::default();
        secrets.add(name, value.to_owned());
        Self::new(config, secrets, ConfigKeys::default())
    }

    /// The config with secrets as names: what may be seen.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The config with the values of its secrets: for a plugin's `configure` only.
    pub(crate) fn resolved(&self) -> Cow<'_, str> {
        if self.secrets.0.is_empty() {
            return Cow::Borrowed(&self.text);
        }
        match serde_json::from_str::<Value>(&self.text) {
            Ok(mut config) => {
                children(&mut config).for_each(|child| self.resolve(child));
                config.to_string().into()
            }
            // It was written by this module.
            Err(_) => Cow::Borrowed(&self.text),
        }
    }

    fn resolve(&self, value: &mut Value) {
        match secret_name(value).and_then(|name| self.secrets.0.get(name)) {
            Some(secret) => *value = Value::String(secret.clone()),
            None => children(value).for_each(|child| self.resolve(child)),
        }
    }

    /// The config with secrets as names, as JSON.
    pub fn json(&self) -> Value {
        // It was written by this module, or by a test.
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Another config with the same secrets.
    pub fn changed(&self, config: &Value) -> Self {
        Self { text: config.to_string().into(), secrets: Arc::clone(&self.secrets), keys: None }
    }

    /// Whether it takes the place of the pipeline file's.
    pub fn is_changed(&self) -> bool {
        self.keys.is_none()
    }

    /// Where the key stands in the pipeline file that a refusal of the plugin's is about; none when that is not certain.
    pub fn key_of(&self, refusal: &str) -> Option<Range<usize>> {
        self.keys.as_ref()?.of_refusal(refusal)
    }

    /// A secret that a config names and this one does not: its value is not known here.
    pub fn unknown_secret(&self, config: &Value) -> Option<String> {
        if let Some(name) = secret_name(config) {
            return (!self.secrets.0.contains_key(name)).then(|| name.to_owned());
        }
        let mut config = config.clone();
        children(&mut config).find_map(|child| self.unknown_secret(child))
    }

    /// Whether there is anything to hide.
    pub(crate) fn has_secrets(&self) -> bool {
        !self.secrets.0.is_empty()
    }

    /// A text of the plugin's without the values of secrets, also as quotes write them.
    pub(crate) fn hide(&self, text: String) -> String {
        let mut text = text;
        for (name, value) in &self.secrets.0 {
            let quoted = [format!("{value:?}"), Value::String(value.clone()).to_string()];
            let inner = quoted.iter().map(|quoted| &quoted[1..quoted.len() - 1]);
            let lines = value.lines().filter(|line| line.len() >= LEAST_LINE_BYTES);
            for form in std::iter::once(value.as_str()).chain(inner).chain(lines) {
                if text.contains(form) {
                    text = text.replace(form, &format!("(secret {name})"));
                }
            }
        }
        text
    }
}

/// The name of the secret that a value stands for.
pub(super) fn secret_name(value: &Value) -> Option<&str> {
    let Value::Object(table) = value else { return None };
    table.get(SECRET).filter(|_| table.len() == 1)?.as_str()
}

fn children(value: &mut Value) -> Box<dyn Iterator<Item = &mut Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(table) => Box::new(table.values_mut()),
        _ => Box::new(std::iter::empty()),
    }
}

/// A config without secrets, as JSON.
impl From<&str> for StageConfig {
    fn from(text: &str) -> Self {
        Self { text: text.into(), secrets: Arc::default(), keys: Some(Arc::default()) }
    }
}

impl From<&String> for StageConfig {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Self> for StageConfig {
    fn from(config: &Self) -> Self {
        config.clone()
    }
}

/// As [`StageConfig::text`]: plans are printed and hashed in this form.
impl fmt::Debug for StageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VALUE: &str = "hush \"quoted\"\nsecond line";

    fn config() -> StageConfig {
        let mut secrets = Secrets::default();
        secrets.add("KEY", VALUE.to_owned());
        let config = json!({ "key": { "secret": "KEY" }, "list": [{ "secret": "KEY" }, 1], "more": { "secret": "KEY", "x": 1 } });
        StageConfig::new(&config, secrets, ConfigKeys::default())
    }

    #[test]
    fn only_configure_sees_the_value() {
        let config = config();
        let resolved: Value = serde_json::from_str(&config.resolved()).unwrap();
        assert_eq!(resolved["key"], VALUE);
        assert_eq!(resolved["list"], json!([VALUE, 1]));
        assert_eq!(resolved["more"]["secret"], "KEY", "a table with further keys is no secret");
        for seen in [format!("{config:?}"), config.text().to_owned()] {
            assert!(!seen.contains("hush") && seen.contains("KEY"), "{seen}");
        }
    }

    #[test]
    fn what_a_plugin_says_does_not_tell_it() {
        let config = config();
        for (said, shown) in [
            (format!("bad {VALUE}!"), "bad (secret KEY)!".to_owned()),
            (format!("string {VALUE:?}"), "string \"(secret KEY)\"".to_owned()),
            (format!("json {}", json!(VALUE)), "json \"(secret KEY)\"".to_owned()),
            ("the second line alone".to_owned(), "the (secret KEY) alone".to_owned()),
            ("nothing".to_owned(), "nothing".to_owned()),
        ] {
            assert_eq!(config.hide(said), shown);
        }
    }

    #[test]
    fn a_key_of_the_config_itself_is_no_secret() {
        let config =
            StageConfig::new(&json!({ "secret": "KEY" }), config().secrets.as_ref().clone(), ConfigKeys::default());
        assert_eq!(config.resolved(), config.text());
    }
}
