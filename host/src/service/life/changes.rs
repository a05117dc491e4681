//! Takes candidates through their life, on a thread of its own; the coordinator puts what was accepted in place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, after, never};

use super::settle::{SETTLES_AFTER, Settled, Settling};
use super::shadow::{Contender, shadow};
use super::{By, Candidate, Entry, Shadow, Watch, What};
use crate::commit::ConfigChange;
use crate::config::{Decision, PluginStage, Stage, Swap};
use crate::digest::digest;
use crate::dimension::{Dimension, Reload, Snapshot};
use crate::error::{Error, ErrorKind, Result, one_line};
use crate::plan::{Plan, PlannedStage};
use crate::plugin::Plugin;
use crate::service::assembly::Assembly;
use crate::service::coordinator::{Proposal, Request};
use crate::service::logic::{Change, Logic, Version, plugin_stage, plugin_stages};
use crate::service::probation::TIMED_ROWS;
use crate::service::threads::Replacement;

use super::Question;

/// What runs, and what may.
pub struct Changes {
    pub(super) assembly: Arc<Assembly>,
    pub(super) requests: Sender<Request>,
    pub(super) plan: Arc<Plan>,
    pub(super) live: Logic,
    /// By stage what is compiled and does not run.
    pub(super) waiting: BTreeMap<String, Waiting>,
    /// Files of tables that are to be looked at again.
    unsettled: BTreeSet<PathBuf>,
    /// Files of plugins that may be half-written.
    settling: Settling,
}

/// A compiled candidate.
#[derive(Clone)]
pub(super) struct Waiting {
    pub plugin: Arc<Plugin>,
    pub config: Option<ConfigChange>,
    pub by: By,
    pub why: String,
    pub shadow: Option<Shadow>,
    /// A person wants it, whatever the thresholds say.
    pub wanted: bool,
}

impl Waiting {
    pub fn version(&self) -> Version {
        Version::new(self.plugin.digest().to_owned(), self.config.as_ref())
    }

    pub fn candidate(&self) -> Candidate {
        Candidate { version: self.version(), why: self.why.clone(), shadow: self.shadow.clone() }
    }
}

/// What became of candidates that were tried together.
enum Tried {
    /// They are in place from the next epoch on.
    Accepted,
    /// They fit, and wait for a person.
    Held(String),
    /// They do not fit what is there.
    Misfit(String),
}

/// What would change, ready to be judged.
struct Trial {
    plan: Arc<Plan>,
    logic: Logic,
    changes: Vec<Change>,
    shadows: BTreeMap<String, Shadow>,
}

impl Changes {
    /// Starts from the plan and the logic that run.
    pub fn new(assembly: Arc<Assembly>, requests: Sender<Request>, plan: Arc<Plan>, live: Logic) -> Self {
        Self {
            assembly,
            requests,
            plan,
            live,
            waiting: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            settling: Settling::default(),
        }
    }

