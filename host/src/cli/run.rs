//! `millstream run`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Failure, PipelineArgs};
use crate::commit::Step;
use crate::error::{Error, ErrorKind};
use crate::service::{self, Mode, RunSettings};
use crate::source::kafka::From;

/// Run a pipeline. SIGTERM or Ctrl-C finishes the epoch, closes every file and ends; a second one ends at once, and the
/// next start goes on from the last commit.
#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// End when everything is read that was there at the start.
    #[arg(long, conflicts_with = "follow")]
    until_caught_up: bool,
    /// Go on for good (the default); files may grow, and a plugin whose file changes is swapped while the stream runs.
    #[arg(long)]
    follow: bool,
    /// What counts where a consumer group's offsets are not those that were committed with the rows, because somebody moved
    /// them: `group` reads from there (rows may be missing or come twice), `commit` goes on where the lake ended.
    #[arg(long, value_name = "group|commit", value_parser = parse_from)]
    from: Option<From>,
    /// The data folder was moved here from another place, and the one there is gone: the host goes on as it was.
    #[arg(long)]
    moved: bool,
    /// Write what the run did to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Draw no progress bar.
    #[arg(long)]
    no_progress: bool,
    /// Tests only: kill the process behind a step of an epoch, such as `committed:3`.
    #[arg(long, hide = true, env = "MILLSTREAM_KILL_AT", value_parser = parse_kill_at)]
    kill_at: Option<(Step, u64)>,
}

pub(super) fn parse_kill_at(text: &str) -> Result<(Step, u64), String> {
    let (name, epoch) = text.split_once(':').ok_or("it has the form STEP:EPOCH")?;
    let step = Step::ALL.into_iter().find(|step| step.name() == name);
    let step = step.ok_or_else(|| format!("`{name}` is no step: {}", Step::ALL.map(Step::name).join(", ")))?;
    Ok((step, epoch.parse().map_err(|_| format!("`{epoch}` is no epoch"))?))
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "group" => Ok(From::Group),
        "commit" => Ok(From::Commit),
        _ => Err("it is `group` or `commit`".to_owned()),
    }
}

impl Run {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let pipeline = self.pipeline.read()?;
        let settings = RunSettings {
            mode: if self.until_caught_up { Mode::UntilCaughtUp } else { Mode::Follow },
            progress: !self.no_progress,
            from: self.from,
            moved: self.moved,
            kill_at: self.kill_at,
        };
        let summary = service::run(pipeline, &settings, &stop_on_signals()?)?;
        if let Some(path) = &self.summary {
            let json = serde_json::to_string_pretty(&summary)
                .map_err(|error| Error::new(ErrorKind::Internal, "the summary has no JSON form").caused_by(error))?;
            std::fs::write(path, json).map_err(|error| {
                Error::new(ErrorKind::Storage, format!("the summary {} cannot be written", path.display()))
                    .caused_by(error)
            })?;
        }
        writeln!(std::io::stdout().lock(), "{summary}")?;
        Ok(())
    }
}

/// A channel that says when to finish; the second signal ends the process at once.
pub(super) fn stop_on_signals() -> Result<Receiver<()>, Error> {
    let failed =
        |error: std::io::Error| Error::new(ErrorKind::Unavailable, "signals cannot be caught").caused_by(error);
    let (stop, stopped) = bounded(1);
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let listen = move || {
        for (number, signal) in signals.forever().enumerate() {
            if number > 0 {
                std::process::exit(128 + signal);
            }
            tracing::info!("stopping: this epoch is finished; a second signal ends at once");
            // Nobody waits for it any more when the run is at its end.
            let _ = stop.send(());
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
    Ok(stopped)
}
