//! Ready-made stage `url`: an address becomes columns for its parts and for chosen parameters; what only tracks people is
//! taken off. docs/ready-made.md has the table of keys.
//!
//! The parts are those of RFC 3986, appendix B: text between marks, which never fails for an address with scheme and
//! host, so that addresses as people write them (blanks, umlauts, `|`) are no rejects. A library of the WHATWG's rules
//! would repair and rewrite them, with the tables of all scripts in each plugin; here a part is a slice of what came.

mod split;

use std::collections::BTreeMap;

use millstream_sdk::columnwise::{Fates, Texts};
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType, Repeated, Varlen, WriteValue};

use split::{Address, decoded, value_of};

/// What tracks people, when the config does not say.
const TRACKING: [&str; 12] = [
    "utm_", "gclid", "gbraid", "wbraid", "dclid", "fbclid", "msclkid", "ttclid", "twclid", "mc_eid", "mc_cid", "igshid",
];

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// The column with the address.
    column: String,
    /// The new column for the scheme, in lower case: `https`.
    scheme: Option<String>,
    /// The new column for the host, in lower case, without user, password and port.
    host: Option<String>,
    /// The new column for the port, when the address names one.
    port: Option<String>,
    /// The new column for the path, as it stands there: `/a%20b`; empty when there is none.
    path: Option<String>,
    /// The new column for the query without tracking parameters; null when nothing is left.
    query: Option<String>,
    /// The new column for what stands behind `#`.
    fragment: Option<String>,
    /// The new column for the whole address without tracking parameters.
    address: Option<String>,
    /// By parameter its new column, with `%20` and `+` decoded; the first one counts, null when there is none.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// A parameter whose name begins with one of these is taken off; without this key: `utm_`, `gclid` and other common ones.
    tracking: Option<Vec<String>>,
    /// What becomes of a text that is no address: `"reject"` (default), or all new columns `"null"`.
    #[serde(default)]
    invalid: Invalid,
}

/// What becomes of a text that is no address.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// Its row is rejected as `bad_url`.
    #[default]
    Reject,
    /// Its parts are null.
    Null,
}

/// A part of the address that becomes a column.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Scheme,
    Host,
    Port,
    Path,
    Query,
    Fragment,
    Address,
    Parameter(String),
}

/// The stage.
pub struct Url {
    parts: Vec<Part>,
    writes: Vec<Field>,
    tracking: Vec<String>,
    invalid: Invalid,
    column: String,
}

impl Stage for Url {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        let field = given.require("column", &config.column)?.clone();
        if field.logical != LogicalType::Utf8 {
            let message = format!("column `{}` is {}; an address is utf8", field.name, field.logical);
            return Err(ConfigError::key("column", message));
        }
        let named = [
            ("scheme", Part::Scheme, config.scheme),
            ("host", Part::Host, config.host),
            ("port", Part::Port, config.port),
            ("path", Part::Path, config.path),
            ("query", Part::Query, config.query),
            ("fragment", Part::Fragment, config.fragment),
            ("address", Part::Address, config.address),
        ];
        let named = named.into_iter().filter_map(|(key, part, column)| Some((key.to_owned(), part, column?)));
        let parameters = config.parameters.into_iter();
        let parameters = parameters.map(|(name, column)| (format!("parameters.{name}"), Part::Parameter(name), column));
        let nullable = field.nullable || config.invalid == Invalid::Null;
        let (mut parts, mut writes) = (Vec::new(), Vec::<Field>::new());
        for (key, part, column) in named.chain(parameters) {
            if writes.iter().any(|written| written.name == column) {
                return Err(ConfigError::key(key, format!("column `{column}` is already written by another key")));
            }
            let always = matches!(part, Part::Scheme | Part::Host | Part::Path | Part::Address);
            let logical = if part == Part::Port { LogicalType::Int32 } else { LogicalType::Utf8 };
            writes.push(Field { name: column, logical, nullable: nullable || !always });
            parts.push(part);
        }
        if parts.is_empty() {
            let message = "it asks for no part: name columns, such as host = \"host\" and path = \"path\"";
            return Err(ConfigError::new(message));
        }
        let tracking = config.tracking.unwrap_or_else(|| TRACKING.map(str::to_owned).to_vec());
        if tracking.iter().any(String::is_empty) {
            return Err(ConfigError::key("tracking", "an empty name would take every parameter off"));
        }
        let contract = Contract { reads: vec![field], writes: writes.clone(), ..Contract::default() };
        Ok((Self { parts, writes, tracking, invalid: config.invalid, column: config.column }, contract))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        let rows = batch.rows as usize;
        let column = batch.columns.first().ok_or_else(|| Failure::fatal("the address did not come with the batch"))?;
        let texts = Texts::of(column, rows)?;
        let addresses: Vec<Option<Address<'_>>> =
            (0..texts.slots()).map(|slot| Address::split(texts.slot(slot))).collect();
        let mut fates = Fates::new(batch.rows);
        if self.invalid == Invalid::Reject && addresses.contains(&None) {
            for row in (0..batch.rows).filter(|row| !texts.is_null(*row as usize)) {
                let slot = texts.slot_of(row as usize);
                if addresses[slot].is_none() {
                    let text: String = texts.slot(slot).chars().take(200).collect();
                    fates.reject(row, "bad_url", format!("column `{}`: `{text}` is no address", self.column));
                }
            }
        }
        let columns = self.parts.iter().map(|part| texts.spread(self.part(part, &addresses))).collect();
        Ok(fates.finish(&self.writes, columns))
    }
}

