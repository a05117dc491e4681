//! A column's rule: checked when the pipeline starts, applied to slots.

use millstream_sdk::columnwise::Texts;
use millstream_sdk::prelude::*;
use millstream_sdk::{LogicalType, config};
use regex::Regex;

use crate::cast;
use crate::data::{Data, Fault, One};
use crate::time;

/// What is done with a column.
#[config]
#[derive(Default)]
pub struct Settings {
    /// Blanks at both ends of text go away.
    #[serde(default)]
    trim: bool,
    /// Text becomes lower or upper case.
    case: Option<Case>,
    /// What an empty text is, after `trim`: `"keep"` (default) or `"null"`.
    #[serde(default)]
    empty: Empty,
    /// Text must match this regular expression somewhere; `^` and `$` bind it to the ends.
    pattern: Option<String>,
    /// The type that the column gets: `int64`, `decimal(12,2)`, `timestamp(ms)`, ..
    cast: Option<String>,
    /// How text says a date or timestamp, in the letters of strftime: `"%d.%m.%Y %H:%M"`. Without it: ISO 8601.
    format: Option<String>,
    /// The least value that is valid: a number, or a date or timestamp as text.
    min: Option<Scalar>,
    /// The greatest value that is valid.
    max: Option<Scalar>,
    /// What becomes of an invalid value: `"reject"` (default) or `"null"`.
    #[serde(default)]
    invalid: Invalid,
    /// The value of rows that have none.
    default: Option<Scalar>,
    /// Rows without a value are rejected as `missing`.
    #[serde(default)]
    required: bool,
}

/// The case of text.
#[config]
#[derive(Clone, Copy, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// all letters small
    Lower,
    /// ALL LETTERS CAPITAL
    Upper,
}

/// What an empty text is.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// An empty text.
    #[default]
    Keep,
    /// A null.
    Null,
}

/// What becomes of an invalid value.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// Its row is rejected.
    #[default]
    Reject,
    /// It is null.
    Null,
}

/// A value in the pipeline file.
#[config]
#[derive(Clone, PartialEq, Debug)]
#[serde(untagged, expecting = "expected a number, a text, true or false")]
pub enum Scalar {
    /// `true`
    Bool(bool),
    /// `12`
    Int(i64),
    /// `12.5`
    Float(f64),
    /// `"2020-01-01"`, and numbers that a float cannot say
    Text(String),
}

impl Scalar {
    /// The text that casts read.
    fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A column's rule, ready to be applied.
pub struct Rule {
    /// The column.
    pub name: String,
    /// The type that it comes in.
    pub from: LogicalType,
    /// The type that it leaves in.
    pub to: LogicalType,
    /// What becomes of invalid values.
    pub invalid: Invalid,
    /// The value of rows without one.
    pub default: Option<One>,
    /// Rows without a value are rejected.
    pub required: bool,
    trim: bool,
    case: Option<Case>,
    empty_is_null: bool,
    pattern: Option<Regex>,
    format: Option<String>,
    min: Option<One>,
    max: Option<One>,
}

impl Rule {
    /// Checks the settings against the column; the column as it is written.
    pub fn new(key: &str, field: &Field, settings: Settings) -> Result<(Self, Field), ConfigError> {
        let from = field.logical.clone();
        let wrong = |part: &str, message: String| ConfigError::key(format!("{key}.{part}"), message);
        let only_text = [
            ("trim", settings.trim),
            ("case", settings.case.is_some()),
            ("empty", settings.empty == Empty::Null),
            ("pattern", settings.pattern.is_some()),
        ];
        if let Some((part, _)) = only_text.iter().find(|(_, is_set)| *is_set && from != LogicalType::Utf8) {
            return Err(wrong(part, format!("it is for text, and column `{}` is {from}: take it away", field.name)));
        }
        let to = match &settings.cast {
            None => from.clone(),
            Some(text) => {
                let to = text.parse::<LogicalType>().map_err(|error| wrong("cast", error.message))?;
                let cannot = || wrong("cast", format!("{from} cannot become {to}: {}", cast::POSSIBLE));
                if cast::is_possible(&from, &to) { to } else { return Err(cannot()) }
            }
        };
        if settings.required && settings.default.is_some() {
            return Err(wrong(
                "required",
                "with a `default` no row is without a value: take one of the two away".into(),
            ));
        }
        if let Some(format) = &settings.format {
            let is_time = matches!(to, LogicalType::Date | LogicalType::Timestamp(_));
            if from != LogicalType::Utf8 || !is_time {
                let message = "it says how text is read as a date or timestamp: add such a `cast`, or take it away";
                return Err(wrong("format", message.to_owned()));
            }
            time::check_format(format).map_err(|error| wrong("format", error))?;
        }
        let pattern = settings.pattern.as_deref().map(Regex::new).transpose();
        let pattern = pattern.map_err(|error| wrong("pattern", format!("it is no regular expression: {error}")))?;
        let scalar = |part: &str, value: &Option<Scalar>| -> Result<Option<One>, ConfigError> {
            let Some(value) = value else { return Ok(None) };
            let text = value.text();
            let read = cast::one(&text, &to).ok_or_else(|| wrong(part, format!("`{text}` is no {to}")))?;
            Ok(Some(read))
        };
        let (min, max) = (scalar("min", &settings.min)?, scalar("max", &settings.max)?);
        let has_order = !matches!(to, LogicalType::Utf8 | LogicalType::Bool | LogicalType::Uuid);
        if let Some((part, _)) = [("min", &min), ("max", &max)].into_iter().find(|(_, end)| end.is_some() && !has_order)
        {
            let message = format!("it is for numbers, dates and timestamps, and column `{}` is {to}", field.name);
            return Err(wrong(part, message));
        }
        if let (Some(least), Some(greatest)) = (&min, &max)
            && least.is_above(greatest)
        {
            return Err(wrong("min", "it is above `max`: no value is valid".to_owned()));
        }
        let default = scalar("default", &settings.default)?;
        let rule = Self {
            name: field.name.clone(),
            invalid: settings.invalid,
            required: settings.required,
            trim: settings.trim,
            case: settings.case,
            empty_is_null: settings.empty == Empty::Null,
            format: settings.format,
            from,
            to,
            default,
            pattern,
            min,
            max,
        };
        if !rule.only_asks_for_values() && !Data::can_hold(&rule.from) {
            let message = format!("column `{}` is {}: only `required` is for it", field.name, rule.from);
            return Err(ConfigError::key(key, message));
        }
        if rule.changes_nothing() {
            return Err(ConfigError::key(key, "it asks for nothing: name a rule, such as `trim = true`"));
        }
        let makes_nulls = rule.empty_is_null || rule.invalid == Invalid::Null;
        let nullable = (field.nullable || makes_nulls) && rule.default.is_none() && !rule.required;
        let written = Field { name: field.name.clone(), logical: rule.to.clone(), nullable };
        Ok((rule, written))
    }

