//! Puts a pipeline together: tables, compiled plugins, the plan, and each worker's parts of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::commit::{Cluster, Fenced, Host, PlanStamp, Transactions};
use crate::config::{
    CommitTo, Delivery, OutputKind, ParquetOutput, Pipeline, Problems, Rejects, SourceKind, Stage, StageKind,
};
use crate::contract::{Contract, Given, Table};
use crate::decode::Decoder;
use crate::digest::{digest, short};
use crate::dimension::Dimension;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Combine, Opening, REJECTS, RejectSink, Sink, footer_entries, reject_settings};
use crate::pipeline::{Parts, Taps};
use crate::plan::{self, Plan, Planned, PlannedStage, Refused, Work};
use crate::plugin::{Engine, NotStarted, Plugin};
use crate::replay::Replays;
use crate::source::kafka::Members;

use super::life::History;
use super::logic::{Logic, Plugins, plugin_stages};
use super::store::PluginStore;

/// Everything of a pipeline that outlives a plan.
pub struct Assembly {
    /// The pipeline file.
    pub pipeline: Arc<Pipeline>,
    /// Compiles and runs plugins.
    pub engine: Engine,
    /// The dimensions, in the file's order.
    pub tables: Arc<Vec<Dimension>>,
    /// Plugins by digest.
    pub store: PluginStore,
    /// Who writes.
    pub host: Host,
    /// Where outputs write.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the stages have just seen.
    pub taps: Taps,
    /// What became of the plugins so far.
    pub history: History,
    /// Rejects that are replayed.
    pub replays: Arc<Replays>,
    /// Those of the run, where epochs become true in Kafka.
    pub transactions: Mutex<Option<Arc<Transactions>>>,
    /// How often they were fenced.
    pub fenced: Fenced,
    /// The host's places in the groups of its sources.
    pub members: Members,
}

impl Assembly {
    /// Compiles a stage's plugin; checks a pinned digest; keeps the bytes of what can run.
    pub fn load(&self, stage: &Stage, bytes: &[u8]) -> Result<Arc<Plugin>> {
        let plugin = self.compiled(stage, bytes)?;
        self.store.keep(plugin.digest(), bytes)?;
        Ok(plugin)
    }

    /// Compiles the plugin that was kept under a digest.
    pub fn load_kept(&self, stage: &Stage, digest: &str) -> Result<Arc<Plugin>> {
        self.compiled(stage, &self.store.read(digest)?)
    }

    /// Loads, and says what took its time.
    fn compiled(&self, stage: &Stage, bytes: &[u8]) -> Result<Arc<Plugin>> {
        let began = Instant::now();
        let plugin = load(&self.engine, stage, bytes)?;
        if !plugin.is_from_cache() {
            let ms = began.elapsed().as_millis() as u64;
            tracing::info!(stage = stage.name.value, digest = short(plugin.digest()), ms, "plugin compiled");
        }
        Ok(plugin)
    }

    /// The plan of this logic.
    pub fn plan(&self, logic: &Logic, number: u64) -> Result<Plan, Problems> {
        let tables: Vec<Table> = self.tables.iter().map(|table| table.table().clone()).collect();
        Ok(build_plan(&logic.configured(&self.pipeline), &tables, &logic.plugins, number)?.plan)
    }

    /// What each worker needs to run a plan.
    pub fn parts(&self, plan: &Plan, logic: &Logic, stamp: &PlanStamp, epoch: u64) -> Result<Vec<Parts>> {
        (0..self.pipeline.workers).map(|worker| self.parts_of(worker, plan, logic, stamp, epoch)).collect()
    }

    fn parts_of(&self, worker: usize, plan: &Plan, logic: &Logic, stamp: &PlanStamp, epoch: u64) -> Result<Parts> {
        let pipeline = &self.pipeline;
        let opening = self.opening(stamp, worker, epoch);
        let (decoders, stages) = (decoders(pipeline, plan)?, stages(pipeline, plan, &logic.plugins)?);
        let mut outputs = Vec::with_capacity(plan.outputs.len());
        for planned in &plan.outputs {
            let settings = &pipeline.outputs[planned.index];
            outputs.push(Sink::open(planned, &settings.kind, &opening)?);
        }
        let rejects = RejectSink::open(pipeline, stamp.digests.clone(), &opening)?;
        let tap = |stage: &PlannedStage| matches!(stage.work, Work::Plugin(_)).then(|| self.taps.of(&stage.name));
        let taps = plan.stages.iter().map(tap).collect();
        Ok(Parts { decoders, stages, outputs, rejects, taps })
    }

