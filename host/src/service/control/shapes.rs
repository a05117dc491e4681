//! What goes over the control socket: JSON in both directions, under `/v1`. What is not here is `life`'s own:
//! `StageState`, `Entry`, `Candidate`, `ProposeOutcome`, `RolledBack`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// Most bytes of a proposed plugin.
pub const PLUGIN_MAX_BYTES: usize = 64 << 20;
/// Most bytes of a request with a plugin in it: base64 takes four for three; and a config.
pub const PROPOSAL_MAX_BYTES: usize = PLUGIN_MAX_BYTES / 3 * 4 + (1 << 20);
/// Most bytes of any other request.
pub const REQUEST_MAX_BYTES: usize = 64 << 10;
/// Most bytes of an answer.
pub const ANSWER_MAX_BYTES: usize = 256 << 20;
/// Most rows of a capture.
pub const CAPTURE_MAX_ROWS: usize = 100_000;
/// Longest wait of a capture for its rows, in seconds.
pub const CAPTURE_MAX_WAIT_SECONDS: u64 = 600;

/// `POST /v1/stages/{stage}/propose`: at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// A component's bytes in base64; none: the plugin that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// A config, secrets as `{ "secret": "NAME" }`; none: the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// `POST /v1/stages/{stage}/rollback` and `/pin`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// A version's digest or the beginning of it; none: the one before (rollback), the one that runs (pin).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// `POST /v1/stages/{stage}/capture`; the answer is a case (docs/cases.md), not JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// How many rows.
    pub rows: usize,
    /// Only rows that the stage rejects.
    #[serde(default)]
    pub rejected: bool,
    /// Columns whose values do not leave the host.
    #[serde(default)]
    pub mask: Vec<String>,
    /// How long to wait for the rows.
    pub wait_seconds: u64,
    /// How long the rows may be kept, in days: noted in the case.
    pub keep_days: u32,
}

/// The body of an answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `config`, `input`, `unavailable`, `plugin`, `storage` or `internal`.
    pub kind: String,
    /// What is wrong and where.
    pub message: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

const KINDS: [(ErrorKind, &str, u16); 6] = [
    (ErrorKind::Config, "config", 400),
    (ErrorKind::Input, "input", 409),
    (ErrorKind::Plugin, "plugin", 422),
    (ErrorKind::Unavailable, "unavailable", 503),
    (ErrorKind::Storage, "storage", 500),
    (ErrorKind::Internal, "internal", 500),
];

impl Refusal {
    /// An error as it goes over the wire.
    pub fn of(error: &Error) -> Self {
        let kind = KINDS.iter().find(|(kind, ..)| *kind == error.kind()).map_or("internal", |(_, name, _)| name);
        Self { kind: kind.to_owned(), message: error.to_string(), help: error.way_out().map(str::to_owned) }
    }

    /// The HTTP status of an error.
    pub fn status(error: &Error) -> u16 {
        KINDS.iter().find(|(kind, ..)| *kind == error.kind()).map_or(500, |(_, _, status)| *status)
    }

    /// The error at the other end.
    pub fn into_error(self) -> Error {
        let kind = KINDS.iter().find(|(_, name, _)| *name == self.kind).map_or(ErrorKind::Internal, |(kind, ..)| *kind);
        let error = Error::new(kind, self.message);
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}