    fn changes_nothing(&self) -> bool {
        self.only_asks_for_values() && !self.required
    }

    /// Whether nothing but `required` is asked for.
    pub fn only_asks_for_values(&self) -> bool {
        let text = self.trim || self.case.is_some() || self.empty_is_null || self.pattern.is_some();
        let value = self.min.is_some() || self.max.is_some() || self.default.is_some();
        !text && !value && self.from == self.to
    }

    /// What is said of an invalid value.
    pub fn complaint(&self, fault: Fault, value: &str) -> String {
        let value: String = value.chars().take(200).collect();
        let Self { name, to, .. } = self;
        match fault {
            Fault::NoMatch => format!("column `{name}`: `{value}` does not match the pattern"),
            Fault::BadCast => format!("column `{name}`: `{value}` is no {to}"),
            _ => format!("column `{name}`: `{value}` is not within min and max"),
        }
    }

    /// The text rules, the cast and the range, by slot. The faults are empty when there is none.
    pub fn clean_texts(&self, texts: &Texts<'_>) -> (Data, Vec<Fault>) {
        let slots = texts.slots();
        let mut data = Data::with_capacity(&self.to, slots);
        let mut faults = Vec::new();
        let mut scratch = String::new();
        for slot in 0..slots {
            let fault = match self.clean_text(texts.slot(slot), &mut scratch) {
                Ok(text) => match cast::push(text, &self.to, self.format.as_deref(), &mut data) {
                    true => Fault::None,
                    false => Fault::BadCast,
                },
                Err(fault) => {
                    data.push_filler();
                    fault
                }
            };
            note(&mut faults, slots, slot, fault);
        }
        self.check_range(&data, &mut faults);
        (data, faults)
    }

    #[inline]
    fn clean_text<'t>(&self, mut text: &'t str, scratch: &'t mut String) -> Result<&'t str, Fault> {
        if self.trim {
            text = text.trim();
        }
        if let Some(case) = self.case {
            text = cast::to_case(text, case, scratch);
        }
        if self.empty_is_null && text.is_empty() {
            return Err(Fault::Null);
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => Err(Fault::NoMatch),
            _ => Ok(text),
        }
    }

    /// The cast and the range of what is no text; with the data before, when a value is invalid.
    pub fn clean_data(&self, data: Data) -> (Data, Vec<Fault>, Option<Data>) {
        let mut faults = Vec::new();
        if self.from == self.to {
            self.check_range(&data, &mut faults);
            let before = (!faults.is_empty()).then(|| data.clone());
            return (data, faults, before);
        }
        let converted = cast::convert(&data, &self.from, &self.to, &mut faults);
        self.check_range(&converted, &mut faults);
        let before = (!faults.is_empty()).then_some(data);
        (converted, faults, before)
    }

    fn check_range(&self, data: &Data, faults: &mut Vec<Fault>) {
        if self.min.is_none() && self.max.is_none() {
            return;
        }
        data.outside(self.min.as_ref(), self.max.as_ref(), |slot| {
            if faults.get(slot).is_none_or(|fault| *fault == Fault::None) {
                note(faults, data.len(), slot, Fault::OutOfRange);
            }
        });
    }
}

/// Notes a fault of a slot; the list is made with the first one.
pub fn note(faults: &mut Vec<Fault>, slots: usize, slot: usize, fault: Fault) {
    if fault != Fault::None && faults.is_empty() {
        faults.resize(slots, Fault::None);
    }
    if let Some(noted) = faults.get_mut(slot) {
        *noted = fault;
    }
}
