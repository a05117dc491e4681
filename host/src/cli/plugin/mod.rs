//! `millstream plugin`

mod bench;
mod build;
mod inspect;
mod new;
mod test;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::Failure;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Engine, Plugin as Loaded};

/// Make, build and try plugins.
#[derive(Subcommand)]
pub(super) enum Plugin {
    /// Make a folder with a new plugin that builds and passes its tests at once.
    New(new::New),
    /// Build a plugin as a component and check that it loads.
    Build(build::Build),
    /// Run a plugin on the rows of cases, and show what differs from what they expect.
    Test(test::Test),
    /// Measure what a plugin costs a row, and how much of that is the boundary.
    Bench(bench::Bench),
    /// Show a plugin's name, digest, size, imports, config schema and contract.
    Inspect(inspect::Inspect),
    /// Put this release's SDK in the place of the one that a plugin was made with.
    Sdk(new::Sdk),
}

impl Plugin {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run(),
            Self::Test(test) => test.run(),
            Self::Bench(bench) => bench.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Sdk(sdk) => sdk.run(),
        }
    }
}

/// The plugin that a command works on.
#[derive(Args)]
struct PluginArg {
    /// The plugin's folder, or a component. A folder is built first; the component that lies in it stays as it is, so that
    /// no running pipeline sees what is only tried.
    #[arg(default_value = ".", value_name = "FOLDER|FILE.wasm")]
    plugin: PathBuf,
}

impl PluginArg {
    /// The plugin, and its folder.
    fn load(&self, engine: &Engine) -> Result<(Arc<Loaded>, PathBuf)> {
        if self.plugin.is_dir() {
            return Ok((build::build(engine, &self.plugin)?.plugin, self.plugin.clone()));
        }
        let bytes = std::fs::read(&self.plugin).map_err(|error| unreadable(&self.plugin, error))?;
        let folder = self.plugin.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok((engine.load(&bytes, &self.plugin.display().to_string())?, folder))
    }
}

/// Whether a folder is one that `plugin build` makes a component of.
pub(super) fn is_plugin_folder(folder: &Path) -> bool {
    build::language(folder).is_ok()
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{} cannot be read", path.display())).caused_by(error)
}
