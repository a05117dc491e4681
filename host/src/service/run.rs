//! One run: recover, choose the plugins, settle the spool, open the sources, then epochs until the end.
//!
//! When a broker or a file is away, the whole run goes back to the last commit and starts again inside the process: a
//! crash, an aborted epoch and a lost broker all take this one way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;

use super::assembly::{Assembly, lakes};
use super::background::Background;
use super::boundary::Boundary;
use super::choose::choose;
use super::committed::Committed;
use super::control::Control;
use super::coordinator::{Coordinator, Outcome, Request, requests};
use super::life::{By, Changes, Entry, History, Question, Watch, What};
use super::logic::{Change, Logic};
use super::progress::Progress;
use super::retention::keep_watch;
use super::share;
use super::sources::{Opening, Readers, Sources};
use super::store::PluginStore;
use super::summary::{Summary, Tally};
use super::threads::{self, Start};
use crate::clock::{Clock, SystemClock};
use crate::commit::{
    Copied, DataFolder, Epochs, Fenced, PlanStamp, Recovered, Settings, Step, Transaction, Transactions, settle_all,
};
use crate::config::{CommitTo, Delivery, Pipeline, Problems, Source, SourceKind};
use crate::dimension::Dimension;
use crate::disk::{Disk, PoisonDisk, RealDisk};
use crate::error::{Error, ErrorKind, Result, one_line};
use crate::output::Token;
use crate::pipeline::{Counts, Parts, Taps, Worker, process_cpu_ns};
use crate::plan::Plan;
use crate::plugin::Engine;
use crate::replay::{ReplayReader, Replays};
use crate::source::Positions;
use crate::source::kafka::{From, Members};

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the end of what there is when it starts.
    UntilCaughtUp,
    /// For good; files may grow.
    Follow,
    /// To the end of the replays that were asked for; no source is read.
    Replay,
}

/// How to run.
#[derive(Debug)]
pub struct RunSettings {
    /// How long.
    pub mode: Mode,
    /// Draw a progress bar on stderr.
    pub progress: bool,
    /// What counts where a group's offsets are not those that were committed with the rows.
    pub from: Option<From>,
    /// The data folder was moved here, and there is no other one.
    pub moved: bool,
    /// Kill the process with SIGKILL behind a step of an epoch (tests only).
    pub kill_at: Option<(Step, u64)>,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Problems of the pipeline file or the contracts, each with its place.
    Problems(Problems),
    /// Anything else.
    Error(Error),
}

