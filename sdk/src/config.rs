//! A stage's config: its table of the pipeline file, typed by serde. A key that the config does not know is refused, at
//! any depth, whatever the author's derives say.

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::outcome::with_causes;

/// A stage's config. [`#[config]`](macro@crate::config) on a struct implements it; by hand it is
///
/// ```
/// use millstream_sdk::{Config, ConfigError, config};
/// use millstream_sdk::{schemars, serde, serde_json};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(crate = "millstream_sdk::serde")]
/// #[schemars(crate = "millstream_sdk::schemars")]
/// struct Limits {
///     max_bytes: u64,
/// }
///
/// impl Config for Limits {
///     fn from_json(config: serde_json::Value) -> Result<Self, ConfigError> {
///         config::read(config)
///     }
///
///     fn json_schema() -> Option<String> {
///         Some(config::schema::<Self>())
///     }
/// }
///
/// let error = Limits::from_json(serde_json::json!({ "max_bytes": "many" })).err().unwrap();
/// assert_eq!(error.to_string(), "config key `max_bytes`: invalid type: string \"many\", expected u64");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a config",
    label = "not a stage's config",
    note = "put #[config] on the struct; `()` takes no config"
)]
pub trait Config: Sized {
    /// Reads the config.
    fn from_json(config: Value) -> Result<Self, ConfigError>;

    /// The JSON schema, as JSON text; none when no config is taken.
    fn json_schema() -> Option<String>;
}

/// No config: every key is refused.
impl Config for () {
    fn from_json(config: Value) -> Result<Self, ConfigError> {
        match config {
            Value::Null => Ok(()),
            Value::Object(keys) => match keys.keys().next() {
                None => Ok(()),
                Some(key) => Err(ConfigError::key(key, "unknown key: this stage takes no config")),
            },
            _ => Err(ConfigError::new("a table was expected")),
        }
    }

    fn json_schema() -> Option<String> {
        None
    }
}

/// Any config, unchecked: for stages that read it themselves.
impl Config for Value {
    fn from_json(config: Value) -> Result<Self, ConfigError> {
        Ok(config)
    }

    fn json_schema() -> Option<String> {
        Some("true".to_owned())
    }
}

/// What is wrong with a config. Any standard error turns into one with `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: Option<String>,
    message: String,
}

impl ConfigError {
    /// The config as a whole is wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self { key: None, message: message.into() }
    }

    /// One key is wrong: `limits.max_age`.
    pub fn key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: Some(key.into()), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "config key `{key}`: {}", self.message),
            None => write!(f, "config: {}", self.message),
        }
    }
}

impl<E: std::error::Error> From<E> for ConfigError {
    fn from(error: E) -> Self {
        Self::new(with_causes(&error))
    }
}

/// Reads the config's JSON text.
pub(crate) fn parse<T: Config>(text: &str) -> Result<T, ConfigError> {
    let config = serde_json::from_str(text).map_err(|error| ConfigError::new(format!("not JSON: {error}")))?;
    T::from_json(config)
}

/// Reads a config by serde. Errors name the key; unknown keys are refused at any depth.
pub fn read<T: DeserializeOwned>(config: Value) -> Result<T, ConfigError> {
    let mut track = serde_path_to_error::Track::new();
    let mut unknown = None;
    let mut note_unknown = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| path.to_string());
    };
    let deserializer = serde_path_to_error::Deserializer::new(config, &mut track);
    let read = T::deserialize(serde_ignored::Deserializer::new(deserializer, &mut note_unknown));
    match (read, unknown) {
        (Ok(config), None) => Ok(config),
        (Ok(_), Some(key)) => Err(ConfigError::key(key, "unknown key")),
        (Err(error), _) => match track.path().to_string() {
            path if path == "." => Err(ConfigError::new(error.to_string())),
            path => Err(ConfigError::key(path, error.to_string())),
        },
    }
}

/// The JSON schema of a config, as JSON text.
pub fn schema<T: JsonSchema>() -> String {
    schemars::schema_for!(T).as_value().to_string()
}
