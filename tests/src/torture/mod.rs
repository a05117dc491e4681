//! Torture: producers go on all the time while hosts are killed, frozen past their session, stopped and started again, the
//! broker is restarted, the plugin swapped and a table reloaded. At the end every record of the source is in the lake and in
//! the topic, or among the rejects, or was filtered: exactly once.
//!
//! What is done when follows from a seed: the same seed does the same in the same order. When it hits is up to the machine.

mod hosts;
mod ledger;
mod pipeline;
mod producer;
mod schedule;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::host::put;
use crate::kafka::Kafka;
use crate::tag::version;
use hosts::{Hosts, Quiet};
use ledger::Ledger;
use pipeline::{Place, TOPIC};
use producer::Producer;
use schedule::{Step, schedule};

/// How to torture.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What decides about everything that is done.
    pub seed: u64,
    /// How long it goes on.
    pub time: Duration,
    /// Hosts that share group, lake and topics.
    pub hosts: usize,
}

/// What it came to.
#[derive(Debug)]
pub struct Report {
    /// Steps by name.
    pub steps: Vec<(&'static str, usize)>,
    /// What the last runs of the hosts had committed in all.
    pub commits: u64,
    /// What became of the source's records.
    pub ledger: Ledger,
}

/// What went wrong, and where it can be looked at.
#[derive(Debug)]
pub struct Failure {
    /// What is lost, doubled or left, with files and offsets.
    pub what: String,
    /// The folder with pipeline, lake, data folders and logs.
    pub folder: PathBuf,
}

/// Tortures, on a broker of its own.
///
/// # Errors
/// When a record is not where it belongs exactly once, when something is left in staging, or a host ended by itself.
pub fn torture(settings: &Settings) -> Result<Report, Failure> {
    let kafka = Kafka::start();
    let folder = tempfile::Builder::new().prefix("millstream-torture-").tempdir().expect("a temporary folder");
    let place = Place::new(folder.path(), &kafka.brokers());
    kafka.create_topic(TOPIC, pipeline::PARTITIONS);
    kafka.create_topic(pipeline::OUTPUT, 2);
    let done = go(settings, &kafka, &place).and_then(|steps| settle(settings, &kafka, &place, steps));
    done.map_err(|what| Failure { what, folder: folder.keep() })
}

/// The time of torture: what was done how often.
fn go(settings: &Settings, kafka: &Kafka, place: &Place) -> Result<Vec<(&'static str, usize)>, String> {
    let steps = schedule(settings.seed, settings.time, settings.hosts);
    let mut hosts = Hosts::new(place, settings.hosts);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let producer = Producer::start(scope, kafka, settings.seed);
        // A broker that starts is not waited for.
        let mut starting = None;
        for (at, step) in &steps {
            #[expect(clippy::disallowed_methods, reason = "the pace of the blows")]
            std::thread::sleep((began + *at).saturating_duration_since(Instant::now()));
            hosts.none_ended_alone()?;
            match step {
                Step::Start(host) => hosts.start(*host)?,
                Step::Kill(host) => hosts.kill(*host),
                Step::Stop(host) => hosts.stop(*host),
                Step::Freeze(host) => hosts.freeze(*host),
                Step::Thaw(host) => hosts.thaw(*host),
                Step::BrokerDown => {
                    joined(starting.take());
                    kafka.stop();
                }
                Step::BrokerUp => starting = Some(scope.spawn(|| kafka.start_again())),
                Step::Swap(number) => put(&place.plugin(), version(*number)),
                Step::Tear(number) => {
                    let mut bytes = version(*number);
                    // A host that has committed nothing yet has no version that it could go on with.
                    if (0..settings.hosts).all(|host| place.has_committed(host)) {
                        bytes.truncate(bytes.len() / 2);
                    }
                    put(&place.plugin(), bytes);
                }
                Step::Reload(number) => place.put_table(*number),
            }
        }
        joined(starting.take());
        producer.finish();
        hosts.finish()
    })?;
    Ok(Step::NAMES.map(|name| (name, steps.iter().filter(|(_, step)| step.name() == name).count())).to_vec())
}

fn joined(thread: Option<std::thread::ScopedJoinHandle<'_, ()>>) {
    thread.into_iter().for_each(|thread| thread.join().expect("the broker starts"));
}

/// Hosts one after the other read to the end; then everything is looked at.
fn settle(
    settings: &Settings,
    kafka: &Kafka,
    place: &Place,
    steps: Vec<(&'static str, usize)>,
) -> Result<Report, String> {
    put(&place.plugin(), version(schedule::LAST_VERSION));
    let mut quiet = Quiet::default();
    for host in 0..settings.hosts {
        quiet.add(hosts::catch_up(place, host)?);
    }
    let ledger = Ledger::read(kafka, place);
    ledger.check(kafka, place, &quiet)?;
    place.nothing_is_staged()?;
    Ok(Report { steps, commits: quiet.commits, ledger })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(|(name, times)| format!("{times} {name}")).collect();
        writeln!(f, "done: {}", steps.join(", "))?;
        let Ledger { kept, rejected, filtered, .. } = self.ledger;
        write!(
            f,
            "{} records in {} commits: {kept} once in the lake and once in the topic, {rejected} once among the rejects, {filtered} filtered",
            kept + rejected + filtered,
            self.commits
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nkept: {}", self.what, self.folder.display())
    }
}
