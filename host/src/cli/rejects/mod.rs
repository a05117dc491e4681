//! `millstream rejects`: what was refused, and how it goes in again. Everything but a replay reads files alone: no host has
//! to run.

mod show;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;
use serde_json::{Map, Value};

use super::run::{parse_kill_at, stop_on_signals};
use super::{Failure, PipelineArgs};
use crate::clock::{Clock, SystemClock};
use crate::commit::Step;
use crate::config::{KafkaOutput, Pipeline, Rejects, plain_duration};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::{TopicReject, read_rejects};
use crate::output::reject_object;
use crate::replay::{
    Block, Blocks, Filter, RECORD_COLUMNS, Replayed, Replays, Request, StoredFile, files, id_of, parse_id,
    partition_file, place_of, topic_id,
};
use crate::service::control::Client;
use crate::service::{self, Mode, RunSettings};

/// See refused rows and records, and let them go in again.
#[derive(Subcommand)]
pub(super) enum Command {
    /// List them, newest first, a line each.
    List(List),
    /// Show everything of one, the original record too.
    Show(Show),
    /// Count them by stage, reason and plugin.
    Count(Count),
    /// Let them go in again, each once: a record at the decoder of its source, a row at the stage that refused it. A host
    /// that runs takes them up; when none runs, this command does it, and reads no source.
    Replay(Replay),
}

impl Command {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Count(count) => count.run(),
            Self::Replay(replay) => replay.run(),
        }
    }
}

/// Which rejects; all that is said has to hold.
#[derive(Args)]
struct FilterArgs {
    /// Refused by this stage; `source.NAME` is the decoder of a source.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// For this reason.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// By the plugin with this digest, or the beginning of it.
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// From this source.
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Refused at this time or later, which is the time of the commit: `2025-06-01T12:00:00Z`, `2025-06-01` (UTC), or how
    /// long ago, such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Refused before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
}

impl FilterArgs {
    fn filter(&self, ids: &[String]) -> Filter {
        Filter {
            ids: ids.to_vec(),
            stage: self.stage.clone(),
            reason: self.reason.clone(),
            digest: self.digest.clone(),
            source: self.source.clone(),
            since_ms: self.since,
            until_ms: self.until,
        }
    }
}