impl std::convert::From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl std::convert::From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The longest wait before a run that lost a broker starts again.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Runs a pipeline until its end, or until something arrives on `stop`.
pub fn run(pipeline: Pipeline, settings: &RunSettings, stop: &Receiver<()>) -> Result<Summary, Failure> {
    let pipeline = Arc::new(pipeline);
    let folder = DataFolder::open(&pipeline.data, copied(&pipeline, settings))?;
    let mut tables = Vec::with_capacity(pipeline.dimensions.len());
    for dimension in &pipeline.dimensions {
        tables.push(Dimension::open(dimension, &folder.path.join("dimensions").join(&dimension.name.value))?);
    }
    let assembly = assemble(pipeline, &folder, tables)?;
    warn_of_topics(&assembly.pipeline);
    let (asking, questions) = bounded(WAITING_QUESTIONS);
    let _control = Control::start(&folder.path, &assembly.pipeline.name, asking)
        .inspect_err(|error| tracing::warn!(%error, "the run cannot be asked or told anything"));
    let stopped = Arc::new(AtomicBool::new(false));
    let life = OneLife { assembly: &assembly, settings, stop, stopped: &stopped, questions: &questions };
    let mut tally = Tally::start();
    let mut backoff = Duration::from_secs(1);
    loop {
        let committed = tally.epochs();
        let ended = life.run(&mut tally);
        assembly.close_transactions();
        // A disk that failed ends in an error, also when somebody asked for the end: nobody knows what it holds.
        let must_say = matches!(&ended, Err(Failure::Problems(_))) || ended.as_ref().is_err_and(is_of_storage);
        if stopped.load(Ordering::Relaxed) && !must_say {
            if let Err(Failure::Error(error)) = &ended {
                tracing::warn!(%error, "the last epoch is not known to be committed: the next start finds out, and reads its rows again if it is not");
            }
            return Ok(tally.finish(&assembly));
        }
        match ended {
            Ok(Outcome::Done) => return Ok(tally.finish(&assembly)),
            Ok(Outcome::Moved) => tracing::info!("partitions move: the run goes on with what its groups deal out now"),
            Ok(Outcome::Aborted { changes, why }) => take_back(&assembly, &changes, &why),
            Err(Failure::Error(error)) if settings.mode == Mode::Follow && error.kind() == ErrorKind::Unavailable => {
                if tally.epochs() > committed {
                    backoff = Duration::from_secs(1);
                }
                tracing::warn!(%error, retry_in_seconds = backoff.as_secs(), "the run goes back to the last commit");
                if stop.recv_timeout(backoff).is_ok() {
                    return Ok(tally.finish(&assembly));
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// What outlives a plan, of a data folder that this process holds.
pub(super) fn assemble(pipeline: Arc<Pipeline>, folder: &DataFolder, tables: Vec<Dimension>) -> Result<Arc<Assembly>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let disk: Arc<dyn Disk> = Arc::new(PoisonDisk::new(Arc::new(RealDisk)));
    Ok(Arc::new(Assembly {
        engine: Engine::new()?.with_cache(&folder.path.join("compiled")),
        store: PluginStore::new(&folder.path),
        replays: Arc::new(Replays::of(&pipeline)),
        pipeline,
        tables: Arc::new(tables),
        host: folder.host.clone(),
        disk,
        history: History::open(&folder.path, Arc::clone(&clock))?,
        clock,
        taps: Taps::default(),
        transactions: Mutex::default(),
        fenced: Fenced::default(),
        members: Members::default(),
    }))
}

fn is_of_storage(failure: &Failure) -> bool {
    matches!(failure, Failure::Error(error) if error.kind() == ErrorKind::Storage)
}

/// What becomes of a data folder that is a copy.
fn copied(pipeline: &Pipeline, settings: &RunSettings) -> Copied {
    let is_dealt_out = |source: &Source| matches!(source.kind, SourceKind::Kafka(_));
    match settings.moved {
        true => Copied::Moved,
        false if pipeline.commit == CommitTo::Kafka && pipeline.sources.iter().all(is_dealt_out) => Copied::NewHost,
        false => Copied::Refused,
    }
}

/// Notes which versions did not pass: the next start, which is now, goes on with those before.
fn take_back(assembly: &Assembly, changes: &[Change], why: &str) {
    let why = &one_line(why);
    for change in changes {
        let epoch = assembly.history.reigns(&change.stage).into_keys().next_back();
        let entry = Entry::new(&change.stage, &change.next, What::Failed, By::Host).why(why);
        assembly.history.add(Entry { epoch, ..entry });
        tracing::warn!("swap: failed its probation, the epoch is made again by the version before: {change}: {why}");
    }
}

/// Says which outputs may get a row twice.
fn warn_of_topics(pipeline: &Pipeline) {
    for (output, settings) in pipeline.topics().filter(|(_, topic)| topic.delivery == Delivery::AtLeastOnce) {
        let topic = &settings.topic.value;
        tracing::warn!(
            output,
            topic,
            "rows reach this topic at least once: after a crash or a lost broker some come again"
        );
    }
}

/// Questions that may wait for an answer.
const WAITING_QUESTIONS: usize = 16;

/// A run between two looks at the last commit.
struct OneLife<'a> {
    assembly: &'a Arc<Assembly>,
    settings: &'a RunSettings,
    stop: &'a Receiver<()>,
    /// Set when something arrived on `stop`.
    stopped: &'a Arc<AtomicBool>,
    questions: &'a Receiver<Question>,
}

impl OneLife<'_> {
    /// From the last commit to the end, or to an error.
    fn run(&self, tally: &mut Tally) -> Result<Outcome, Failure> {
        let transactions = self.assembly.open_transactions()?;
        self.run_with(transactions.as_ref(), tally).map_err(|failure| match (failure, &transactions) {
            (Failure::Error(error), Some(transactions)) => Failure::Error(transactions.unless_outrun(error)),
            (failure, _) => failure,
        })
    }

    fn run_with(&self, transactions: Option<&Arc<Transactions>>, tally: &mut Tally) -> Result<Outcome, Failure> {
        let Self { assembly, settings, .. } = *self;
        let began_cpu_ns = process_cpu_ns();
        let pipeline = &assembly.pipeline;
        // Before the plugins are read: a file that changes from here on is seen.
        let watch = if settings.mode == Mode::Follow { Watch::start(assembly)? } else { None };
        let (mut epochs, recovered) = Epochs::open(settings_of(assembly, settings.kill_at, transactions.cloned()))?;
        let (plan, logic) = choose(assembly, recovered.plan.as_ref())?;
        let (plan, stamp) = number_plan(assembly, plan, &logic, &recovered);
        settle_spool(assembly, &mut epochs, &recovered, tally)?;
        let gone = epochs.last().map(|last| assembly.replays.gone(&last.positions)).transpose()?;
        epochs.forget(&gone.unwrap_or_default());
        let sources = self.open_sources(&mut epochs, transactions)?;
        let read = epochs.last().map(|last| last.positions.clone()).unwrap_or_default();
        assembly.replays.remove_leftovers()?;
        let follow = settings.mode == Mode::Follow;
        let replays = ReplayReader::new(Arc::clone(&assembly.replays), &assembly.host.id, transactions, &read, follow);
        tally.add_gaps(sources.gaps());
        note_start(assembly, &logic, &stamp, epochs.next_epoch());
        if transactions.is_some() {
            share::say(&mut epochs, &stamp)?;
        }

        let combines = assembly.combines(&stamp);
        let progress = Progress::start(settings.progress, Arc::clone(&sources), tally.rows());
        let (worker_events, events) = unbounded();
        let parts = assembly.parts(&plan, &logic, &stamp, epochs.next_epoch())?;
        tally.add_start(began_cpu_ns);
        let readers = readers(assembly, &sources, replays)?;
        let workers = start_workers(assembly, &plan, parts, readers, &tally.rows(), &worker_events)?;
        drop(worker_events);
        let (ask, asked) = requests();
        let changes = Changes::new(Arc::clone(assembly), ask.clone(), plan, logic);
        let questions = self.questions.clone();
        let changing = Background::start("changes", move |stop| changes.run(watch.as_ref(), &questions, &stop))?;
        let stopping = stop_on(self.stop.clone(), Arc::clone(self.stopped), ask)?;
        let finished = Arc::new(AtomicU64::new(epochs.next_epoch() - 1));
        let keeping = Background::start("retention", {
            let (assembly, finished) = (Arc::clone(assembly), Arc::clone(&finished));
            move |stop| keep_watch(&assembly, &finished, &stop)
        })?;

        tracing::info!(plan = stamp.number, workers = pipeline.workers, "running");
        let mut observer = Committed { assembly, sources: &sources, tally, read: Positions::new(), finished };
        let mut coordinator = Coordinator {
            at_end: vec![false; workers.len()],
            workers,
            events,
            requests: asked,
            moved: assembly.members.is_moved.clone(),
            boundary: Boundary::new(epochs, stamp, combines, Arc::clone(&assembly.clock)),
            interval: pipeline.epoch.interval,
            observer: &mut observer,
        };
        let ended = coordinator.run();
        let phases = std::mem::take(&mut coordinator.boundary.phases);
        drop(coordinator);
        drop((stopping, changing, keeping, progress));
        tally.add_phases(&phases);
        if matches!(ended, Ok(Outcome::Done)) {
            sources.leave(&assembly.host);
        }
        Ok(ended.map_err(|error| unless_gone(assembly, &sources, error))?)
    }

    /// Opens the sources where all hosts' commits left them.
    fn open_sources(&self, epochs: &mut Epochs, transactions: Option<&Arc<Transactions>>) -> Result<Arc<Sources>> {
        let Self { assembly, settings, .. } = *self;
        let positions = epochs.last().map(|last| last.positions.clone()).unwrap_or_default();
        let cluster = assembly.cluster();
        let opening = Opening {
            host: &assembly.host,
            members: &assembly.members,
            shared: cluster.as_ref().map(|cluster| cluster.brokers.as_str()).filter(|_| assembly.is_shared()),
            from: settings.from,
            follow: settings.mode == Mode::Follow,
        };
        let sources = Arc::new(match settings.mode {
            Mode::Replay => Sources::none(),
            Mode::Follow | Mode::UntilCaughtUp => Sources::open(&assembly.pipeline, &positions, &opening)?,
        });
        if assembly.members.were_lost() {
            assembly.fenced.forget();
        }
        match transactions {
            Some(transactions) => {
                share::share(assembly, transactions, epochs, &sources)?;
                let of_groups = Arc::clone(&sources);
                transactions.set_groups(move |positions| of_groups.group_offsets(positions));
            }
            None => sources.start_at(&positions, &positions)?,
        }
        Ok(sources)
    }
}

/// An error of a host that its group has let go of meanwhile is no error of its own: somebody else has its partitions, and has
/// brought to an end what it left.
fn unless_gone(assembly: &Assembly, sources: &Sources, error: Error) -> Error {
    let is_gone = || sources.hosts().is_ok_and(|hosts| !hosts.contains(&assembly.host.id));
    if sources.groups().is_empty() || !(sources.is_lost() || is_gone()) {
        return error;
    }
    assembly.fenced.forget();
    Error::new(ErrorKind::Unavailable, "the group has let go of this host").caused_by(error)
}

/// Notes what runs from an epoch on, for stages in which something else ran before.
fn note_start(assembly: &Assembly, logic: &Logic, stamp: &PlanStamp, epoch: u64) {
    for stage in logic.plugins.keys() {
        let Some(version) = logic.version(stage) else { continue };
        if assembly.history.reigns(stage).into_values().next_back().as_ref() != Some(&version) {
            let entry = Entry::new(stage, &version, What::InPlace, By::Host);
            assembly.history.add(Entry { plan: Some(stamp.number), epoch: Some(epoch), ..entry });
        }
    }
}

/// What epochs of a data folder are committed with.
pub(super) fn settings_of(
    assembly: &Assembly,
    kill_at: Option<(Step, u64)>,
    transactions: Option<Arc<Transactions>>,
) -> Settings {
    Settings {
        disk: Arc::clone(&assembly.disk),
        clock: Arc::clone(&assembly.clock),
        folder: assembly.pipeline.data.clone(),
        host: assembly.host.clone(),
        lakes: lakes(&assembly.pipeline),
        transaction: transactions.map(|transactions| transactions as Arc<dyn Transaction>),
        is_host: true,
        reached: Box::new(move |step, epoch| {
            if kill_at == Some((step, epoch)) {
                kill_this_process();
            }
        }),
    }
}

/// As `kill -9` does it.
fn kill_this_process() {
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    tracing::error!(?killed, "the process should have been killed");
}

/// The same plan as before a restart keeps its number.
fn number_plan(assembly: &Assembly, mut plan: Plan, logic: &Logic, recovered: &Recovered) -> (Arc<Plan>, PlanStamp) {
    let mut stamp = assembly.stamp(&plan, logic);
    stamp.number = match &recovered.plan {
        None => 1,
        Some(before) if before.fingerprint == stamp.fingerprint => before.number,
        Some(before) => before.number + 1,
    };
    plan.number = stamp.number;
    (Arc::new(plan), stamp)
}

/// Rows that were committed while their file was open get their file now, under the plan that made them.
fn settle_spool(assembly: &Assembly, epochs: &mut Epochs, recovered: &Recovered, tally: &mut Tally) -> Result<()> {
    let Some(stamp) = recovered.plan.as_ref().filter(|_| recovered.outputs.values().any(Token::is_waiting)) else {
        return Ok(());
    };
    let opening = assembly.opening(stamp, 0, epochs.next_epoch());
    let tokens = settle_all(recovered, &opening)?;
    let rows: u64 = tokens.values().map(Token::closed_rows).sum();
    tracing::info!(rows, "recovery: rows that waited in the spool get their files");
    let record = epochs.commit(stamp, &Positions::new(), tokens, Counts::default())?;
    tally.add(record);
    Ok(())
}

/// By worker what it reads; replays are the first one's.
fn readers(assembly: &Assembly, sources: &Sources, replays: ReplayReader) -> Result<Vec<Readers>> {
    let mut readers = sources.readers(assembly.pipeline.workers)?;
    if let Some(first) = readers.first_mut() {
        // The index of a source means nothing here: its blocks say where they go in.
        first.push((0, Box::new(replays)));
    }
    Ok(readers)
}

fn start_workers(
    assembly: &Assembly,
    plan: &Arc<Plan>,
    parts: Vec<Parts>,
    readers: Vec<Readers>,
    progress: &Arc<AtomicU64>,
    events: &Sender<(usize, threads::Event)>,
) -> Result<Vec<threads::WorkerThread>> {
    let pipeline = &assembly.pipeline;
    let mut workers = Vec::with_capacity(pipeline.workers);
    for (index, (readers, parts)) in readers.into_iter().zip(parts).enumerate() {
        let worker = Worker::new(
            Arc::clone(plan),
            assembly.event_time(plan),
            parts,
            Arc::clone(&assembly.tables),
            Arc::clone(&assembly.clock),
        );
        workers.push(threads::start(Start {
            index,
            worker,
            readers,
            bounds: pipeline.batch.clone(),
            memory_bytes: pipeline.epoch.memory_bytes / pipeline.workers.max(1) as u64,
            progress: Arc::clone(progress),
            events: events.clone(),
        })?);
    }
    Ok(workers)
}

/// Passes a stop on to the coordinator.
fn stop_on(stop: Receiver<()>, stopped: Arc<AtomicBool>, ask: Sender<Request>) -> Result<Background> {
    Background::start("stop", move |over| {
        crossbeam_channel::select! {
            recv(stop) -> _ => {
                stopped.store(true, Ordering::Relaxed);
                drop(ask.send(Request::Stop));
            }
            recv(over) -> _ => {}
        }
    })
}