impl Url {
    /// A part's column, with a row for each slot.
    fn part(&self, part: &Part, addresses: &[Option<Address<'_>>]) -> Column {
        match part {
            Part::Scheme => repeated(addresses, |address| Some(lower(address.scheme))),
            Part::Host => repeated(addresses, |address| Some(lower(address.host))),
            Part::Port => write::<Option<i32>, millstream_sdk::Natural>(
                addresses.iter().map(|address| address.as_ref().and_then(|address| address.port)),
            ),
            Part::Path => text(addresses, |address, out| {
                out.extend_from_slice(address.path.as_bytes());
                true
            }),
            Part::Query => text(addresses, |address, out| self.push_query(address, b"", out)),
            Part::Fragment => text(addresses, |address, out| {
                out.extend_from_slice(address.fragment.unwrap_or_default().as_bytes());
                address.fragment.is_some()
            }),
            Part::Address => text(addresses, |address, out| {
                out.extend_from_slice(address.page.as_bytes());
                self.push_query(address, b"?", out);
                if let Some(fragment) = address.fragment {
                    out.push(b'#');
                    out.extend_from_slice(fragment.as_bytes());
                }
                true
            }),
            Part::Parameter(name) => text(addresses, |address, out| match value_of(address.query, name) {
                Some(value) => {
                    out.extend_from_slice(decoded(value).as_bytes());
                    true
                }
                None => false,
            }),
        }
    }

    /// Adds the query without tracking parameters behind `mark`; whether anything is left of it.
    fn push_query(&self, address: &Address<'_>, mark: &[u8], out: &mut Vec<u8>) -> bool {
        let mut any = false;
        for parameter in address.query.split('&') {
            if parameter.is_empty() || self.tracks(parameter) {
                continue;
            }
            out.extend_from_slice(if any { b"&" } else { mark });
            out.extend_from_slice(parameter.as_bytes());
            any = true;
        }
        any
    }

    #[inline]
    fn tracks(&self, parameter: &str) -> bool {
        self.tracking.iter().any(|prefix| parameter.starts_with(prefix.as_str()))
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// Text that repeats, as a dictionary.
fn repeated<'a>(addresses: &[Option<Address<'a>>], of: impl Fn(&Address<'a>) -> Option<Cow<'a, str>>) -> Column {
    write::<Option<Cow<'a, str>>, Repeated>(addresses.iter().map(|address| address.as_ref().and_then(&of)))
}

fn write<T: WriteValue<M>, M>(values: impl ExactSizeIterator<Item = T>) -> Column {
    let mut builder = T::builder(values.len());
    values.for_each(|value| value.write(&mut builder));
    let mut nodes = Vec::with_capacity(1);
    T::finish(builder, &mut nodes);
    Column { nodes }
}

/// Text that is different in most rows; `push` adds a row's and is false when it is null.
fn text<'a>(addresses: &[Option<Address<'a>>], mut push: impl FnMut(&Address<'a>, &mut Vec<u8>) -> bool) -> Column {
    let mut values = Varlen::with_capacity(addresses.len(), 32 * addresses.len());
    let mut validity = millstream_sdk::columnwise::Validity::default();
    for address in addresses {
        let begin = values.data.len();
        if address.as_ref().is_some_and(|address| push(address, &mut values.data)) {
            validity.push_valid();
        } else {
            values.data.truncate(begin);
            validity.push_null();
        }
        values.push(&[]);
    }
    let node = millstream_sdk::Node { validity: validity.finish(), values: millstream_sdk::Values::Varlen(values) };
    Column { nodes: vec![node] }
}

millstream_sdk::export!(Url);

#[cfg(test)]
mod tests;
