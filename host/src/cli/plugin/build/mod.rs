//! `millstream plugin build`: a plugin's folder to a component, in the language that its manifest says.

mod javascript;
mod python;
mod rust;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::new::{Lang, SDK_FOLDER, write_sdk};
use super::unreadable;
use crate::cli::Failure;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Engine, Plugin};

/// Build a plugin as a component and check that it loads.
#[derive(Args)]
pub(in crate::cli) struct Build {
    /// The plugin's folder, with its Cargo.toml, pyproject.toml or package.json.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the component goes; by default `NAME.wasm` in the plugin's folder. Replaced in one step, so that a running
    /// pipeline never sees half a file.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Built { name, bytes, plugin } = build(&crate::cli::engine()?, &self.folder)?;
        let file = self.out.clone().unwrap_or_else(|| self.folder.join(name));
        replace(&file, &bytes)?;
        let about = plugin.describe()?;
        let mut stdout = std::io::stdout().lock();
        let kibibytes = plugin.size_bytes() / 1024;
        writeln!(stdout, "{} {}: {} ({kibibytes} KiB)", about.name, about.version, file.display())?;
        Ok(writeln!(stdout, "sha256 {}", plugin.digest())?)
    }
}

/// A component that was built.
pub(super) struct Built {
    /// The name of its file.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// It, loaded.
    pub plugin: Arc<Plugin>,
}

/// Builds the plugin in a folder, and loads it; the component that lies there stays as it is.
pub(super) fn build(engine: &Engine, folder: &Path) -> Result<Built> {
    let Component { name, bytes } = match language(folder)? {
        Lang::Rust => rust::build(folder)?,
        Lang::Python => python::build(folder)?,
        Lang::Javascript => javascript::build(folder)?,
    };
    let plugin = engine.load(&bytes, &folder.join(&name).display().to_string())?;
    Ok(Built { name, bytes, plugin })
}

/// What a language's tools made.
struct Component {
    /// The name of its file.
    name: String,
    /// It.
    bytes: Vec<u8>,
}

/// The language of the plugin in a folder, by its manifest.
pub(super) fn language(folder: &Path) -> Result<Lang> {
    let all = Lang::value_variants().iter().copied();
    all.into_iter().find(|language| folder.join(language.manifest()).exists()).ok_or_else(|| {
        let message = format!("{} has no Cargo.toml, pyproject.toml or package.json", folder.display());
        Error::new(ErrorKind::Config, message)
            .help("name the folder of a plugin: `millstream plugin build examples/flights/plugins/clean`")
    })
}

/// The name of a component's file, from that of its package: `@shop/clean-links` makes `clean_links.wasm`.
fn file_name(package: &str) -> String {
    let name = package.rsplit('/').next().unwrap_or(package);
    format!("{}.wasm", name.replace(['-', '.'], "_"))
}

/// The interface, and the SDK that a plugin is built with: its own copy, as `plugin new` wrote it, else this binary's, which
/// is written into `work`.
fn sdk(language: Lang, folder: &Path, work: &Path) -> Result<PathBuf> {
    let own = folder.join(SDK_FOLDER);
    if own.join("wit/stage.wit").exists() {
        return own.canonicalize().map_err(|error| unreadable(&own, error));
    }
    write_sdk(language, work)?;
    Ok(work.to_path_buf())
}

/// A folder for the time of a build.
fn work_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("millstream-build-")
        .tempdir()
        .map_err(|error| Error::new(ErrorKind::Storage, "no folder can be made to build in").caused_by(error))
}

/// Runs a tool, which says on stderr what is wrong; `missing` is the way to get it.
fn run(command: &mut Command, missing: &str) -> Result<ExitStatus> {
    let tool = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(|error| {
        Error::new(ErrorKind::Config, format!("{tool} cannot be started")).caused_by(error).help(missing.to_owned())
    })
}

/// The error for source that a tool refused.
fn does_not_build(folder: &Path, help: &str) -> Error {
    Error::new(ErrorKind::Plugin, format!("the plugin in {} does not build", folder.display())).help(help.to_owned())
}

/// Writes beside the target and renames, so that whoever watches sees the whole file at once.
fn replace(out: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = out.with_extension("wasm.new");
    std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, out)).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("{} cannot be written", out.display())).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_names_its_component() {
        assert_eq!(file_name("clean-clicks"), "clean_clicks.wasm");
        assert_eq!(file_name("@shop/clean.links"), "clean_links.wasm");
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_plugin() {
        let folder = tempfile::tempdir().unwrap();
        assert!(language(folder.path()).is_err());
        for lang in Lang::value_variants().iter().rev() {
            std::fs::write(folder.path().join(lang.manifest()), "").unwrap();
            assert_eq!(language(folder.path()).unwrap().manifest(), lang.manifest());
        }
    }
}