    /// What outputs of a plan are opened with.
    pub fn opening(&self, stamp: &PlanStamp, worker: usize, epoch: u64) -> Opening {
        let sinks = (self.pipeline.outputs.len() * self.pipeline.workers).max(1) as u64;
        Opening {
            host: self.host.clone(),
            worker,
            epoch,
            memory_bytes: self.pipeline.epoch.memory_bytes / sinks,
            footer: footer_entries(&self.pipeline.name, &self.host, stamp),
            disk: Arc::clone(&self.disk),
            transactions: self.transactions(),
        }
    }

    /// Opens the transactions of a run, if its epochs become true in Kafka; ends what a run before left open.
    pub fn open_transactions(&self) -> Result<Option<Arc<Transactions>>> {
        let transactions = self.cluster().map(|_| self.transactions_of(&self.host.id, &self.fenced)).transpose()?;
        self.transactions.lock().clone_from(&transactions);
        Ok(transactions)
    }

    /// The transactions under a host's id, whatever it has open is ended.
    pub fn transactions_of(&self, host: &str, fenced: &Fenced) -> Result<Arc<Transactions>> {
        let pipeline = &self.pipeline;
        let cluster =
            self.cluster().ok_or_else(|| Error::new(ErrorKind::Internal, "the pipeline has no transactions"))?;
        let probations = plugin_stages(pipeline).map(|(_, plugin)| plugin.swap.probation);
        let longest = probations.fold(pipeline.epoch.interval, Duration::max);
        Transactions::open(&pipeline.name, host, &cluster, longest, fenced)
    }

    /// Whether the groups' offsets of sources on the transactions' brokers are in the transactions.
    pub fn is_shared(&self) -> bool {
        self.pipeline.commit == CommitTo::Kafka
    }

    /// The brokers that hold the transactions: those of the topics that get each row once, else those of the first topic
    /// that is read.
    pub fn cluster(&self) -> Option<Cluster> {
        let pipeline = &self.pipeline;
        let mut topics = pipeline.topics().filter(|(_, topic)| topic.delivery == Delivery::ExactlyOnce);
        if let Some((_, topic)) = topics.next() {
            return Some(Cluster { brokers: topic.brokers.value.clone(), properties: topic.properties.clone() });
        }
        let mut sources = pipeline.sources.iter().filter(|_| pipeline.commit == CommitTo::Kafka);
        sources.find_map(|source| match &source.kind {
            SourceKind::Kafka(kafka) => Some(Cluster::of_reader(&kafka.brokers.value, &kafka.properties)),
            SourceKind::File(_) => None,
        })
    }

    /// The run is over: what is open is aborted when the last of its outputs is gone.
    pub fn close_transactions(&self) {
        *self.transactions.lock() = None;
    }

    fn transactions(&self) -> Option<Arc<Transactions>> {
        self.transactions.lock().clone()
    }

    /// How the workers' files of each Parquet output become one token.
    pub fn combines(&self, stamp: &PlanStamp) -> BTreeMap<String, Combine> {
        let opening = self.opening(stamp, 0, 0);
        let named = parquet_outputs(&self.pipeline);
        named.map(|(output, settings)| (output.clone(), Combine::new(&output, &settings, &opening))).collect()
    }

    /// What commits and footers say of a plan.
    pub fn stamp(&self, plan: &Plan, logic: &Logic) -> PlanStamp {
        let fingerprint = fingerprint(plan, &self.pipeline);
        let in_use = configs(&logic.configured(&self.pipeline));
        PlanStamp { number: plan.number, fingerprint, digests: digests(plan), in_use, configs: logic.configs.clone() }
    }

    /// By source the decoded column that holds the time of the event.
    pub fn event_time(&self, plan: &Plan) -> Vec<Option<usize>> {
        event_time(&self.pipeline, plan)
    }
}

/// One thread's decoders of a plan, by source.
pub fn decoders(pipeline: &Pipeline, plan: &Plan) -> Result<Vec<Decoder>> {
    let sources = pipeline.sources.iter().zip(&plan.sources);
    sources
        .map(|(source, planned)| Decoder::new(&source.columns, source.format.value, &source.unknown, &planned.needed))
        .collect()
}

/// One thread's stages of a plan.
pub fn stages(pipeline: &Pipeline, plan: &Plan, plugins: &Plugins) -> Result<Vec<crate::stage::Stage>> {
    let instance = |planned: &PlannedStage| {
        let plugin = plugins.get(planned.name.as_ref()).cloned();
        crate::stage::Stage::new(planned, &pipeline.stages[planned.index], plugin)
    };
    plan.stages.iter().map(instance).collect()
}

/// By source the decoded column that holds the time of the event.
pub fn event_time(pipeline: &Pipeline, plan: &Plan) -> Vec<Option<usize>> {
    let columns = pipeline.sources.iter().zip(&plan.sources).map(|(source, planned)| {
        let name = &source.event_time.as_ref()?.value;
        planned.columns.iter().position(|column| column.name == *name)
    });
    columns.collect()
}

