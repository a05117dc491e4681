//! Hot swap, the background side: watch the plugins' files, compile, check, make every worker's parts; then ask the
//! coordinator to put the plan in place at the next epoch boundary. Nothing here stops a row.
//!
//! A file that is broken, half-written or does not fit changes nothing and says why. A candidate that did not fit is
//! tried again together with later ones, because two may fit only together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, never, unbounded};
use notify::{RecursiveMode, Watcher};

use super::assembly::{Assembly, Plugins};
use super::coordinator::{Proposal, Request};
use super::threads::Replacement;
use crate::config::{PluginStage, Stage, StageKind};
use crate::digest::digest;
use crate::dimension::Reload;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;

/// Watches the files of plugins and dimensions.
pub struct Watch {
    changes: Receiver<PathBuf>,
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Watches the folders of these files: an editor or a compiler may replace a file by renaming another over it.
    pub fn start(files: &BTreeSet<PathBuf>) -> Result<Self> {
        // As many events as there are changes of these files, each a path: what bounds it is that they are drained at once.
        let (sender, changes) = unbounded();
        let watched = files.clone();
        let failed =
            |error: notify::Error| Error::new(ErrorKind::Unavailable, "files cannot be watched").caused_by(error);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !event.kind.is_access()
            {
                let paths = event.paths.into_iter().filter(|path| watched.contains(path));
                paths.for_each(|path| drop(sender.send(path)));
            }
        })
        .map_err(failed)?;
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
        }
        Ok(Self { changes, _watcher: watcher })
    }

    /// Waits for changes, at most as long as `patience` if there is one, and returns the paths that changed; none when the
    /// watch is over.
    fn next(&self, patience: Option<Duration>, stop: &Receiver<()>) -> Option<BTreeSet<PathBuf>> {
        let first = crossbeam_channel::select! {
            recv(self.changes) -> path => Some(path.ok()?),
            recv(patience.map_or_else(never, after)) -> _ => None,
            recv(stop) -> _ => return None,
        };
        Some(first.into_iter().chain(self.changes.try_iter()).collect())
    }
}

/// Time between two looks at a table's file that is being changed: it is loaded when two looks show the same.
const SETTLES_AFTER: Duration = Duration::from_millis(200);

/// Proposes plans for changed plugins, and reloads changed dimensions.
pub struct Swapper {
    assembly: Arc<Assembly>,
    requests: Sender<Request>,
    plan: Arc<Plan>,
    live: Plugins,
    /// Compiled candidates that did not fit the plan, by stage.
    waiting: Plugins,
    /// Files of tables that are to be looked at again.
    unsettled: BTreeSet<PathBuf>,
}

impl Swapper {
    /// Starts from the plan that runs and its plugins.
    pub fn new(assembly: Arc<Assembly>, requests: Sender<Request>, plan: Arc<Plan>, live: Plugins) -> Self {
        Self { assembly, requests, plan, live, waiting: Plugins::new(), unsettled: BTreeSet::new() }
    }

    /// The files that this watches: absolute.
    pub fn files(assembly: &Assembly) -> BTreeSet<PathBuf> {
        let plugins = plugin_stages(assembly).map(|(_, plugin)| plugin.file.value.clone());
        let tables = assembly.pipeline.dimensions.iter().map(|dimension| dimension.path.value.clone());
        plugins.chain(tables).collect()
    }

    /// Works until `stop` is dropped.
    pub fn run(mut self, watch: &Watch, stop: &Receiver<()>) {
        loop {
            let patience = (!self.unsettled.is_empty()).then_some(SETTLES_AFTER);
            let Some(changed) = watch.next(patience, stop) else { return };
            self.reload_dimensions(&changed);
            let stages: Vec<String> = plugin_stages(&self.assembly)
                .filter(|(_, plugin)| changed.contains(&plugin.file.value))
                .map(|(stage, _)| stage.name.value.clone())
                .collect();
            let fresh = stages.iter().filter(|stage| self.load(stage)).count();
            if fresh > 0 {
                self.propose();
            }
        }
    }