/// A time in ms since 1970.
fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ago) = plain_duration(text) {
        return Ok(SystemClock.now_ms().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    let of_day = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let time = text.parse::<Timestamp>().ok().or_else(|| text.parse::<Date>().ok().and_then(of_day));
    time.map(Timestamp::as_millisecond)
        .ok_or_else(|| "a time is 2025-06-01T12:00:00Z, 2025-06-01, or how long ago, such as 2h".to_owned())
}

/// The pipeline as far as it says where its rejects are: what only the host's environment has stands for itself, but for
/// the brokers of a topic, which are asked.
fn pipeline(args: &PipelineArgs) -> Result<Pipeline, Failure> {
    let environment = |name: &str| std::env::var(name).ok().or_else(|| Some(name.to_owned()));
    let pipeline = crate::config::read(&std::path::absolute(&args.pipeline)?, &args.overrides, &environment)?;
    match pipeline.rejects {
        Rejects::File { .. } => Ok(pipeline),
        Rejects::Kafka(_) => args.read(),
    }
}

/// A reject that was found.
struct Found {
    /// What it is called.
    id: String,
    /// When it was committed, or written to its topic.
    at_ms: i64,
    /// Whether it was replayed.
    replayed: bool,
    /// Its columns.
    columns: Map<String, Value>,
}

impl Found {
    /// In words: what it is called, when it was refused, whether it was replayed, and its columns.
    fn object(self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("id".to_owned(), self.id.into());
        object.insert("rejected_at".to_owned(), instant(self.at_ms).into());
        object.insert("replayed".to_owned(), self.replayed.into());
        object.extend(self.columns);
        object
    }
}

/// Calls `each` with every reject that is meant, without its record: of files the oldest file first, of a topic the oldest
/// record first.
fn for_each(pipeline: &Pipeline, filter: &Filter, mut each: impl FnMut(Found) -> Result<()>) -> Result<()> {
    filter.check()?;
    match &pipeline.rejects {
        Rejects::File { path, .. } => {
            let replayed = Replays::of(pipeline).replayed()?;
            for file in files(path)?.iter().filter(|file| filter.has_file(file)) {
                let mut blocks = Blocks::open(&file.name, &file.path, false)?;
                while let Some(block) = blocks.next_block()? {
                    for row in (0..block.rows.num_rows()).filter(|row| filter.has_row(&block, *row)) {
                        each(found(file, &block, row, &replayed))?;
                    }
                }
            }
            Ok(())
        }
        Rejects::Kafka(topic) => {
            let replayed = Replays::of(pipeline).replayed()?;
            let mut all = Vec::new();
            read_rejects(topic, |mut reject| {
                if filter.has_topic(&pipeline.name, &reject) {
                    reject.columns.retain(|name, _| !is_of_record(name));
                    all.push(of_topic(topic, reject, &replayed));
                }
                Ok(())
            })?;
            all.sort_by_key(|found| found.at_ms);
            all.into_iter().try_for_each(each)
        }
    }
}

fn found(file: &StoredFile, block: &Block, row: usize, replayed: &Replayed) -> Found {
    let number = block.number(row);
    Found {
        id: id_of(&file.name, number),
        at_ms: file.committed_at_ms,
        replayed: replayed.has(&file.name, number),
        columns: reject_object(&block.rows, row),
    }
}

fn of_topic(topic: &KafkaOutput, reject: TopicReject, replayed: &Replayed) -> Found {
    let file = partition_file(&topic.topic.value, reject.partition);
    let replayed = replayed.has(&file, reject.offset);
    Found { id: topic_id(&reject), at_ms: reject.written_at_ms, replayed, columns: reject.columns }
}

/// Whether a field is one of the record itself.
fn is_of_record(name: &str) -> bool {
    RECORD_COLUMNS.contains(&name.trim_end_matches("_hex"))
}

fn instant(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |instant| instant.to_string())
}

fn write_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "the answer has no JSON form").caused_by(error))?;
    Ok(writeln!(std::io::stdout().lock(), "{json}")?)
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many at most, the newest.
    #[arg(short = 'n', long, default_value_t = 100, value_name = "NUMBER")]
    last: usize,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let (mut last, mut more) = (VecDeque::new(), 0_u64);
        for_each(&pipeline(&self.pipeline)?, &self.filter.filter(&[]), |found| {
            last.push_front(found.object());
            if last.len() > self.last {
                last.pop_back();
                more += 1;
            }
            Ok(())
        })?;
        let last = Vec::from(last);
        match self.json {
            true => write_json(&last),
            false => Ok(show::list(&mut std::io::stdout().lock(), &last, more)?),
        }
    }
}

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Its id, as `list` shows it.
    id: String,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(&self) -> Result<(), Failure> {
        Filter { ids: vec![self.id.clone()], ..Filter::default() }.check()?;
        let pipeline = pipeline(&self.pipeline)?;
        let found = match &pipeline.rejects {
            Rejects::File { path, .. } => self.in_files(&pipeline, path)?,
            Rejects::Kafka(topic) => self.in_topic(&pipeline, topic)?,
        };
        let object = found.ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("there is no reject {}", self.id))
                .help("`millstream rejects list` shows those that are there")
        })?;
        let object = object.object();
        match self.json {
            true => write_json(&object),
            false => Ok(show::one(&mut std::io::stdout().lock(), &object)?),
        }
    }

    fn in_files(&self, pipeline: &Pipeline, folder: &Path) -> Result<Option<Found>> {
        let Some((name, number)) = parse_id(&self.id) else { return Ok(None) };
        let files = files(folder)?;
        let Some(file) = files.iter().find(|file| *file.name == *name) else { return Ok(None) };
        let mut blocks = Blocks::open(&file.name, &file.path, true)?;
        while let Some(block) = blocks.next_block()? {
            let row = usize::try_from(number - block.first_row).ok().filter(|row| *row < block.rows.num_rows());
            if let Some(row) = row {
                return Ok(Some(found(file, &block, row, &Replays::of(pipeline).replayed()?)));
            }
        }
        Ok(None)
    }

    fn in_topic(&self, pipeline: &Pipeline, topic: &KafkaOutput) -> Result<Option<Found>> {
        let replayed = Replays::of(pipeline).replayed()?;
        let mut wanted = None;
        read_rejects(topic, |reject| {
            if topic_id(&reject) == self.id {
                wanted = Some(of_topic(topic, reject, &replayed));
            }
            Ok(())
        })?;
        Ok(wanted)
    }
}

