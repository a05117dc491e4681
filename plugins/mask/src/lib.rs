//! Ready-made stage `mask`: columns that say who somebody is are emptied, hashed, replaced by tokens, or shortened.
//!
//! Keys come from the host: `key = { secret = "NAME" }` in the stage's config. The plugin sees the key when it is
//! configured, and never says it: no message of this crate has config values in it but names. docs/ready-made.md has the
//! table of keys, and says what each way is worth.

mod address;
mod bytes;
mod keyed;

use std::collections::BTreeMap;

use millstream_sdk::columnwise::Fates;
use millstream_sdk::prelude::*;
use millstream_sdk::serde::de::value::MapAccessDeserializer;
use millstream_sdk::serde::de::{IntoDeserializer, Visitor};
use millstream_sdk::serde::{self, Deserialize};
use millstream_sdk::{Column, Dictionary, LogicalType, Values, Varlen, schemars};

use address::Prefixes;
use keyed::{Hash, Token};

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// The key of `hash` and `tokenize`: `{ secret = "NAME" }`, at least 16 bytes.
    key: Option<Key>,
    /// By column how it is masked.
    columns: BTreeMap<String, How>,
}

/// A key. It has no way to be shown.
#[config]
#[serde(transparent)]
pub struct Key(String);

/// How a column is masked: a word, or a table with the word and its settings.
#[derive(schemars::JsonSchema)]
#[schemars(crate = "millstream_sdk::schemars", untagged)]
pub enum How {
    /// `"drop"`
    Word(Way),
    /// `{ way = "truncate_ip", v4 = 16 }`
    Table(Settings),
}

impl<'de> Deserialize<'de> for How {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrTable)
    }
}

/// An untagged enum would say of every mistake that no variant matches.
struct WordOrTable;

impl<'de> Visitor<'de> for WordOrTable {
    type Value = How;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a word such as \"drop\", or a table such as { way = \"truncate_ip\", v4 = 16 }")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<How, E> {
        Way::deserialize(word.into_deserializer()).map(How::Word)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, table: A) -> Result<How, A::Error> {
        Settings::deserialize(MapAccessDeserializer::new(table)).map(How::Table)
    }
}

/// The ways.
#[config]
#[derive(Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The column is null in every row, or the text `with`. It does not even reach the plugin.
    Drop,
    /// A 64-bit number: SipHash-2-4 under the key.
    Hash,
    /// A text in hexadecimal digits: HMAC-SHA-256 under the key.
    Tokenize,
    /// An IP address without its last bits.
    TruncateIp,
}

/// A way and its settings.
#[config]
pub struct Settings {
    /// How the column is masked.
    way: Way,
    /// Of `drop`: the text that stands in every row; null without it.
    with: Option<String>,
    /// Of `tokenize`: bytes that are kept of the 32, 8 to 32; each is two digits. 16 without it.
    bytes: Option<usize>,
    /// Of `tokenize` and `hash`: columns with the same domain get the same tokens for the same values, so that they can be
    /// joined. Without it all columns of the same key are in one domain.
    domain: Option<String>,
    /// Of `truncate_ip`: bits that are kept of an IPv4 address, 24 without it.
    v4: Option<u8>,
    /// Of `truncate_ip`: bits that are kept of an IPv6 address, 48 without it.
    v6: Option<u8>,
    /// Of `truncate_ip`: what becomes of a text that is no IP address: `"reject"` (default) or `"null"`.
    invalid: Option<Invalid>,
}

/// What becomes of a text that is no IP address.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// Its row is rejected as `bad_ip`.
    #[default]
    Reject,
    /// It is null.
    Null,
}

/// What is done with a column.
enum Mask {
    Drop { with: Option<String>, logical: LogicalType },
    Hash { read: usize, logical: LogicalType, hash: Hash },
    Tokenize { read: usize, logical: LogicalType, token: Token },
    TruncateIp { read: usize, name: String, prefixes: Prefixes, invalid: Invalid },
}

/// The stage.
pub struct MaskStage {
    masks: Vec<Mask>,
    writes: Vec<Field>,
}

impl Stage for MaskStage {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        if config.columns.is_empty() {
            return Err(ConfigError::key("columns", "name the columns: columns = { email = \"tokenize\" }"));
        }
        let (mut masks, mut contract) = (Vec::new(), Contract::default());
        for (name, how) in config.columns {
            let place = format!("columns.{name}");
            let field = given.require(&place, &name)?;
            let settings = match how {
                How::Word(way) => Settings::of(way),
                How::Table(settings) => settings,
            };
            settings.check(&place)?;
            let (mask, written) = mask(&place, field, settings, config.key.as_ref(), contract.reads.len())?;
            if !matches!(mask, Mask::Drop { .. }) {
                contract.reads.push(field.clone());
            }
            masks.push(mask);
            contract.writes.push(written);
        }
        Ok((Self { masks, writes: contract.writes.clone() }, contract))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        let mut fates = Fates::new(batch.rows);
        let masked = self.masks.iter().map(|mask| mask.apply(&batch, &mut fates)).collect::<Result<_, _>>()?;
        Ok(fates.finish(&self.writes, masked))
    }
}

impl Settings {
    fn of(way: Way) -> Self {
        Self { way, with: None, bytes: None, domain: None, v4: None, v6: None, invalid: None }
    }

