//! What the control socket asks of `Changes`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Sender;
use serde_json::Value;

use super::changes::{Changes, Waiting};
use super::{Answer, Ask, By, Captured, Entry, ProposeOutcome, RolledBack, StageState, What};
use crate::commit::ConfigChange;
use crate::config::{PluginStage, Stage, StageKind};
use crate::digest::digest;
use crate::dimension::Dimension;
use crate::error::{Error, ErrorKind, Result};
use crate::service::assembly::lakes;
use crate::service::coordinator::Request;
use crate::service::logic::{Version, plugin_stage, plugin_stages};

impl Changes {
    /// Answers; a capture waits for rows, a replay looks through files: each on a thread of its own.
    pub(super) fn answer(&mut self, ask: Ask, reply: Sender<Result<Answer>>) {
        let answer = match ask {
            Ask::Capture { stage, rows, only_rejected, patience } => match self.captured(&stage) {
                Ok(mut captured) => {
                    let tap = self.assembly.taps.of(&stage);
                    let capturing = tap.capture(rows, only_rejected);
                    let wait = move || {
                        captured.samples = tap.captured(&capturing, patience);
                        // Whoever asked may have gone.
                        let _ = reply.send(Ok(Answer::Rows(captured)));
                    };
                    if let Err(error) = std::thread::Builder::new().name("capture".to_owned()).spawn(wait) {
                        tracing::warn!(%error, "a capture cannot be started");
                    }
                    return;
                }
                Err(error) => Err(error),
            },
            Ask::Drain => self.drain(),
            Ask::Replay(request) => {
                let assembly = Arc::clone(&self.assembly);
                let look = move || {
                    let asked = assembly.replays.ask(&request, assembly.clock.now_ms());
                    // Whoever asked may have gone.
                    let _ = reply.send(asked.map(Answer::Replay));
                };
                if let Err(error) = std::thread::Builder::new().name("replay".to_owned()).spawn(look) {
                    tracing::warn!(%error, "a replay cannot be started");
                }
                return;
            }
            Ask::List => Ok(Answer::Stages(self.stages())),
            Ask::History { stage } => {
                self.known(stage.as_deref()).map(|()| Answer::History(self.assembly.history.entries(stage.as_deref())))
            }
            Ask::Propose { stage, plugin, config } => self.propose(&stage, plugin, config).map(Answer::Outcome),
            Ask::Diff { stage } => self.diff(&stage),
            Ask::Accept { stage } => self.accept(&stage).map(Answer::Outcome),
            Ask::Rollback { stage, digest } => self.rollback(&stage, digest.as_deref()).map(Answer::Rollback),
            Ask::Pin { stage, digest } => self.pin(&stage, digest.as_deref()).map(Answer::Outcome),
            Ask::Unpin { stage } => self.unpin(&stage).map(Answer::Outcome),
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }

    fn drain(&self) -> Result<Answer> {
        let over =
            |_| Error::new(ErrorKind::Unavailable, "the run went back to its last commit, or ended").help("ask again");
        self.requests.send(Request::Stop).map_err(over)?;
        tracing::info!("drained: this epoch is finished, then the host ends");
        Ok(Answer::Draining)
    }

    fn stages(&self) -> Vec<StageState> {
        let states = plugin_stages(&self.assembly.pipeline).filter_map(|(settings, plugin)| {
            let stage = settings.name.value.clone();
            Some(StageState {
                file: plugin.file.value.display().to_string(),
                file_digest: std::fs::read(&plugin.file.value).ok().map(|bytes| digest(&bytes)),
                live: self.live.version(&stage)?,
                plan: self.plan.number,
                pinned: self.assembly.history.pinned(&stage).or_else(|| Some(plugin.sha256.as_ref()?.value.clone())),
                candidate: self.waiting.get(&stage).map(Waiting::candidate),
                stage,
            })
        });
        states.collect()
    }

    fn known(&self, stage: Option<&str>) -> Result<()> {
        stage.map_or(Ok(()), |stage| self.find(stage).map(drop))
    }

    fn find(&self, stage: &str) -> Result<(&Stage, &PluginStage)> {
        plugin_stage(&self.assembly.pipeline, stage).ok_or_else(|| {
            let names: Vec<&str> =
                plugin_stages(&self.assembly.pipeline).map(|(settings, _)| settings.name.value.as_str()).collect();
            Error::new(ErrorKind::Config, format!("the pipeline has no stage \"{stage}\" that is a plugin"))
                .help(format!("it has {}", names.join(", ")))
        })
    }

    fn running(&self, stage: &str) -> Result<Version> {
        self.find(stage)?;
        self.live.version(stage).ok_or_else(|| Error::new(ErrorKind::Internal, "a stage runs nothing"))
    }

    fn propose(&mut self, stage: &str, plugin: Option<Vec<u8>>, config: Option<Value>) -> Result<ProposeOutcome> {
        let live = self.running(stage)?;
        let (settings, file) = self.find(stage)?;
        let plugin = match plugin {
            Some(bytes) => self.assembly.load(&from_nowhere(settings), &bytes)?,
            None => Arc::clone(&self.live.plugins[stage]),
        };
        let config = match config {
            Some(config) if !config.is_object() => {
                let message = format!("the config of stage \"{stage}\" has to be a JSON object");
                return Err(Error::new(ErrorKind::Config, message));
            }
            Some(config) if config == file.config.value.json() => None,
            Some(config) => match file.config.value.unknown_secret(&config) {
                None => Some(ConfigChange { config, instead_of: file.config.value.json() }),
                Some(name) => {
                    let message = format!(
                        "the config of stage \"{stage}\" names the secret {name}, which the pipeline file does not"
                    );
                    return Err(Error::new(ErrorKind::Config, message)
                        .help("secrets are read at the start: name it in the pipeline file and restart"));
                }
            },
            None => self.live.configs.get(stage).cloned(),
        };
        let waiting = Waiting { plugin, config, by: By::Person, why: String::new(), shadow: None, wanted: false };
        if waiting.version() == live {
            let message = format!("stage {stage} runs this already: {live}");
            return Ok(ProposeOutcome { accepted: true, message, shadow: None });
        }
        self.may_run(stage, &waiting.version())?;
        self.outcome(stage, waiting)
    }

    /// An error when another version is pinned.
    fn may_run(&self, stage: &str, version: &Version) -> Result<()> {
        match self.assembly.history.pinned(stage).filter(|pinned| *pinned != version.digest) {
            None => Ok(()),
            Some(pinned) => Err(Error::new(ErrorKind::Config, format!("stage \"{stage}\" is pinned to {pinned}"))
                .help("`millstream stage unpin` lets others run")),
        }
    }

    fn outcome(&mut self, stage: &str, waiting: Waiting) -> Result<ProposeOutcome> {
        let version = waiting.version();
        let accepted = self.submit(stage, waiting).map_err(|why| {
            self.waiting.remove(stage);
            Error::new(ErrorKind::Plugin, format!("stage \"{stage}\" goes on as it is: {why}"))
        })?;
        let left = self.waiting.get(stage);
        let message = match left {
            None => format!("stage {stage}: {version} takes over at the end of this epoch"),
            Some(left) => format!("stage {stage}: {version} is held: {}", left.why),
        };
        let shadow = match left {
            Some(left) => left.shadow.clone(),
            None => self.assembly.history.entries(Some(stage)).pop().and_then(|entry| entry.shadow),
        };
        Ok(ProposeOutcome { accepted, message, shadow })
    }

    fn diff(&self, stage: &str) -> Result<Answer> {
        self.find(stage)?;
        self.try_again(stage).map(|candidate| Answer::Diff(Box::new(candidate))).ok_or_else(|| nothing_waits(stage))
    }

    fn accept(&mut self, stage: &str) -> Result<ProposeOutcome> {
        self.find(stage)?;
        let waiting = self.waiting.get(stage).cloned().ok_or_else(|| nothing_waits(stage))?;
        self.may_run(stage, &waiting.version())?;
        self.outcome(stage, Waiting { by: By::Person, wanted: true, ..waiting })
    }

    fn rollback(&mut self, stage: &str, digest: Option<&str>) -> Result<RolledBack> {
        let from = self.running(stage)?;
        let to = match digest {
            Some(digest) => self.version_of(stage, digest)?,
            None => {
                let reigns = self.assembly.history.reigns(stage);
                reigns.into_values().rev().find(|version| *version != from).ok_or_else(|| {
                    Error::new(ErrorKind::Config, format!("nothing ran in stage \"{stage}\" before {from}"))
                })?
            }
        };
        if to == from {
            return Err(Error::new(ErrorKind::Config, format!("stage \"{stage}\" runs {from} already"))
                .help("`millstream stage history` lists what ran before"));
        }
        self.may_run(stage, &to)?;
        self.go_to(stage, &to)?;
        let taken_back = Entry::new(stage, &from, What::RolledBack, By::Person).why(format!("back to {to}"));
        self.assembly.history.add(taken_back);
        let epochs = self.epochs_of(stage, &from);
        let files = self.files_of(stage, &from);
        Ok(RolledBack { from, to, epochs, files })
    }

    /// Puts a version in place that was kept.
    fn go_to(&mut self, stage: &str, version: &Version) -> Result<()> {
        let (settings, file) = self.find(stage)?;
        let plugin = self.assembly.load_kept(settings, &version.digest)?;
        let instead_of = file.config.value.json();
        let config = version.config.clone().map(|config| ConfigChange { config, instead_of });
        let waiting = Waiting { plugin, config, by: By::Person, why: String::new(), shadow: None, wanted: true };
        self.submit(stage, waiting).map(drop).map_err(|why| {
            self.waiting.remove(stage);
            Error::new(ErrorKind::Plugin, format!("stage \"{stage}\" cannot run {version} now: {why}"))
        })
    }

    /// The version of a stage whose digest begins so: the last one that ran, else the plugin with the config that runs.
    fn version_of(&self, stage: &str, digest: &str) -> Result<Version> {
        let entries = self.assembly.history.entries(Some(stage));
        let found: Vec<&Version> =
            entries.iter().rev().map(|entry| &entry.version).filter(|known| known.digest.starts_with(digest)).collect();
        let digests: BTreeSet<&str> = found.iter().map(|version| version.digest.as_str()).collect();
        match (found.first(), digests.len()) {
            (Some(version), 1) => Ok((*version).clone()),
            (_, 0) => {
                let message = format!("no version of stage \"{stage}\" is known whose digest begins with {digest}");
                Err(Error::new(ErrorKind::Config, message).help("`millstream stage history` has them all"))
            }
            _ => {
                let known: Vec<&str> = digests.into_iter().collect();
                Err(Error::new(ErrorKind::Config, format!("{digest} is the beginning of {}", known.join(" and of ")))
                    .help("write more of it"))
            }
        }
    }

    fn pin(&mut self, stage: &str, digest: Option<&str>) -> Result<ProposeOutcome> {
        let live = self.running(stage)?;
        let version = digest.map_or_else(|| Ok(live.clone()), |digest| self.version_of(stage, digest))?;
        if version.digest != live.digest {
            self.go_to(stage, &version)?;
        }
        self.assembly.history.add(Entry::new(stage, &version, What::Pinned, By::Person));
        let message = format!("stage {stage} is pinned to {version}: nothing else runs until it is unpinned");
        Ok(ProposeOutcome { accepted: true, message, shadow: None })
    }

    fn unpin(&mut self, stage: &str) -> Result<ProposeOutcome> {
        let live = self.running(stage)?;
        let (_, settings) = self.find(stage)?;
        if let Some(pinned) = &settings.sha256 {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the pipeline file pins stage \"{stage}\" to {}", pinned.value),
            )
            .help("take `sha256` out of the stage's `plugin` and restart"));
        }
        self.assembly.history.add(Entry::new(stage, &live, What::Unpinned, By::Person));
        let message = format!(
            "stage {stage} is not pinned any more; its file is looked at when it changes, \
             and `millstream stage list` says whether it is what runs"
        );
        Ok(ProposeOutcome { accepted: true, message, shadow: None })
    }

    fn captured(&self, stage: &str) -> Result<Captured> {
        let version = self.running(stage)?;
        let (_, file) = self.find(stage)?;
        let config = version.config.clone().unwrap_or_else(|| file.config.value.json());
        let planned = self.plan.stages.iter().find(|planned| planned.name.as_ref() == stage).cloned();
        let planned = planned.ok_or_else(|| Error::new(ErrorKind::Internal, "a stage is not planned"))?;
        let tables = self.assembly.tables.iter().map(Dimension::snapshot).collect();
        Ok(Captured { stage: stage.to_owned(), version, config, planned, tables, samples: Vec::new() })
    }

    /// First and last epoch of each time that a version ran.
    fn epochs_of(&self, stage: &str, version: &Version) -> Vec<(u64, Option<u64>)> {
        let reigns: Vec<(u64, Version)> = self.assembly.history.reigns(stage).into_iter().collect();
        let ends = reigns.iter().skip(1).map(|(epoch, _)| Some(epoch.saturating_sub(1))).chain([None]);
        let spans = reigns.iter().zip(ends).filter(|((_, ran), _)| ran == version);
        spans.map(|((first, _), end)| (*first, end)).collect()
    }

    /// The files that were made with a version of a stage, by the manifests beside them.
    fn files_of(&self, stage: &str, version: &Version) -> Vec<String> {
        let made_by = |plan: &Value| {
            plan["digests"][stage] == version.digest.as_str()
                && plan["configs"][stage].get("config") == version.config.as_ref()
        };
        let mut files = Vec::new();
        for lake in lakes(&self.assembly.pipeline).into_values() {
            let manifests = std::fs::read_dir(lake.join("_manifest")).into_iter().flatten().flatten();
            for manifest in manifests {
                let Ok(bytes) = std::fs::read(manifest.path()) else { continue };
                let Ok(manifest) = serde_json::from_slice::<Value>(&bytes) else { continue };
                if made_by(&manifest["plan"]) {
                    let paths =
                        manifest["files"].as_array().into_iter().flatten().filter_map(|file| file["path"].as_str());
                    files.extend(paths.map(|path| lake.join(path).display().to_string()));
                }
            }
        }
        // A rewind may have taken some away.
        files.retain(|file| std::path::Path::new(file).exists());
        files.sort();
        files
    }
}

/// The stage as one whose plugin did not come from its file: messages about the bytes do not name it.
fn from_nowhere(stage: &Stage) -> Stage {
    let mut stage = stage.clone();
    if let StageKind::Plugin(plugin) = &mut stage.kind {
        plugin.file.value = PathBuf::from("the proposed plugin");
    }
    stage
}

fn nothing_waits(stage: &str) -> Error {
    Error::new(ErrorKind::Config, format!("no candidate waits for stage \"{stage}\""))
        .help("propose one: change its file, or `millstream stage propose`")
}