#[derive(Args)]
pub(super) struct Count {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Rejects of one kind.
#[derive(Clone, Debug, Serialize)]
struct Counted {
    /// The stage, or `source.NAME` for a decoder.
    stage: String,
    reason: String,
    digest: Option<String>,
    rejects: u64,
    replayed: u64,
}

impl Count {
    fn run(&self) -> Result<(), Failure> {
        let mut counts: BTreeMap<(String, String, Option<String>), (u64, u64)> = BTreeMap::new();
        for_each(&pipeline(&self.pipeline)?, &self.filter.filter(&[]), |found| {
            let text = |column: &str| found.columns.get(column).and_then(Value::as_str).map(str::to_owned);
            let kind = (place_of(&found.columns), text("reason").unwrap_or_default(), text("digest"));
            let count = counts.entry(kind).or_default();
            count.0 += 1;
            count.1 += u64::from(found.replayed);
            Ok(())
        })?;
        let counts = counts.into_iter().map(|((stage, reason, digest), (rejects, replayed))| Counted {
            stage,
            reason,
            digest,
            rejects,
            replayed,
        });
        let counts: Vec<_> = counts.collect();
        match self.json {
            true => write_json(&counts),
            false => Ok(show::counts(&mut std::io::stdout().lock(), &counts)?),
        }
    }
}

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// These alone, by their ids.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Also those that were replayed already: what came of them then stays, so rows may be there twice.
    #[arg(long)]
    again: bool,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Tests only: kill the process behind a step of an epoch, such as `committed:3`.
    #[arg(long, hide = true, env = "MILLSTREAM_KILL_AT", value_parser = parse_kill_at)]
    kill_at: Option<(Step, u64)>,
}

impl Replay {
    fn run(&self) -> Result<(), Failure> {
        let request = Request { filter: self.filter.filter(&self.ids), again: self.again };
        let seen = pipeline(&self.pipeline)?;
        let client = Client::new(&seen.data, format!("millstream run {}", self.pipeline.pipeline.display()));
        if client.is_answered() {
            let asked = client.replay(&request)?;
            return match self.json {
                true => write_json(&asked),
                false => Ok(show::asked(&mut std::io::stdout().lock(), &asked, true)?),
            };
        }
        let pipeline = self.pipeline.read()?;
        let asked = Replays::of(&pipeline).ask(&request, SystemClock.now_ms())?;
        if !self.json {
            show::asked(&mut std::io::stdout().lock(), &asked, false)?;
        }
        if asked.id.is_some() {
            // Kept by now: should this run not come to its end, the next one goes on with it.
            let settings =
                RunSettings { mode: Mode::Replay, progress: false, from: None, moved: false, kill_at: self.kill_at };
            let summary = service::run(pipeline, &settings, &stop_on_signals()?)?;
            if !self.json {
                write!(std::io::stdout().lock(), "{summary}")?;
            }
        }
        if self.json { write_json(&asked) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_a_day_or_so_long_ago() {
        assert_eq!(parse_time("1970-01-02T00:00:01Z").unwrap(), 86_401_000);
        assert_eq!(parse_time("1970-01-02").unwrap(), 86_400_000);
        let ago = SystemClock.now_ms() - parse_time("2h").unwrap();
        assert!((7_200_000..7_260_000).contains(&ago), "{ago}");
        assert!(parse_time("yesterday").is_err());
    }
}
