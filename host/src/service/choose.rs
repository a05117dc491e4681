//! What runs at a start. What lies on disk runs when it loads, fits what ran before, is not known to be bad and its stage
//! does not want to be asked; else what was accepted last. A pinned version is the only one.

use std::sync::Arc;

use super::assembly::{Assembly, read_plugin};
use super::logic::{Logic, Version, plugin_stages};
use super::run::Failure;
use crate::commit::{ConfigChange, PlanStamp};
use crate::config::{Decision, PluginStage, Stage};
use crate::digest::digest;
use crate::error::{Result, one_line};
use crate::plan::Plan;
use crate::plugin::Plugin;

/// The plan and the logic of a start; `before` is what the last commit was made by.
pub fn choose(assembly: &Assembly, before: Option<&PlanStamp>) -> Result<(Plan, Logic), Failure> {
    let wanted =
        wanted(assembly, before).map_err(Failure::from).and_then(|logic| Ok((assembly.plan(&logic, 0)?, logic)));
    let Some(before) = before else { return wanted };
    if let Ok((_, logic)) = &wanted
        && is_what_ran(logic, before)
    {
        return wanted;
    }
    let chosen = match (accepted(assembly, before), wanted) {
        (None, wanted) => wanted?,
        (Some((plan, logic)), Ok((next, fresh))) => match plan.compatible(&next) {
            Ok(()) => (next, fresh),
            Err(misfits) => {
                let misfits = misfits.join("; ");
                tracing::warn!("the plugins on disk do not fit what was accepted, which goes on: {misfits}");
                (plan, logic)
            }
        },
        (Some(accepted), Err(failure)) => {
            let why = match &failure {
                Failure::Problems(problems) => problems.line(),
                Failure::Error(error) => one_line(&error.to_string()),
            };
            tracing::warn!("the plugins on disk cannot run, those that were accepted last go on: {why}");
            accepted
        }
    };
    for (stage, plugin) in &chosen.1.plugins {
        if let Some(before) = before.digests.get(stage).filter(|before| *before != plugin.digest()) {
            tracing::info!(stage, before, now = plugin.digest(), "the plugin on disk takes over at this start");
        }
    }
    Ok(chosen)
}

fn is_what_ran(logic: &Logic, before: &PlanStamp) -> bool {
    let ran =
        |(stage, plugin): (&String, &Arc<Plugin>)| before.digests.get(stage).is_some_and(|d| d == plugin.digest());
    logic.plugins.iter().all(ran) && logic.configs == before.configs
}

/// What lies on disk, but for stages in which something else has to run; with the configs that were changed, as long as
/// the pipeline file says the same as then.
fn wanted(assembly: &Assembly, before: Option<&PlanStamp>) -> Result<Logic> {
    let mut logic = Logic::default();
    for (stage, settings) in plugin_stages(&assembly.pipeline) {
        let name = &stage.name.value;
        let changed = before.and_then(|before| before.configs.get(name));
        if let Some(change) = changed {
            if change.instead_of == settings.config.value.json() {
                logic.configs.insert(name.clone(), change.clone());
            } else {
                tracing::info!(
                    stage = name,
                    "the pipeline file's config changed: it takes the place of the accepted one"
                );
            }
        }
        let ran = before.and_then(|before| before.digests.get(name));
        let plugin = plugin_of(assembly, stage, settings, ran, logic.configs.get(name))?;
        logic.plugins.insert(name.clone(), plugin);
    }
    Ok(logic)
}

fn plugin_of(
    assembly: &Assembly,
    stage: &Stage,
    settings: &PluginStage,
    ran: Option<&String>,
    change: Option<&ConfigChange>,
) -> Result<Arc<Plugin>> {
    let name = &stage.name.value;
    if let Some(pinned) = assembly.history.pinned(name) {
        return assembly.load_kept(stage, &pinned);
    }
    let bytes = read_plugin(name, &settings.file.value)?;
    let found = Version::new(digest(&bytes), change);
    let Some(ran) = ran.filter(|ran| **ran != found.digest) else { return assembly.load(stage, &bytes) };
    let has_to_wait = settings.swap.decision == Decision::Manual;
    if has_to_wait || assembly.history.is_bad(name, &found) {
        return assembly.load_kept(stage, ran);
    }
    assembly.load(stage, &bytes)
}

/// What was accepted last; none when it is not there any more, or does not fit the pipeline file.
fn accepted(assembly: &Assembly, before: &PlanStamp) -> Option<(Plan, Logic)> {
    let mut logic = Logic { configs: before.configs.clone(), ..Logic::default() };
    for (stage, _) in plugin_stages(&assembly.pipeline) {
        let digest = before.digests.get(&stage.name.value)?;
        match assembly.load_kept(stage, digest) {
            Ok(plugin) => logic.plugins.insert(stage.name.value.clone(), plugin),
            Err(error) => {
                tracing::warn!(stage = stage.name.value, %error, "the accepted plugin cannot be used");
                return None;
            }
        };
    }
    Some((assembly.plan(&logic, 0).ok()?, logic))
}
