//! What becomes of a row, and of a batch. Three things that are never mixed: a filtered row is left out on purpose, a
//! reject is a row that is wrong, a failure is about the whole batch.

use std::borrow::Cow;
use std::fmt;

/// What a row becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Emit<T> {
    /// Nothing, on purpose: the row is filtered, counted by this reason.
    None(Cow<'static, str>),
    /// One row.
    One(T),
    /// Several rows. Of an empty list the row is filtered with reason `empty`.
    Many(Vec<T>),
}

impl<T> Emit<T> {
    /// The row is filtered: left out on purpose. `reason` is a short stable word such as `bot`; the host counts by it.
    pub fn none(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::None(reason.into())
    }

    /// The row becomes one row.
    #[inline(always)]
    pub fn one(row: T) -> Self {
        Self::One(row)
    }

    /// The row becomes several.
    pub fn many(rows: impl IntoIterator<Item = T>) -> Self {
        Self::Many(rows.into_iter().collect())
    }
}

/// The reason for which a row is filtered that became an empty list.
pub(crate) const EMPTY: &str = "empty";

/// Why a row is refused. Any standard error turns into one with `?`, with reason `error` and the error's text as detail;
/// `or_reject` gives it a reason of its own.
///
/// A [`Failure`] turns into one as well, and then fails the whole batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject(pub(crate) Refused);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    Row { reason: Cow<'static, str>, detail: String },
    Batch(Failure),
}

impl Reject {
    /// `reason` is a short stable word such as `bad_url`: rejects are counted by it. `detail` says what was wrong with
    /// this row.
    pub fn new(reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Refused::Row { reason: reason.into(), detail: detail.into() })
    }

    /// The reason; `None` when it fails the batch.
    pub fn reason(&self) -> Option<&str> {
        match &self.0 {
            Refused::Row { reason, .. } => Some(reason),
            Refused::Batch(_) => None,
        }
    }

    /// What was wrong with the row, or with the batch.
    pub fn detail(&self) -> &str {
        match &self.0 {
            Refused::Row { detail, .. } => detail,
            Refused::Batch(failure) => failure.message(),
        }
    }
}

impl<E: std::error::Error> From<E> for Reject {
    #[cold]
    fn from(error: E) -> Self {
        Self::new("error", with_causes(&error))
    }
}

impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        Self(Refused::Batch(failure))
    }
}

/// `message: cause: cause`
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Gives what went wrong with a row a reason.
pub trait OrReject<T> {
    /// The value, or a reject with this reason; the error's text is its detail.
    fn or_reject(self, reason: &'static str) -> Result<T, Reject>;
}

impl<T, E: std::error::Error> OrReject<T> for Result<T, E> {
    #[inline]
    fn or_reject(self, reason: &'static str) -> Result<T, Reject> {
        self.map_err(|error| Reject::new(reason, with_causes(&error)))
    }
}

impl<T> OrReject<T> for Option<T> {
    #[inline]
    fn or_reject(self, reason: &'static str) -> Result<T, Reject> {
        self.ok_or_else(|| Reject::new(reason, ""))
    }
}

/// Why a batch could not be worked on. It says nothing about any single row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The same batch may work later: the host tries again.
    Retry(String),
    /// This configuration never will: the stage stops.
    Fatal(String),
}

impl Failure {
    /// The same batch may work later.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry(message.into())
    }

    /// This configuration never will work.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal(message.into())
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        match self {
            Self::Retry(message) | Self::Fatal(message) => message,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<i64, Reject> {
        Ok(text.parse()?)
    }

    #[test]
    fn a_standard_error_becomes_a_reject_with_its_text() {
        assert_eq!(number("x"), Err(Reject::new("error", "invalid digit found in string")));
        assert_eq!("x".parse::<i8>().or_reject("bad"), Err(Reject::new("bad", "invalid digit found in string")));
        assert_eq!(None::<i8>.or_reject("gone"), Err(Reject::new("gone", "")));
    }

    #[test]
    fn a_failure_passes_through_a_reject() {
        let reject = Reject::from(Failure::retry("the table is away"));
        assert_eq!((reject.reason(), reject.detail()), (None, "the table is away"));
    }
}
