//! What the stages of a pipeline run: their plugins, and configs that were changed while it ran.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commit::ConfigChange;
use crate::config::{Pipeline, PluginStage, Stage, StageKind};
use crate::digest::short;
use crate::plugin::Plugin;

/// Compiled plugins by stage.
pub type Plugins = BTreeMap<String, Arc<Plugin>>;

/// Compiled plugins by stage, and changed configs.
#[derive(Clone, Debug, Default)]
pub struct Logic {
    /// By stage its plugin.
    pub plugins: Plugins,
    /// By stage the config that was put in place of the pipeline file's.
    pub configs: BTreeMap<String, ConfigChange>,
}

impl Logic {
    /// What a stage runs; none for one that is no plugin.
    pub fn version(&self, stage: &str) -> Option<Version> {
        Some(Version::new(self.plugins.get(stage)?.digest().to_owned(), self.configs.get(stage)))
    }

    /// The pipeline with the changed configs.
    pub fn configured(&self, pipeline: &Pipeline) -> Pipeline {
        let mut pipeline = pipeline.clone();
        for stage in &mut pipeline.stages {
            if let (StageKind::Plugin(plugin), Some(change)) = (&mut stage.kind, self.configs.get(&stage.name.value)) {
                plugin.config.value = plugin.config.value.changed(&change.config);
            }
        }
        pipeline
    }
}

/// A stage's plugin and, when it is not the pipeline file's, its config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The plugin's digest.
    pub digest: String,
    /// The config that was put in place of the pipeline file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

impl Version {
    /// A plugin with the config that was put in place of the pipeline file's, if one was.
    pub fn new(digest: String, change: Option<&ConfigChange>) -> Self {
        Self { digest, config: change.map(|change| change.config.clone()) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = short(&self.digest);
        match &self.config {
            None => f.write_str(&short),
            Some(config) => write!(f, "{short} with config {config}"),
        }
    }
}

/// A stage that runs something else than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The stage.
    pub stage: String,
    /// What it ran.
    pub before: Version,
    /// What it runs.
    pub next: Version,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage {}: {} -> {}", self.stage, self.before, self.next)
    }
}

/// The stage of this name, when it is a plugin.
pub fn plugin_stage<'a>(pipeline: &'a Pipeline, name: &str) -> Option<(&'a Stage, &'a PluginStage)> {
    plugin_stages(pipeline).find(|(stage, _)| stage.name.value == name)
}

/// The stages that are plugins.
pub fn plugin_stages(pipeline: &Pipeline) -> impl Iterator<Item = (&Stage, &PluginStage)> {
    pipeline.stages.iter().filter_map(|stage| match &stage.kind {
        StageKind::Plugin(plugin) => Some((stage, plugin)),
        StageKind::Lookup(_) => None,
    })
}
