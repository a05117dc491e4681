//! The command line. Results go to stdout, everything else to stderr; exit codes: 0 done, 1 failed, 2 wrong usage.

mod capture;
mod cases;
mod check;
mod columns;
mod drain;
mod explain;
mod infer;
mod plugin;
mod preview;
mod rejects;
mod rewind;
mod run;
mod stage;
mod test;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Pipeline};
use crate::error::{Error, ErrorKind};
use crate::plugin::Engine;
use crate::service::Failure;

/// Reads events from Kafka or files, takes them through stages that are sandboxed WebAssembly plugins and lookups in
/// dimension tables, and writes Parquet. A stage is replaced while the stream runs; a bad row never stops it; a crash
/// never loses or doubles one.
#[derive(Parser)]
#[command(
    name = "millstream",
    version,
    max_term_width = 110,
    after_help = "\
A first round:
  millstream infer events.jsonl                  propose the columns of a source
  millstream check pipeline.toml                 find every mistake and draw the plan
  millstream preview pipeline.toml -n 20         see rows after each stage; nothing is written
  millstream plugin new transform clean-mail     make a plugin: code, tests, cases, a pipeline to try it in
  millstream test pipeline.toml                  run it on the records of its cases and compare; nothing is written
  millstream run pipeline.toml --until-caught-up run to the end of the input
  millstream run pipeline.toml --follow          go on for good; save a plugin's file to swap it while it runs

docs/pipeline.md describes the pipeline file, docs/plugins.md how to write a plugin, docs/cases.md how to test them."
)]
struct Cli {
    /// What is logged to stderr, such as `info`, `warn` or `millstream=debug`; default `info` for `run` and
    /// `rejects replay`, else `warn`.
    #[arg(long, global = true, env = "MILLSTREAM_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Log as JSON, a line an event.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a pipeline.
    Run(run::Run),
    /// Take out of the lake what was read from some offsets on, so that the next run reads it again.
    Rewind(rewind::Rewind),
    /// Find every problem of a pipeline file and its plugins' contracts at once, and draw the plan.
    Check(check::Check),
    /// Propose a source's columns from real records.
    Infer(infer::Infer),
    /// Show rows after each stage as tables; commits nothing, joins no consumer group.
    Preview(preview::Preview),
    /// Run a pipeline on the rows of cases, and show what differs from what they expect.
    Test(test::Test),
    /// Say what made a Parquet file: records, epochs, plan, plugins and their config.
    Explain(explain::Explain),
    /// See and change what the stages of a running pipeline run.
    #[command(subcommand)]
    Stage(stage::Stage),
    /// Let a running host finish and end; copy what it needs to go on elsewhere.
    Drain(drain::Drain),
    /// Take rows in front of a stage of a running pipeline into a file.
    Capture(capture::Capture),
    /// See refused rows and records, and let them go in again.
    #[command(subcommand)]
    Rejects(rejects::Command),
    /// Make, build and try plugins.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Make data for trying things out.
    #[command(subcommand)]
    Generate(Generate),
}

#[derive(Subcommand)]
enum Generate {
    /// Clicks with users, urls and devices, for examples/clicks: seeded, the same bytes for the same settings.
    Clicks(crate::generate::ClicksSettings),
}

/// The pipeline that a command works on.
#[derive(Args)]
struct PipelineArgs {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml")]
    pipeline: PathBuf,
    /// Override a key of the pipeline file, such as `--set source.clicks.file.path=clicks.jsonl`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
}

impl PipelineArgs {
    fn read(&self) -> Result<Pipeline, Failure> {
        self.read_with(&BTreeMap::new(), &BTreeMap::new())
    }

    /// With keys that are set before those of the command line, and with values for variables that are not there.
    fn read_with(
        &self,
        set: &BTreeMap<String, String>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Pipeline, Failure> {
        let environment = |name: &str| std::env::var(name).ok().or_else(|| variables.get(name).cloned());
        let set = set.iter().map(|(key, value)| (key.clone(), value.clone()));
        let overrides: Vec<(String, String)> = set.chain(self.overrides.iter().cloned()).collect();
        // Absolute, so that what is committed means the same wherever the next start comes from.
        let path = std::path::absolute(&self.pipeline)?;
        Ok(config::read(&path, &overrides, &environment)?)
    }
}

/// The engine of commands that have no data folder: compiled code is kept in the user's cache.
fn engine() -> Result<Engine, Error> {
    let engine = Engine::new()?;
    Ok(match user_cache(&|name| std::env::var_os(name)) {
        Some(folder) => engine.with_cache(&folder),
        None => engine,
    })
}

/// `$XDG_CACHE_HOME/millstream/compiled`, else `~/.cache/millstream/compiled`; none where there is no home.
fn user_cache(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // As the XDG specification has it, a path that is not absolute does not count.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("millstream").join("compiled"))
}

fn parse_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("it has the form KEY=VALUE, such as `epoch.interval=1s`".to_owned()),
    }
}

/// Stdout went away (`millstream check | head`).
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Error(unwritable(error))
    }
}

/// What is said when stdout went away.
fn unwritable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, "the result cannot be written").caused_by(error)
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli);
    let done = match &cli.command {
        Command::Run(command) => command.run(),
        Command::Rewind(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Infer(command) => command.run(),
        Command::Preview(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Stage(command) => command.run(),
        Command::Drain(command) => command.run(),
        Command::Capture(command) => command.run(),
        Command::Rejects(command) => command.run(),
        Command::Plugin(command) => command.run(),
        Command::Generate(Generate::Clicks(settings)) => generate_clicks(settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // When stderr is gone as well, the exit code is all that is left to say.
            let _ = report(&failure);
            ExitCode::FAILURE
        }
    }
}

fn generate_clicks(settings: &crate::generate::ClicksSettings) -> Result<(), Failure> {
    let summary = crate::generate::run(settings)?;
    Ok(write!(std::io::stdout().lock(), "{summary}")?)
}

fn report(failure: &Failure) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    match failure {
        Failure::Problems(problems) => writeln!(stderr, "{}", problems.render(colours())),
        Failure::Error(error) => {
            writeln!(stderr, "error: {error}")?;
            match error.way_out() {
                Some(help) => writeln!(stderr, "help:  {help}"),
                None => Ok(()),
            }
        }
    }
}

/// Whether stderr is a terminal that wants colours.
fn colours() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn start_log(cli: &Cli) {
    let runs = matches!(cli.command, Command::Run(_) | Command::Rejects(rejects::Command::Replay(_)));
    let default = if runs { "info" } else { "warn" };
    let filter = EnvFilter::new(cli.log.as_deref().unwrap_or(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours());
    if cli.log_json { log.json().init() } else { log.with_target(false).init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_cache_is_where_the_xdg_specification_has_it() {
        let cache = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            user_cache(&find)
        };
        let here = |path: &str| Some(PathBuf::from(path));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), here("/x/millstream/compiled"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]), here("/h/.cache/millstream/compiled"));
        assert_eq!(cache(&[("HOME", "/h")]), here("/h/.cache/millstream/compiled"));
        assert_eq!(cache(&[]), None);
    }
}
