//! The life of a plugin (and of a stage's config) while the stream runs: proposed, compiled, held against the plan,
//! tried beside the stream, decided upon, put in place between two epochs, watched in its first epoch, kept or taken back.
//!
//! Promise: nothing of this stops a row, and a candidate that is broken, half-written, does not fit or does worse than
//! its stage allows changes nothing in the lake and says why.
//!
//! | step | where | outcome |
//! |---|---|---|
//! | a file changed, or somebody asks | `watch`, `settle`, `Ask` | the candidate's bytes are read and compiled, beside the stream |
//! | does it fit? | `Plan::compatible` | refused with the reason; tried again together with later ones |
//! | what would it do? | `shadow` | both versions on the batches that were just seen, compared row by row |
//! | may it? | `Swap` of the stage | held until a person accepts it, or accepted |
//! | in place | `coordinator` | at the end of the epoch, on all workers |
//! | how does it do? | `probation` | its first epoch is committed, or thrown away and made again by the version before |
//!
//! Each step is an entry of the `history`, which survives restarts and decides what runs after one: see `History`.

mod answers;
mod changes;
mod history;
mod settle;
mod shadow;
mod watch;

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::changes::Changes;
pub use self::history::{Entry, History, What};
pub use self::shadow::{ColumnDifference, Example, Shadow, Side};
pub use self::watch::Watch;
use super::logic::Version;
use crate::dimension::Snapshot;
use crate::error::Result;
use crate::pipeline::Sample;
use crate::plan::PlannedStage;
use crate::replay::{Asked, Request};

/// Who wanted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A file in its place in the pipeline file.
    File,
    /// Somebody through the control socket.
    Person,
    /// The host itself.
    Host,
}

/// What a running host can be asked for.
#[derive(Debug)]
pub enum Ask {
    /// All stages that are plugins.
    List,
    /// What happened, of one stage or of all, oldest first.
    History {
        /// The stage.
        stage: Option<String>,
    },
    /// Take a candidate through its life: a plugin, a config, or both.
    Propose {
        /// The stage.
        stage: String,
        /// A component's bytes; none: the plugin that runs.
        plugin: Option<Vec<u8>>,
        /// A config; none: the one that runs.
        config: Option<Value>,
    },
    /// How the candidate of a stage differs from what runs.
    Diff {
        /// The stage.
        stage: String,
    },
    /// Let a held candidate take over, whatever the thresholds say.
    Accept {
        /// The stage.
        stage: String,
    },
    /// Go back to a version that ran before.
    Rollback {
        /// The stage.
        stage: String,
        /// Its digest or the beginning of it; none: what ran before the one that runs.
        digest: Option<String>,
    },
    /// Let nothing else run than one version.
    Pin {
        /// The stage.
        stage: String,
        /// Its digest or the beginning of it; none: the one that runs.
        digest: Option<String>,
    },
    /// Take a pin away.
    Unpin {
        /// The stage.
        stage: String,
    },
    /// Finish the epoch and end.
    Drain,
    /// Replay rejects.
    Replay(Request),
    /// Take rows in front of a stage.
    Capture {
        /// The stage.
        stage: String,
        /// How many.
        rows: usize,
        /// Only rows that the stage rejects.
        only_rejected: bool,
        /// How long to wait for them.
        patience: std::time::Duration,
    },
}

/// A question and where its answer goes.
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: Sender<Result<Answer>>,
}

/// What the host answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `List`.
    Stages(Vec<StageState>),
    /// To `History`.
    History(Vec<Entry>),
    /// To `Propose`, `Accept`, `Pin`, `Unpin`: what became of it.
    Outcome(ProposeOutcome),
    /// To `Diff`; none when there is nothing to compare: the reason stands in the candidate's `why`.
    Diff(Box<Candidate>),
    /// To `Rollback`.
    Rollback(RolledBack),
    /// To `Drain`: it will.
    Draining,
    /// To `Replay`.
    Replay(Asked),
    /// To `Capture`.
    Rows(Captured),
}

/// A stage and what may become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// Its name.
    pub stage: String,
    /// The file that the pipeline file names.
    pub file: String,
    /// The digest of that file as it is now; none when it cannot be read.
    pub file_digest: Option<String>,
    /// What runs.
    pub live: Version,
    /// The number of the plan that runs.
    pub plan: u64,
    /// The digest that alone may run.
    pub pinned: Option<String>,
    /// What waits.
    pub candidate: Option<Candidate>,
}

/// A version that does not run yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What it is.
    pub version: Version,
    /// Why it waits.
    pub why: String,
    /// How it did beside the stream; none when it could not be tried.
    pub shadow: Option<Shadow>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposeOutcome {
    /// Whether it is in place from the next epoch on (or, for pins, done).
    pub accepted: bool,
    /// In words.
    pub message: String,
    /// How the candidate did beside the stream.
    pub shadow: Option<Shadow>,
}

/// What a rollback did, and what is left of the version that it took away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// What ran.
    pub from: Version,
    /// What runs from the next epoch on.
    pub to: Version,
    /// First and last epoch of each time that `from` ran; the last is open while it runs.
    pub epochs: Vec<(u64, Option<u64>)>,
    /// The files with its rows, by their manifests.
    pub files: Vec<String>,
}

/// Rows in front of a stage.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The stage.
    pub stage: String,
    /// What runs there.
    pub version: Version,
    /// The stage's config as it is in use, secrets not resolved.
    pub config: Value,
    /// The stage in its plan. A plugin's config in it has its secrets in clear.
    pub planned: PlannedStage,
    /// The tables as they were when the rows were asked for.
    pub tables: Vec<Snapshot>,
    /// The rows.
    pub samples: Vec<Sample>,
}
