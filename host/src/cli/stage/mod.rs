//! `millstream stage`: what runs in the stages of a running pipeline, and what may.

mod place;
mod show;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

pub(super) use self::place::{PlaceArgs, StagePlace, quoted};
use super::Failure;
use crate::error::{Error, ErrorKind, Result};

/// See and change what the stages of a running pipeline run. A host answers while it runs with
/// `millstream run PIPELINE.toml --follow`.
#[derive(Subcommand)]
pub(super) enum Stage {
    /// List the stages that are plugins: what runs, what is pinned, what waits.
    List(List),
    /// Show what became of each version, oldest first.
    History(History),
    /// Propose a plugin, a config or both: compiled, checked and tried beside the stream; it takes over, or is held.
    Propose(Propose),
    /// Show how the candidate that waits differs from what runs, on the rows that were just seen.
    Diff(One),
    /// Let the candidate that waits take over, whatever the thresholds say.
    Accept(One),
    /// Go back to a version that ran before.
    Rollback(Which),
    /// Let nothing else run than one version.
    Pin(Which),
    /// Let others run again.
    Unpin(One),
}

impl Stage {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(),
            Self::History(history) => history.run(),
            Self::Propose(propose) => propose.run(),
            Self::Diff(one) => one.diff(),
            Self::Accept(one) => one.accept(),
            Self::Rollback(which) => which.rollback(),
            Self::Pin(which) => which.pin(),
            Self::Unpin(one) => one.unpin(),
        }
    }
}

/// How an answer is written.
#[derive(Args)]
struct Output {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Output {
    /// The answer as JSON, or as `text` writes it.
    fn write<T: Serialize>(
        &self,
        answer: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        if !self.json {
            return Ok(text(&mut out, answer)?);
        }
        let json = serde_json::to_string_pretty(answer)
            .map_err(|error| Error::new(ErrorKind::Internal, "the answer has no JSON form").caused_by(error))?;
        Ok(writeln!(out, "{json}")?)
    }
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let StagePlace { client, stage, .. } = self.place.find()?;
        let mut stages = client.stages()?;
        if let Some(stage) = stage {
            // Its answer to a name that there is not names those that there are.
            client.history(Some(&stage))?;
            stages.retain(|state| state.stage == stage);
        }
        self.output.write(&stages, |out, stages| show::stages(out, stages))
    }
}

#[derive(Args)]
pub(super) struct History {
    #[command(flatten)]
    place: PlaceArgs,
    /// How many of the last entries.
    #[arg(short = 'n', long, default_value_t = 50, value_name = "NUMBER")]
    last: usize,
    #[command(flatten)]
    output: Output,
}

impl History {
    fn run(&self) -> Result<(), Failure> {
        let StagePlace { client, stage, .. } = self.place.find()?;
        let entries = client.history(stage.as_deref())?;
        let last = &entries[entries.len().saturating_sub(self.last)..];
        self.output.write(&last, |out, entries| show::history(out, entries))
    }
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["plugin", "config"]))]
pub(super) struct Propose {
    #[command(flatten)]
    place: PlaceArgs,
    /// A component; without it the plugin that runs, with another config.
    #[arg(long, value_name = "FILE.wasm")]
    plugin: Option<PathBuf>,
    /// A config as JSON, or `@FILE` with it; without it the config that runs. It holds until the stage's `config` in the
    /// pipeline file changes.
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Propose {
    fn run(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        let plugin = self.plugin.as_ref().map(|file| {
            std::fs::read(file).map_err(|error| {
                Error::new(ErrorKind::Config, format!("the plugin {} cannot be read", file.display())).caused_by(error)
            })
        });
        let config = self.config.as_deref().map(config_of).transpose()?;
        let outcome = client.propose(&stage, plugin.transpose()?.as_deref(), config)?;
        self.output.write(&outcome, |out, outcome| show::outcome(out, outcome))
    }
}

/// A config that stands on the command line, or in a file.
fn config_of(text: &str) -> Result<Value> {
    let wrong = |what: String| Error::new(ErrorKind::Config, what);
    let (origin, json) = match text.strip_prefix('@') {
        None => ("--config".to_owned(), text.to_owned()),
        Some(file) => {
            let read = std::fs::read_to_string(file);
            let json = read.map_err(|error| wrong(format!("the config {file} cannot be read")).caused_by(error))?;
            (file.to_owned(), json)
        }
    };
    let value: Value = serde_json::from_str(&json).map_err(|error| {
        wrong(format!("{origin} is no JSON")).caused_by(error).help("such as --config '{\"max_age\": \"7d\"}'")
    })?;
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(wrong(format!("{origin} is no JSON object")).help("such as --config '{\"max_age\": \"7d\"}'")),
    }
}

#[derive(Args)]
pub(super) struct One {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

impl One {
    fn diff(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        self.output.write(&client.diff(&stage)?, |out, candidate| show::candidate(out, &stage, candidate))
    }

    fn accept(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        self.output.write(&client.accept(&stage)?, |out, outcome| show::outcome(out, outcome))
    }

    fn unpin(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        self.output.write(&client.unpin(&stage)?, |out, outcome| show::outcome(out, outcome))
    }
}

#[derive(Args)]
pub(super) struct Which {
    #[command(flatten)]
    place: PlaceArgs,
    /// The version: its digest or the beginning of it. By default the one before (rollback), the one that runs (pin).
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Which {
    fn rollback(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        let back = client.rollback(&stage, self.digest()?)?;
        let rewind = self.place.rewind_command()?;
        self.output.write(&back, |out, back| show::rolled_back(out, &stage, back, &rewind))
    }

    fn pin(&self) -> Result<(), Failure> {
        let (client, stage) = self.place.find()?.of_stage()?;
        self.output.write(&client.pin(&stage, self.digest()?)?, |out, outcome| show::outcome(out, outcome))
    }

    /// An empty one would be the beginning of all.
    fn digest(&self) -> Result<Option<String>> {
        match self.to.as_deref() {
            Some(text) if text.is_empty() || !text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) => {
                Err(Error::new(ErrorKind::Config, format!("\"{text}\" is no digest, nor the beginning of one"))
                    .help("a digest is lower-case hex; `millstream stage history` has them"))
            }
            digest => Ok(digest.map(str::to_owned)),
        }
    }
}