    /// Works until `stop` is dropped.
    pub fn run(mut self, watch: Option<&Watch>, questions: &Receiver<Question>, stop: &Receiver<()>) {
        let nothing = never();
        let changes = watch.map_or(&nothing, Watch::changes);
        if watch.is_some() {
            // What lies there and did not take over at the start.
            let files = plugin_stages(&self.assembly.pipeline).map(|(_, plugin)| plugin.file.value.clone()).collect();
            self.look_at_plugins(&files);
        }
        loop {
            let is_settled = self.unsettled.is_empty() && self.settling.is_empty();
            let look_again = if is_settled { never() } else { after(SETTLES_AFTER) };
            let changed: BTreeSet<PathBuf> = crossbeam_channel::select! {
                recv(changes) -> path => match path {
                    Ok(path) => std::iter::once(path).chain(changes.try_iter()).collect(),
                    Err(_) => return,
                },
                recv(look_again) -> _ => BTreeSet::new(),
                recv(questions) -> question => match question {
                    Ok(Question { ask, reply }) => {
                        self.answer(ask, reply);
                        continue;
                    }
                    Err(_) => return,
                },
                recv(stop) -> _ => return,
            };
            self.reload_dimensions(&changed);
            self.look_at_plugins(&changed);
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

    /// Makes candidates of changed files and tries them.
    fn look_at_plugins(&mut self, changed: &BTreeSet<PathBuf>) {
        let assembly = Arc::clone(&self.assembly);
        let files: BTreeSet<PathBuf> = changed.iter().chain(self.settling.files()).cloned().collect();
        let stages = plugin_stages(&assembly.pipeline).filter(|(_, plugin)| files.contains(&plugin.file.value));
        let fresh = stages.filter(|(stage, plugin)| self.look_at(stage, plugin)).count();
        if fresh > 0 {
            self.try_all();
        }
    }

    /// Whether a stage's file holds a candidate that was not known.
    fn look_at(&mut self, stage: &Stage, plugin: &PluginStage) -> bool {
        let name = stage.name.value.as_str();
        let path = &plugin.file.value;
        let Ok(bytes) = std::fs::read(path) else {
            if self.settling.look(name, path, Instant::now()) == Settled::Yes {
                tracing::warn!(stage = name, file = %path.display(), "the plugin's file is gone; the stage goes on as it is");
            }
            return false;
        };
        let found = digest(&bytes);
        let runs = self.live.plugins.get(name).is_some_and(|live| live.digest() == found);
        if runs {
            self.waiting.remove(name);
        }
        if runs || self.waiting.get(name).is_some_and(|waiting| waiting.plugin.digest() == found) {
            self.settling.is_good(name);
            return false;
        }
        let config = self.live.configs.get(name).cloned();
        let version = Version::new(found, config.as_ref());
        let history = &self.assembly.history;
        let refused = |settling: &mut Settling, what: &str, why: String| {
            if settling.look(name, path, Instant::now()) == Settled::Yes {
                tracing::warn!(stage = name, file = %path.display(), "swap: {what}; the stage goes on as it is: {why}");
                history.add(Entry::new(name, &version, What::Refused, By::File).why(why));
            }
            false
        };
        if let Some(pinned) = history.pinned(name).filter(|pinned| *pinned != version.digest) {
            let why = format!("the stage is pinned to {pinned}; `millstream stage unpin` lets others run");
            return refused(&mut self.settling, "refused", why);
        }
        if history.is_bad(name, &version) {
            let why = "this version did not pass before, or was rolled back (`millstream stage history` says which); \
                       `millstream stage propose` takes it all the same";
            return refused(&mut self.settling, "refused", why.to_owned());
        }
        match self.assembly.load(stage, &bytes) {
            Ok(plugin) => {
                self.settling.is_good(name);
                let by = By::File;
                let waiting = Waiting { plugin, config, by, why: String::new(), shadow: None, wanted: false };
                self.waiting.insert(name.to_owned(), waiting);
                true
            }
            Err(error) => {
                let what = "the file is no plugin that can run";
                refused(&mut self.settling, what, one_line(&error.to_string()))
            }
        }
    }

    /// Tries all waiting candidates together, then each alone: two may fit only together, and one of them alone.
    pub(super) fn try_all(&mut self) {
        let names: Vec<String> = self.waiting.keys().cloned().collect();
        let mut tries: Vec<Vec<String>> = names.iter().map(|name| vec![name.clone()]).collect();
        if names.len() > 1 {
            tries.insert(0, names);
        }
        for stages in tries {
            let together = stages.len() > 1;
            // Held with others is held: alone each would be held as well.
            if matches!(self.try_these(&stages), Tried::Accepted | Tried::Held(_)) && together {
                return;
            }
        }
    }

    /// Tries the waiting candidates of some stages together, and notes what became of them.
    fn try_these(&mut self, stages: &[String]) -> Tried {
        let (tried, shadows) = match self.trial(stages) {
            Err(why) => (Tried::Misfit(why), BTreeMap::new()),
            Ok(trial) => {
                let shadows = trial.shadows.clone();
                (self.decide(stages, trial), shadows)
            }
        };
        for stage in stages {
            let Some(waiting) = self.waiting.get_mut(stage) else { continue };
            waiting.shadow = shadows.get(stage).cloned();
            let (what, why) = match &tried {
                Tried::Accepted => (What::Accepted, None),
                Tried::Held(why) => (What::Held, Some(why.clone())),
                Tried::Misfit(why) => (What::Refused, Some(why.clone())),
            };
            waiting.why = why.clone().unwrap_or_default();
            let (plan, shadow) = (Some(self.plan.number), waiting.shadow.clone());
            let entry = Entry::new(stage, &waiting.version(), what, waiting.by);
            self.assembly.history.add(Entry { plan, why, shadow, ..entry });
        }
        match &tried {
            Tried::Accepted => self.waiting.retain(|stage, _| !stages.contains(stage)),
            Tried::Held(why) => tracing::warn!(?stages, "swap: held until `millstream stage accept`: {why}"),
            Tried::Misfit(why) => tracing::warn!(?stages, "swap: refused, the plan goes on as it is: {why}"),
        }
        tried
    }

    /// Plans with the candidates of some stages, and tries them beside the stream.
    fn trial(&self, stages: &[String]) -> Result<Trial, String> {
        let mut logic = self.live.clone();
        for (stage, waiting) in stages.iter().filter_map(|stage| self.waiting.get_key_value(stage)) {
            logic.plugins.insert(stage.clone(), Arc::clone(&waiting.plugin));
            match &waiting.config {
                Some(config) => drop(logic.configs.insert(stage.clone(), config.clone())),
                None => drop(logic.configs.remove(stage)),
            }
        }
        let plan = self.assembly.plan(&logic, self.plan.number + 1).map_err(|problems| problems.line())?;
        self.plan.compatible(&plan).map_err(|misfits| misfits.join("; "))?;
        let mut shadows = BTreeMap::new();
        for stage in stages {
            match self.shadow(stage, &plan, &logic) {
                Ok(Some(report)) => drop(shadows.insert(stage.clone(), report)),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Input => {
                    tracing::info!(stage, "swap: not tried beside the stream: {error}");
                }
                Err(error) => return Err(one_line(&format!("beside the stream it failed: {error}"))),
            }
        }
        let changes = stages.iter().filter_map(|stage| {
            let (before, next) = (self.live.version(stage)?, logic.version(stage)?);
            Some(Change { stage: stage.clone(), before, next })
        });
        Ok(Trial { plan: Arc::new(plan), changes: changes.collect(), logic, shadows })
    }

    /// Both versions of a stage on the batches that it has just seen; none when it has seen none.
    fn shadow(&self, stage: &str, plan: &Plan, logic: &Logic) -> Result<Option<Shadow>> {
        let samples = self.assembly.taps.of(stage).recent();
        let settings = plugin_stage(&self.assembly.pipeline, stage);
        let live = contender(stage, &self.plan, &self.live);
        let candidate = contender(stage, plan, logic);
        let (Some((settings, _)), Some(live), Some(candidate)) = (settings, live, candidate) else { return Ok(None) };
        if samples.is_empty() {
            return Ok(None);
        }
        let tables: Vec<Snapshot> = self.assembly.tables.iter().map(Dimension::snapshot).collect();
        shadow(settings, &live, &candidate, &samples, &tables).map(Some)
    }

    /// Accepts what is within the thresholds of its stage, or wanted by a person.
    fn decide(&mut self, stages: &[String], trial: Trial) -> Tried {
        let held: Vec<String> = stages
            .iter()
            .filter(|stage| !self.waiting.get(*stage).is_some_and(|waiting| waiting.wanted))
            .filter_map(|stage| held_because(stage, self.settings(stage)?, trial.shadows.get(stage)))
            .collect();
        if !held.is_empty() {
            return Tried::Held(held.join("; "));
        }
        match self.put_in_place(trial) {
            Ok(()) => Tried::Accepted,
            Err(error) => Tried::Misfit(one_line(&error.to_string())),
        }
    }

    fn put_in_place(&mut self, trial: Trial) -> Result<()> {
        let Trial { plan, logic, changes, .. } = trial;
        let unwatched = |stage: &str| self.waiting.get(stage).is_some_and(|waiting| waiting.wanted);
        let watched = changes
            .iter()
            .filter(|change| !unwatched(&change.stage))
            .filter_map(|change| Some((change.clone(), self.settings(&change.stage)?.clone())));
        let watched = watched.collect();
        let text: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let stamp = self.assembly.stamp(&plan, &logic);
        let parts = self.assembly.parts(&plan, &logic, &stamp, 0)?;
        let event_time = self.assembly.event_time(&plan);
        let replacement = |parts| Replacement { plan: Arc::clone(&plan), event_time: event_time.clone(), parts };
        let replacements = parts.into_iter().map(replacement).collect();
        let proposal = Proposal { stamp, replacements, changes, watched };
        self.requests
            .send(Request::Swap(Box::new(proposal)))
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the run is over"))?;
        tracing::info!(plan = plan.number, "swap: accepted, it takes over at this epoch's end: {}", text.join(", "));
        (self.plan, self.live) = (plan, logic);
        Ok(())
    }

    fn settings(&self, stage: &str) -> Option<&Swap> {
        plugin_stage(&self.assembly.pipeline, stage).map(|(_, plugin)| &plugin.swap)
    }

    /// Puts a candidate in the line and tries it: alone, then with all that wait.
    pub(super) fn submit(&mut self, stage: &str, waiting: Waiting) -> Result<bool, String> {
        self.waiting.insert(stage.to_owned(), waiting);
        let mut tried = self.try_these(&[stage.to_owned()]);
        if matches!(tried, Tried::Misfit(_)) && self.waiting.len() > 1 {
            let all: Vec<String> = self.waiting.keys().cloned().collect();
            tried = self.try_these(&all);
        }
        match tried {
            Tried::Accepted => Ok(true),
            Tried::Held(_) => Ok(false),
            Tried::Misfit(why) => Err(why),
        }
    }

    /// Tries a waiting candidate anew on what was seen meanwhile; nothing changes.
    pub(super) fn try_again(&self, stage: &str) -> Option<Candidate> {
        let mut candidate = self.waiting.get(stage)?.candidate();
        match self.trial(&[stage.to_owned()]) {
            Ok(mut trial) => candidate.shadow = trial.shadows.remove(stage),
            Err(why) => candidate.why = why,
        }
        Some(candidate)
    }
}

fn contender<'a>(stage: &str, plan: &'a Plan, logic: &Logic) -> Option<Contender<'a>> {
    let planned: &PlannedStage = plan.stages.iter().find(|planned| planned.name.as_ref() == stage)?;
    Some(Contender { planned, plugin: Arc::clone(logic.plugins.get(stage)?) })
}

/// Why a candidate has to wait for a person; none when it may go.
fn held_because(stage: &str, thresholds: &Swap, shadow: Option<&Shadow>) -> Option<String> {
    if thresholds.decision == Decision::Manual {
        return Some(format!("stage \"{stage}\" has `swap = \"manual\"`"));
    }
    let Shadow { rows, live, candidate, .. } = shadow?;
    let (before, then) = (live.rejected_share(*rows), candidate.rejected_share(*rows));
    if thresholds.is_too_many(then * *rows as f64, *rows, before) {
        return Some(format!(
            "of the {rows} rows that stage \"{stage}\" saw last it rejects {:.1}%, what runs {:.1}%; `swap.rejected` allows {:.1}% more",
            then * 100.0,
            before * 100.0,
            thresholds.rejected * 100.0
        ));
    }
    if *rows >= TIMED_ROWS && candidate.ns_a_row > live.ns_a_row.saturating_mul(u64::from(thresholds.slower)) {
        return Some(format!(
            "on the {rows} rows that stage \"{stage}\" saw last it takes {} ns a row, what runs {}; `swap.slower` allows {} times as long",
            candidate.ns_a_row, live.ns_a_row, thresholds.slower
        ));
    }
    None
}
