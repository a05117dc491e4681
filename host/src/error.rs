//! The one error of the host. Its kind says what the reader of it must do; its message names the thing, the place and
//! what is wrong; its help names the way out.

use std::fmt;

/// What the person (or the supervisor) who meets the error has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The pipeline file, the command line or a plugin's contract is wrong: change it.
    Config,
    /// What a source holds is not what the commit knows (a replaced file, offsets that are gone): decide.
    Input,
    /// A broker, a file or a table is away: the same call may work later.
    Unavailable,
    /// A plugin cannot be loaded, refuses its configuration, or keeps failing.
    Plugin,
    /// The disk failed or lied. Nothing more is written.
    Storage,
    /// Millstream itself is wrong: please report it.
    Internal,
}

/// An error that a person can act on.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in the host that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with what is wrong and where, in one sentence without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, cause: None }
    }

    /// Adds the way out: what to change or type.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the error of a lower layer.
    pub fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Says where it happened, in front of the message: `dimension "users": ..`.
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What has to be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong and where, without the cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The way out, when one is known.
    pub fn way_out(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// `message: cause: cause`, on one line, without the help.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&(dyn std::error::Error + 'static)> = self.cause.as_deref().map(|cause| cause as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A text of several lines (a trap's backtrace, what a plugin says) as one, for the log and the history.
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" | ")
}