    /// Whether each setting belongs to the way and is within its bounds.
    fn check(&self, place: &str) -> Result<(), ConfigError> {
        let keyed = matches!(self.way, Way::Hash | Way::Tokenize);
        let ip = self.way == Way::TruncateIp;
        for (key, is_set, fits, whose) in [
            ("with", self.with.is_some(), self.way == Way::Drop, "drop"),
            ("bytes", self.bytes.is_some(), self.way == Way::Tokenize, "tokenize"),
            ("domain", self.domain.is_some(), keyed, "hash and tokenize"),
            ("v4", self.v4.is_some(), ip, "truncate_ip"),
            ("v6", self.v6.is_some(), ip, "truncate_ip"),
            ("invalid", self.invalid.is_some(), ip, "truncate_ip"),
        ] {
            if is_set && !fits {
                return Err(ConfigError::key(format!("{place}.{key}"), format!("it is for {whose}: take it away")));
            }
        }
        let within = |key: &str, value: Option<usize>, least: usize, most: usize| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(ConfigError::key(format!("{place}.{key}"), format!("{value} is not from {least} to {most}")))
            }
            _ => Ok(()),
        };
        within("bytes", self.bytes, 8, 32)?;
        within("v4", self.v4.map(usize::from), 0, 32)?;
        within("v6", self.v6.map(usize::from), 0, 128)
    }
}

/// The mask of a column, which is read at index `read`, and the column as it is written.
fn mask(
    place: &str,
    field: &Field,
    settings: Settings,
    key: Option<&Key>,
    read: usize,
) -> Result<(Mask, Field), ConfigError> {
    let Field { name, logical, nullable } = field.clone();
    let text = |nullable| Field { name: name.clone(), logical: LogicalType::Utf8, nullable };
    let wrong = |message: String| Err(ConfigError::key(place, message));
    match settings.way {
        Way::Drop if settings.with.is_some() && logical != LogicalType::Utf8 => {
            wrong(format!("column `{name}` is {logical}, so no text can stand there: take `with` away"))
        }
        Way::Drop => {
            let written = Field { nullable: settings.with.is_none(), ..field.clone() };
            Ok((Mask::Drop { with: settings.with, logical }, written))
        }
        Way::Hash | Way::Tokenize if !bytes::has_bytes(&logical) => {
            wrong(format!("column `{name}` is {logical}; hash and tokenize are for {}", bytes::KINDS))
        }
        Way::Hash => {
            let hash = Hash::new(&key_of(place, key)?.0, settings.domain.as_deref());
            let written = Field { name, logical: LogicalType::Int64, nullable };
            Ok((Mask::Hash { read, logical, hash }, written))
        }
        Way::Tokenize => {
            let kept_bytes = settings.bytes.unwrap_or(16);
            let token = Token::new(&key_of(place, key)?.0, settings.domain.as_deref(), kept_bytes);
            Ok((Mask::Tokenize { read, logical, token }, text(nullable)))
        }
        Way::TruncateIp if logical != LogicalType::Utf8 => {
            wrong(format!("column `{name}` is {logical}; an IP address is utf8"))
        }
        Way::TruncateIp => {
            let prefixes = Prefixes { v4_bits: settings.v4.unwrap_or(24), v6_bits: settings.v6.unwrap_or(48) };
            let invalid = settings.invalid.unwrap_or_default();
            let written = text(nullable || invalid == Invalid::Null);
            Ok((Mask::TruncateIp { read, name, prefixes, invalid }, written))
        }
    }
}

/// A shorter key can be found by trying.
const LEAST_KEY_BYTES: usize = 16;

fn key_of<'k>(place: &str, key: Option<&'k Key>) -> Result<&'k Key, ConfigError> {
    match key {
        None => {
            let message =
                format!("`{place}` needs a key: key = {{ secret = \"NAME\" }}, the name of an environment variable");
            Err(ConfigError::key("key", message))
        }
        Some(Key(text)) if text.len() < LEAST_KEY_BYTES => {
            let length = text.len();
            let message = format!(
                "it has {length} bytes, and a key has {LEAST_KEY_BYTES} or more: `openssl rand -hex 32` makes one"
            );
            Err(ConfigError::key("key", message))
        }
        Some(key) => Ok(key),
    }
}

impl Mask {
    fn apply(&self, batch: &Batch, fates: &mut Fates) -> Result<Column, Failure> {
        let rows = batch.rows as usize;
        let column = |read: &usize| {
            batch.columns.get(*read).ok_or_else(|| Failure::fatal(format!("column {read} did not come with the batch")))
        };
        match self {
            Self::Drop { with: Some(text), .. } => Ok(same(text, rows)),
            Self::Drop { with: None, logical } => Ok(Column::nulls(logical, rows)),
            Self::Hash { read, logical, hash } => bytes::map(column(read)?, logical, rows, |values| {
                Values::Int64(values.map(|value| hash.of(value)).collect())
            }),
            Self::Tokenize { read, logical, token } => bytes::map(column(read)?, logical, rows, |values| {
                let mut tokens = Varlen::with_capacity(values.len(), values.len() * token.digits());
                values.for_each(|value| token.push(value, &mut tokens));
                Values::Varlen(tokens)
            }),
            Self::TruncateIp { read, name, prefixes, invalid } => {
                prefixes.truncate(column(read)?, name, *invalid, fates)
            }
        }
    }
}

/// A column with the same text in every row.
fn same(text: &str, rows: usize) -> Column {
    let mut values = Varlen::with_capacity(1, text.len());
    values.push(text.as_bytes());
    Column { nodes: vec![Values::Dictionary(Dictionary { codes: vec![0; rows], values }).into()] }
}

millstream_sdk::export!(MaskStage);

#[cfg(test)]
mod tests;
