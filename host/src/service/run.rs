//! One run: recover, choose the plugins, settle the spool, open the sources, then epochs until the end.
//!
//! When a broker or a file is away, the whole run goes back to the last commit and starts again inside the process: a
//! crash, an aborted epoch and a lost broker all take this one way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::assembly::{self, Assembly, Plugins, lakes};
use super::coordinator::{Coordinator, Ended, Observer, Request, requests};
use super::progress::Progress;
use super::sources::Sources;
use super::store::PluginStore;
use super::summary::{Summary, Tally};
use super::swap::{Swapper, Watch, plugin_stages};
use super::threads::{self, Start};
use crate::clock::SystemClock;
use crate::commit::{DataFolder, Epochs, Recovered, Settings, Step};
use crate::config::{OutputKind, Pipeline, Problems, Rejects};
use crate::dimension::Dimension;
use crate::disk::{Disk, RealDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{REJECTS, Token, settle};
use crate::pipeline::{Counts, Phases, Worker};
use crate::plan::Plan;
use crate::plugin::Engine;
use crate::source::Positions;

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the end of what there is when it starts.
    UntilCaughtUp,
    /// For good; files may grow.
    Follow,
}

/// How to run.
#[derive(Debug)]
pub struct RunSettings {
    /// How long.
    pub mode: Mode,
    /// Draw a progress bar on stderr.
    pub progress: bool,
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

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The longest wait before a run that lost a broker starts again.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Runs a pipeline until its end, or until something arrives on `stop`.
pub fn run(pipeline: Pipeline, settings: &RunSettings, stop: &Receiver<()>) -> Result<Summary, Failure> {
    let pipeline = Arc::new(pipeline);
    let folder = DataFolder::open(&pipeline.data)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut tables = Vec::with_capacity(pipeline.dimensions.len());
    for dimension in &pipeline.dimensions {
        tables.push(Dimension::open(dimension, &folder.path.join("dimensions").join(&dimension.name.value))?);
    }
    let assembly = Arc::new(Assembly {
        engine: Engine::new()?.with_cache(&folder.path.join("compiled")),
        store: PluginStore::new(&folder.path),
        pipeline,
        tables: Arc::new(tables),
        host: folder.host.clone(),
        disk,
        clock: Arc::new(SystemClock),
    });
    warn_of_topics(&assembly.pipeline);
    let mut tally = Tally::start();
    let mut backoff = Duration::from_secs(1);
    loop {
        let committed = tally.epochs();
        match run_once(&assembly, settings, stop, &mut tally) {
            Ok(()) => return Ok(tally.finish(&assembly)),
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

/// Says which outputs may get a row twice.
fn warn_of_topics(pipeline: &Pipeline) {
    let outputs = pipeline.outputs.iter().filter_map(|output| match &output.kind {
        OutputKind::Kafka(topic) => Some((output.name.value.as_str(), topic)),
        OutputKind::Parquet(_) => None,
    });
    let rejects = match &pipeline.rejects {
        Rejects::Kafka(topic) => Some((REJECTS, topic)),
        Rejects::File { .. } => None,
    };
    for (output, settings) in outputs.chain(rejects) {
        let topic = &settings.topic.value;
        tracing::warn!(
            output,
            topic,
            "rows reach this topic at least once: after a crash or a lost broker some come again"
        );
    }
}

/// From the last commit to the end, or to an error.
fn run_once(
    assembly: &Arc<Assembly>,
    settings: &RunSettings,
    stop: &Receiver<()>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let pipeline = &assembly.pipeline;
    // Before the plugins are read: a file that changes from here on is seen.
    let watch = start_watch(assembly, settings.mode)?;
    let (mut epochs, recovered) = Epochs::open(commit_settings(assembly, settings))?;
    let accepted = recovered.plan.as_ref().map(|plan| plan.digests.clone()).unwrap_or_default();
    let (plan, plugins) = choose_plan(assembly, &accepted)?;
    let (plan, stamp) = number_plan(assembly, plan, &recovered);
    settle_spool(assembly, &mut epochs, &recovered, tally)?;
    let positions = epochs.last().map(|last| last.positions.clone()).unwrap_or_default();
    let sources = Arc::new(Sources::open(pipeline, &assembly.host, &positions, settings.mode == Mode::Follow)?);

    let combines = assembly.combines(&stamp);
    let progress = Progress::start(settings.progress, Arc::clone(&sources), tally.rows());
    let (worker_events, events) = unbounded();
    let workers =
        start_workers(assembly, &plan, &plugins, &sources, epochs.next_epoch(), tally.rows(), &worker_events)?;
    drop(worker_events);
    let (ask, asked) = requests();
    let watching = watch.map(|watch| swap_on(watch, assembly, &plan, plugins, &ask)).transpose()?;
    let stopping = stop_on(stop.clone(), ask)?;

    tracing::info!(plan = stamp.number, workers = pipeline.workers, "running");
    let mut observer = Committed { sources: &sources, tally, read: Positions::new() };
    let mut coordinator = Coordinator {
        at_end: vec![false; workers.len()],
        workers,
        events,
        requests: asked,
        epochs,
        stamp,
        interval: pipeline.epoch.interval,
        clock: Arc::clone(&assembly.clock),
        combines,
        observer: &mut observer,
        phases: Phases::default(),
    };
    let done = coordinator.run();
    let phases = std::mem::take(&mut coordinator.phases);
    drop(coordinator);
    drop((stopping, watching, progress));
    tally.add_phases(&phases);
    Ok(done?)
}

fn commit_settings(assembly: &Assembly, settings: &RunSettings) -> Settings {
    let kill_at = settings.kill_at;
    Settings {
        disk: Arc::clone(&assembly.disk),
        clock: Arc::clone(&assembly.clock),
        folder: assembly.pipeline.data.clone(),
        host: assembly.host.clone(),
        lakes: lakes(&assembly.pipeline),
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

/// What lies on disk runs when it fits; else what was accepted last.
fn choose_plan(assembly: &Assembly, accepted: &BTreeMap<String, String>) -> Result<(Plan, Plugins), Failure> {
    let on_disk = assembly::load_files(&assembly.pipeline, |stage, bytes| assembly.load(stage, bytes))
        .map_err(Failure::from)
        .and_then(|plugins| Ok((assembly.plan(&plugins, 0)?, plugins)));
    if let Ok((_, plugins)) = &on_disk
        && plugins.iter().all(|(stage, plugin)| accepted.get(stage).is_some_and(|digest| digest == plugin.digest()))
    {
        return on_disk;
    }
    let chosen = match accepted_plan(assembly, accepted) {
        None => on_disk?,
        Some((before, plugins)) => match on_disk {
            Ok((next, fresh)) => match before.compatible(&next) {
                Ok(()) => (next, fresh),
                Err(misfits) => {
                    tracing::warn!(
                        "the plugins on disk do not fit what was accepted, which goes on: {}",
                        misfits.join("; ")
                    );
                    (before, plugins)
                }
            },
            Err(failure) => {
                let why = match &failure {
                    Failure::Problems(problems) => problems.render(false),
                    Failure::Error(error) => error.to_string(),
                };
                tracing::warn!("the plugins on disk cannot run, those that were accepted last go on: {why}");
                (before, plugins)
            }
        },
    };
    for (stage, plugin) in &chosen.1 {
        if let Some(before) = accepted.get(stage).filter(|before| *before != plugin.digest()) {
            tracing::info!(stage, before, now = plugin.digest(), "the plugin on disk takes over at this start");
        }
    }
    Ok(chosen)
}

/// The plan of the plugins that were accepted last; none when there are none, or when the pipeline file changed so that they no longer fit.
fn accepted_plan(assembly: &Assembly, accepted: &BTreeMap<String, String>) -> Option<(Plan, Plugins)> {
    let mut plugins = Plugins::new();
    for (stage, _) in plugin_stages(assembly) {
        let digest = accepted.get(&stage.name.value)?;
        match assembly.store.read(digest).and_then(|bytes| assembly.load(stage, &bytes)) {
            Ok(plugin) => plugins.insert(stage.name.value.clone(), plugin),
            Err(error) => {
                tracing::warn!(stage = stage.name.value, %error, "the accepted plugin cannot be used");
                return None;
            }
        };
    }
    Some((assembly.plan(&plugins, 0).ok()?, plugins))
}

/// The same plan as before a restart keeps its number.
fn number_plan(assembly: &Assembly, mut plan: Plan, recovered: &Recovered) -> (Arc<Plan>, crate::commit::PlanStamp) {
    let same = assembly.stamp(&plan).fingerprint;
    plan.number = match &recovered.plan {
        None => 1,
        Some(before) if before.fingerprint == same => before.number,
        Some(before) => before.number + 1,
    };
    let stamp = assembly.stamp(&plan);
    (Arc::new(plan), stamp)
}

/// Rows that were committed while their file was open get their file now, under the plan that made them.
fn settle_spool(assembly: &Assembly, epochs: &mut Epochs, recovered: &Recovered, tally: &mut Tally) -> Result<()> {
    let Some(stamp) = recovered.plan.as_ref().filter(|_| recovered.outputs.values().any(Token::is_waiting)) else {
        return Ok(());
    };
    let opening = assembly.opening(stamp, 0, epochs.next_epoch());
    let mut tokens = BTreeMap::new();
    for (output, token) in recovered.outputs.iter().filter(|(_, token)| token.is_waiting()) {
        tokens.insert(output.clone(), settle(token, &opening)?);
    }
    let rows: u64 = tokens.values().map(Token::closed_rows).sum();
    tracing::info!(rows, "recovery: rows that waited in the spool get their files");
    let record = epochs.commit(stamp, &Positions::new(), tokens, Counts::default())?;
    tally.add(record);
    Ok(())
}

fn start_workers(
    assembly: &Assembly,
    plan: &Arc<Plan>,
    plugins: &Plugins,
    sources: &Sources,
    epoch: u64,
    progress: Arc<AtomicU64>,
    events: &Sender<(usize, threads::Event)>,
) -> Result<Vec<threads::WorkerThread>> {
    let pipeline = &assembly.pipeline;
    let mut workers = Vec::with_capacity(pipeline.workers);
    for (index, readers) in sources.readers(pipeline.workers)?.into_iter().enumerate() {
        let parts = assembly.parts(plan, plugins, index, epoch)?;
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
            progress: Arc::clone(&progress),
            events: events.clone(),
        })?);
    }
    Ok(workers)
}

/// Ends its threads when it is dropped.
struct Background {
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    fn start(name: &str, work: impl FnOnce(Receiver<()>) + Send + 'static) -> Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(stopped));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the thread {name} cannot be started")).caused_by(error)
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn start_watch(assembly: &Assembly, mode: Mode) -> Result<Option<Watch>> {
    let files = Swapper::files(assembly);
    if mode == Mode::UntilCaughtUp || files.is_empty() {
        return Ok(None);
    }
    Watch::start(&files).map(Some)
}

fn swap_on(
    watch: Watch,
    assembly: &Arc<Assembly>,
    plan: &Arc<Plan>,
    plugins: Plugins,
    ask: &Sender<Request>,
) -> Result<Background> {
    let swapper = Swapper::new(Arc::clone(assembly), ask.clone(), Arc::clone(plan), plugins);
    Background::start("watch", move |stop| swapper.run(&watch, &stop))
}

/// Passes a stop on to the coordinator.
fn stop_on(stop: Receiver<()>, ask: Sender<Request>) -> Result<Background> {
    Background::start("stop", move |over| {
        crossbeam_channel::select! {
            recv(stop) -> _ => drop(ask.send(Request::Stop)),
            recv(over) -> _ => {}
        }
    })
}

/// What follows each commit.
struct Committed<'a> {
    sources: &'a Sources,
    tally: &'a mut Tally,
    read: Positions,
}

impl Observer for Committed<'_> {
    fn identify(&mut self, read: &mut Positions) {
        self.sources.identify(read);
    }

    fn ended(&mut self, ended: &Ended<'_>) -> Result<()> {
        self.tally.add(ended.record);
        self.tally.add_pause(ended.pause, ended.swapped.is_some());
        if let Some(what) = ended.swapped {
            tracing::info!(
                epoch = ended.record.epoch,
                pause_ms = ended.pause.as_millis() as u64,
                "swap: in place from the next epoch: {what}"
            );
        }
        tracing::debug!(
            epoch = ended.record.epoch,
            read = ended.record.counts.total_read(),
            out = ended.record.counts.total_out(),
            pause_ms = ended.pause.as_millis() as u64,
            "committed"
        );
        if ended.record.positions != self.read {
            self.read.clone_from(&ended.record.positions);
            self.sources.committed(&self.read)?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        self.sources.rescan()?;
        self.sources.check()
    }
}