    /// Looks at the tables whose files changed, or were not settled at the last look.
    fn reload_dimensions(&mut self, changed: &BTreeSet<PathBuf>) {
        let assembly = Arc::clone(&self.assembly);
        for (settings, table) in assembly.pipeline.dimensions.iter().zip(assembly.tables.iter()) {
            let path = &settings.path.value;
            let was_unsettled = self.unsettled.remove(path);
            if !was_unsettled && !changed.contains(path) {
                continue;
            }
            let dimension = settings.name.value.as_str();
            match table.reload_if_changed() {
                Ok(Reload::Unchanged) => continue,
                Ok(Reload::Changing) => {}
                Ok(Reload::Loaded { generation, rows }) => {
                    tracing::info!(dimension, generation, rows, "dimension reloaded: lookups see its rows from now on");
                }
                Ok(Reload::MadeResident) => tracing::info!(dimension, "dimension: it fits its memory by now"),
                Err(error) => {
                    tracing::warn!(dimension, %error, "dimension not reloaded: the rows before go on");
                    continue;
                }
            }
            // Also after a load: with the old rows gone there may be room for the new ones in memory.
            self.unsettled.insert(path.clone());
        }
    }

    /// Compiles a stage's changed file. Whether there is a new candidate.
    fn load(&mut self, name: &str) -> bool {
        let Some((stage, plugin)) = plugin_stages(&self.assembly).find(|(stage, _)| stage.name.value == name) else {
            return false;
        };
        let path = &plugin.file.value;
        let Ok(bytes) = std::fs::read(path) else { return false };
        let known = |plugins: &Plugins, digest: &str| plugins.get(name).is_some_and(|plugin| plugin.digest() == digest);
        let found = digest(&bytes);
        if known(&self.live, &found) {
            self.waiting.remove(name);
            return false;
        }
        if known(&self.waiting, &found) {
            return false;
        }
        match self.assembly.load(stage, &bytes) {
            Ok(candidate) => {
                self.waiting.insert(name.to_owned(), candidate);
                true
            }
            Err(error) => {
                tracing::warn!(stage = name, file = %path.display(), %error, "swap: the file is no plugin that can run; the stage goes on as it is");
                false
            }
        }
    }

    /// Tries all waiting candidates together, then each alone.
    fn propose(&mut self) {
        let mut tries: Vec<Plugins> =
            self.waiting.iter().map(|(stage, plugin)| Plugins::from([(stage.clone(), Arc::clone(plugin))])).collect();
        if tries.len() > 1 {
            tries.insert(0, self.waiting.clone());
        }
        for candidates in tries {
            match self.accept(&candidates) {
                Ok(()) => self.waiting.retain(|stage, _| !candidates.contains_key(stage)),
                Err(why) => {
                    let stages: Vec<&String> = candidates.keys().collect();
                    tracing::warn!(?stages, "swap: refused, the plan goes on as it is: {why}");
                }
            }
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    fn accept(&mut self, candidates: &Plugins) -> Result<(), String> {
        let mut plugins = self.live.clone();
        plugins.extend(candidates.clone());
        let number = self.plan.number + 1;
        let plan = Arc::new(self.assembly.plan(&plugins, number).map_err(|problems| problems.render(false))?);
        self.plan.compatible(&plan).map_err(|misfits| misfits.join("; "))?;
        let what = describe(&self.live, candidates);
        let proposal = self.proposal(&plan, &plugins, what.clone()).map_err(|error| error.to_string())?;
        self.requests.send(Request::Swap(Box::new(proposal))).map_err(|_| "the run is over".to_owned())?;
        tracing::info!(plan = number, "swap: accepted, it takes over at this epoch's end: {what}");
        self.plan = plan;
        self.live = plugins;
        Ok(())
    }

    fn proposal(&self, plan: &Arc<Plan>, plugins: &Plugins, what: String) -> Result<Proposal> {
        let mut replacements = Vec::with_capacity(self.assembly.pipeline.workers);
        for worker in 0..self.assembly.pipeline.workers {
            let parts = self.assembly.parts(plan, plugins, worker, 0)?;
            replacements.push(Replacement {
                plan: Arc::clone(plan),
                event_time: self.assembly.event_time(plan),
                parts,
            });
        }
        Ok(Proposal { stamp: self.assembly.stamp(plan), replacements, what })
    }
}

fn describe(live: &Plugins, candidates: &Plugins) -> String {
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let changes = candidates.iter().map(|(stage, next)| {
        let before = live.get(stage).map_or_else(|| "none".to_owned(), |plugin| short(plugin.digest()));
        format!("stage {stage}: {before} -> {}", short(next.digest()))
    });
    changes.collect::<Vec<_>>().join(", ")
}

/// The stages that are plugins.
pub fn plugin_stages(assembly: &Assembly) -> impl Iterator<Item = (&Stage, &PluginStage)> {
    assembly.pipeline.stages.iter().filter_map(|stage| match &stage.kind {
        StageKind::Plugin(plugin) => Some((stage, plugin)),
        StageKind::Lookup(_) => None,
    })
}