/// Compiles a stage's plugin; checks a pinned digest.
pub fn load(engine: &Engine, stage: &Stage, bytes: &[u8]) -> Result<Arc<Plugin>> {
    let StageKind::Plugin(settings) = &stage.kind else {
        return Err(Error::new(ErrorKind::Internal, format!("stage \"{}\" is no plugin", stage.name.value)));
    };
    if let Some(pinned) = &settings.sha256 {
        let found = digest(bytes);
        if pinned.value != found {
            return Err(Error::new(
                ErrorKind::Plugin,
                format!(
                    "stage \"{}\" is pinned to sha256 {}, but {} has {found}",
                    stage.name.value,
                    pinned.value,
                    settings.file.value.display()
                ),
            )
            .help("put the pinned plugin back, or change `sha256` in the pipeline file"));
        }
    }
    engine.load(bytes, &settings.file.value.display().to_string())
}

/// Reads the plugin of every stage from its file and has it loaded.
pub fn load_files(pipeline: &Pipeline, load: impl Fn(&Stage, &[u8]) -> Result<Arc<Plugin>>) -> Result<Plugins> {
    let mut plugins = Plugins::new();
    for (stage, settings) in plugin_stages(pipeline) {
        let bytes = read_plugin(&stage.name.value, &settings.file.value)?;
        plugins.insert(stage.name.value.clone(), load(stage, &bytes)?);
    }
    Ok(plugins)
}

/// The bytes of a stage's plugin file.
pub fn read_plugin(stage: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::new(ErrorKind::Config, format!("stage \"{stage}\": its plugin {} cannot be read", file.display()))
            .caused_by(error)
            .help("build it with `millstream plugin build FOLDER`, or mend `plugin.file` in the pipeline file")
    })
}

/// The plan of a pipeline with these tables and plugins.
pub fn build_plan(pipeline: &Pipeline, tables: &[Table], plugins: &Plugins, number: u64) -> Result<Planned, Problems> {
    let mut configure = |stage: &Stage, given: &Given| -> Result<(Arc<str>, Contract), Refused> {
        let plugin =
            plugins.get(&stage.name.value).ok_or_else(|| Refused::File("its plugin is not loaded".to_owned()))?;
        let StageKind::Plugin(settings) = &stage.kind else {
            return Err(Refused::File("it is no plugin".to_owned()));
        };
        let (_, contract) =
            plugin.start(&stage.name.value, &settings.config.value, given, &stage.limits).map_err(|not_started| {
                match not_started {
                    NotStarted::Refused(words) => Refused::Config(words),
                    NotStarted::Failed(error) => Refused::File(error.to_string()),
                }
            })?;
        Ok((plugin.digest().into(), contract))
    };
    plan::build(pipeline, tables, number, &mut configure)
}

/// By output (rejects among them) the folder of its Parquet files.
pub fn lakes(pipeline: &Pipeline) -> BTreeMap<String, PathBuf> {
    parquet_outputs(pipeline).map(|(output, settings)| (output, settings.path)).collect()
}

/// The outputs of Parquet files by name, rejects among them.
fn parquet_outputs(pipeline: &Pipeline) -> impl Iterator<Item = (String, ParquetOutput)> {
    let outputs = pipeline.outputs.iter().filter_map(|output| match &output.kind {
        OutputKind::Parquet(settings) => Some((output.name.value.clone(), settings.clone())),
        OutputKind::Kafka(_) => None,
    });
    let rejects = match &pipeline.rejects {
        Rejects::File { path, .. } => Some((REJECTS.to_owned(), reject_settings(path.clone()))),
        Rejects::Kafka(_) => None,
    };
    outputs.chain(rejects)
}

fn digests(plan: &Plan) -> BTreeMap<String, String> {
    let plugins = plan.stages.iter().filter_map(|stage| match &stage.work {
        Work::Plugin(plugin) => Some((stage.name.to_string(), plugin.digest.to_string())),
        Work::Lookup(_) => None,
    });
    plugins.collect()
}

/// By stage its config, secrets not resolved.
fn configs(pipeline: &Pipeline) -> BTreeMap<String, serde_json::Value> {
    plugin_stages(pipeline).map(|(stage, plugin)| (stage.name.value.clone(), plugin.config.value.json())).collect()
}

/// Two plans with the same fingerprint make the same rows into the same files.
fn fingerprint(plan: &Plan, pipeline: &Pipeline) -> String {
    let outputs: Vec<_> = pipeline.outputs.iter().map(|output| format!("{:?}", output.kind)).collect();
    let rejects = match &pipeline.rejects {
        // How long they are kept makes no other rows.
        Rejects::File { path, keep: _ } => format!("{path:?}"),
        Rejects::Kafka(topic) => format!("{topic:?}"),
    };
    let text = format!("{:?} {:?} {:?} {outputs:?} {rejects}", plan.sources, plan.stages, plan.outputs);
    digest(text.as_bytes())
}
