//! `millstream plugin build`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;

use super::unreadable;
use crate::cli::Failure;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Engine, Plugin};

/// Build a plugin as a component and check that it loads.
#[derive(Args)]
pub(in crate::cli) struct Build {
    /// The plugin's folder, with its Cargo.toml.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the component goes; by default `NAME.wasm` in the plugin's folder. Replaced in one step, so that a running
    /// pipeline never sees half a file.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The target that makes components without a further tool.
const TARGET: &str = "wasm32-wasip2";

impl Build {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Built { name, bytes, plugin } = build(&Engine::new()?, &self.folder)?;
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
    pub name: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// It, loaded.
    pub plugin: Arc<Plugin>,
}

/// Builds the plugin in a folder, and loads it; the component that lies there stays as it is.
pub(super) fn build(engine: &Engine, folder: &Path) -> Result<Built> {
    let built = cargo_build(folder)?;
    let bytes = std::fs::read(&built).map_err(|error| unreadable(&built, error))?;
    let name = built.file_name().map_or_else(|| PathBuf::from("plugin.wasm"), PathBuf::from);
    let plugin = engine.load(&bytes, &folder.join(&name).display().to_string())?;
    Ok(Built { name, bytes, plugin })
}

/// Runs cargo and returns the component that it made.
fn cargo_build(folder: &Path) -> Result<PathBuf> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.exists() {
        return Err(Error::new(ErrorKind::Config, format!("{} has no Cargo.toml", folder.display()))
            .help("name the folder of a plugin: `millstream plugin build examples/flights/plugins/clean`"));
    }
    let manifest = manifest.canonicalize().map_err(|error| unreadable(&manifest, error))?;
    let output = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| {
            Error::new(ErrorKind::Config, "cargo cannot be started")
                .caused_by(error)
                .help("install Rust with rustup: https://rustup.rs")
        })?;
    if !output.status.success() {
        return Err(Error::new(ErrorKind::Plugin, format!("the plugin in {} does not build", folder.display()))
            .help(format!("see cargo's messages above; when the target is missing: `rustup target add {TARGET}`")));
    }
    component_of(&manifest, &output.stdout).ok_or_else(|| {
        Error::new(ErrorKind::Plugin, format!("{} makes no component", manifest.display()))
            .help("its Cargo.toml needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`")
    })
}

/// The .wasm among the files that cargo says it made of this manifest.
fn component_of(manifest: &Path, messages: &[u8]) -> Option<PathBuf> {
    let lines =
        messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let ours = lines.filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(manifest));
    let files: Vec<String> = ours
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(str::to_owned))
        .collect();
    files.into_iter().find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Writes beside the target and renames, so that whoever watches sees the whole file at once.
fn replace(out: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = out.with_extension("wasm.new");
    std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, out)).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("{} cannot be written", out.display())).caused_by(error)
    })
}
