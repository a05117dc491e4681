//! Made-up input of a known size and content: `millstream generate clicks`, the job of 100 million events a day that
//! examples/clicks is about. The same settings give the same bytes on every machine and with every later version, and
//! the summary says how many of each kind were made, so that what a pipeline counts can be held against it.

mod clicks;
mod dimensions;
mod file;
mod kafka;
mod random;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use clicks::Summary;
pub use file::FileSink;
pub use kafka::KafkaSink;

use crate::error::{Error, ErrorKind, Result};

/// `millstream generate clicks`: what to make and where to put it.
#[derive(Clone, Debug, clap::Args)]
pub struct ClicksSettings {
    /// How many events
    #[arg(long, default_value_t = 4_000_000)]
    pub events: u64,
    /// The same seed gives the same events
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rows of the users table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub users: u32,
    /// Rows of the urls table
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub urls: u32,
    /// Rows of the devices table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub devices: u32,
    /// When the first event happened; the others follow at 100 million a day
    #[arg(long, default_value = "2025-06-01T12:00:00Z")]
    pub start: jiff::Timestamp,
    /// Events a second, with the time of day as their time, instead of all at once
    #[arg(long)]
    pub rate: Option<u32>,
    /// Fields that no pipeline reads, added to each event (to measure what they cost)
    #[arg(long, default_value_t = 0)]
    pub extra_fields: u32,
    /// Write events to this file, one JSON object a line; compressed when it ends in .zst
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write users.parquet, urls.parquet and devices.parquet into this folder
    #[arg(long, value_name = "FOLDER")]
    pub dimensions: Option<PathBuf>,
    /// Send events to these brokers (host:port, separated by commas)
    #[arg(long, value_name = "BROKERS", requires = "topic")]
    pub kafka: Option<String>,
    /// The topic; created when it is not there
    #[arg(long, requires = "kafka")]
    pub topic: Option<String>,
    /// The partitions of a topic that is created
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub partitions: i32,
}

/// Events on their way to a sink.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// The events, one a line: each ends in a line feed.
    pub lines: Vec<u8>,
    /// Where each event's line ends in `lines`.
    pub ends: Vec<usize>,
    /// When each event happened, in milliseconds since 1970-01-01 UTC.
    pub timestamps_ms: Vec<i64>,
}

impl Events {
    /// Each event without its line feed, and its timestamp.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], i64)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).zip(&self.timestamps_ms).map(|((start, end), ts)| (&self.lines[start..end - 1], *ts))
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.ends.clear();
        self.timestamps_ms.clear();
    }
}

/// Where generated events go.
pub trait EventSink {
    /// Takes the next events.
    fn take(&mut self, events: &Events) -> Result<()>;
    /// Returns when everything that was taken is on disk, or acknowledged by the broker.
    fn finish(&mut self) -> Result<()>;
}

/// Events that are handed to a sink at once.
const CHUNK_EVENTS: u64 = 1_000;

/// Makes the tables and the events that the settings ask for, each where they say.
pub fn run(settings: &ClicksSettings) -> Result<Summary> {
    if settings.out.is_none() && settings.kafka.is_none() && settings.dimensions.is_none() {
        return Err(Error::new(ErrorKind::Config, "generate clicks was not told where to write")
            .help("add --out FILE, --kafka BROKERS --topic TOPIC, or --dimensions FOLDER"));
    }
    if let Some(folder) = &settings.dimensions {
        dimensions::write(settings, folder)?;
    }
    let mut sinks: Vec<Box<dyn EventSink>> = Vec::new();
    if let Some(path) = &settings.out {
        sinks.push(Box::new(FileSink::create(path)?));
    }
    if let (Some(brokers), Some(topic)) = (&settings.kafka, &settings.topic) {
        sinks.push(Box::new(KafkaSink::connect(brokers, topic, settings.partitions)?));
    }
    if sinks.is_empty() {
        return Ok(Summary::default());
    }
    clicks(settings, &mut sinks)
}

/// Makes the events and hands them to each of the sinks.
pub fn clicks(settings: &ClicksSettings, sinks: &mut [Box<dyn EventSink>]) -> Result<Summary> {
    let mut generator = clicks::Generator::new(settings);
    let mut pace = settings.rate.map(Pace::new);
    let mut events = Events::default();
    let mut made = 0;
    while made < settings.events {
        let now_ms = pace.as_mut().map(|pace| pace.wait(made));
        let chunk = pace.as_ref().map_or(CHUNK_EVENTS, Pace::chunk_events).min(settings.events - made);
        events.clear();
        for number in made..made + chunk {
            generator.add(number, now_ms, &mut events);
        }
        for sink in sinks.iter_mut() {
            sink.take(&events)?;
        }
        made += chunk;
    }
    for sink in sinks.iter_mut() {
        sink.finish()?;
    }
    Ok(generator.into_summary())
}

/// Holds a steady rate, in steps of about 10 ms.
struct Pace {
    started: Instant,
    events_per_second: u32,
}

impl Pace {
    fn new(events_per_second: u32) -> Self {
        Self { started: Instant::now(), events_per_second: events_per_second.max(1) }
    }

    fn chunk_events(&self) -> u64 {
        u64::from(self.events_per_second / 100).clamp(1, CHUNK_EVENTS)
    }

    /// Returns at the time of event `number`, with the time of day in milliseconds since 1970-01-01 UTC.
    #[expect(clippy::disallowed_methods, reason = "the pace of the events, which have the time of day")]
    fn wait(&mut self, number: u64) -> i64 {
        let due = Duration::from_secs_f64(number as f64 / f64::from(self.events_per_second));
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
        jiff::Timestamp::now().as_millisecond()
    }
}

#[cfg(test)]
mod tests;
