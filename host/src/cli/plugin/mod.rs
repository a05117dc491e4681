//! `millstream plugin`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};

use super::Failure;
use crate::config::Limits;
use crate::contract::Given;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::Engine;

/// Build and inspect plugins.
#[derive(Subcommand)]
pub(super) enum Plugin {
    /// Build a Rust plugin as a component and check that it loads.
    Build(Build),
    /// Show a plugin's name, digest, size, imports, config schema and contract.
    Inspect(Inspect),
}

impl Plugin {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Build(build) => build.run(),
            Self::Inspect(inspect) => inspect.run(),
        }
    }
}

#[derive(Args)]
pub(super) struct Build {
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
    fn run(&self) -> Result<(), Failure> {
        let built = self.cargo_build()?;
        let bytes = std::fs::read(&built).map_err(|error| unreadable(&built, error))?;
        let plugin = Engine::new()?.load(&bytes, &built.display().to_string())?;
        let name = built.file_name().map_or_else(|| PathBuf::from("plugin.wasm"), PathBuf::from);
        let out = self.out.clone().unwrap_or_else(|| self.folder.join(name));
        replace(&out, &bytes)?;
        let about = plugin.describe()?;
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{} {}: {} ({} KiB)", about.name, about.version, out.display(), bytes.len() / 1024)?;
        Ok(writeln!(stdout, "sha256 {}", plugin.digest())?)
    }

    /// Runs cargo and returns the component that it made.
    fn cargo_build(&self) -> Result<PathBuf> {
        let manifest = self.folder.join("Cargo.toml");
        if !manifest.exists() {
            return Err(Error::new(ErrorKind::Config, format!("{} has no Cargo.toml", self.folder.display()))
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
            return Err(Error::new(
                ErrorKind::Plugin,
                format!("the plugin in {} does not build", self.folder.display()),
            )
            .help(format!("see cargo's messages above; when the target is missing: `rustup target add {TARGET}`")));
        }
        component_of(&manifest, &output.stdout).ok_or_else(|| {
            Error::new(ErrorKind::Plugin, format!("{} makes no component", manifest.display()))
                .help("its Cargo.toml needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`")
        })
    }
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

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{} cannot be read", path.display())).caused_by(error)
}

#[derive(Args)]
pub(super) struct Inspect {
    /// The component.
    file: PathBuf,
    /// The config to configure it with, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
}

impl Inspect {
    fn run(&self) -> Result<(), Failure> {
        let bytes = std::fs::read(&self.file).map_err(|error| unreadable(&self.file, error))?;
        let plugin = Engine::new()?.load(&bytes, &self.file.display().to_string())?;
        let about = plugin.describe()?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "name     {} {}", about.name, about.version)?;
        writeln!(out, "sha256   {}", plugin.digest())?;
        writeln!(out, "size     {} bytes", bytes.len())?;
        writeln!(out, "imports  {}", plugin.imports().join("\n         "))?;
        writeln!(out, "exports  {}", plugin.exports().join("\n         "))?;
        if let Some(schema) = &about.config_schema {
            writeln!(out, "config   {schema}")?;
        }
        match plugin.instantiate(&about.name, &self.config, &Given::default(), &Limits::default()) {
            Ok((_, contract)) => {
                for column in &contract.reads {
                    writeln!(out, "reads    {}: {}", column.name, column.type_text())?;
                }
                for lookup in &contract.lookups {
                    let columns: Vec<String> = lookup
                        .columns
                        .iter()
                        .map(|column| format!("{}: {}", column.name, column.type_text()))
                        .collect();
                    writeln!(out, "looks up {} by {}: {}", lookup.table, lookup.key.join(", "), columns.join(", "))?;
                }
                for column in &contract.writes {
                    writeln!(out, "writes   {}: {}", column.name, column.type_text())?;
                }
                if !contract.outputs.is_empty() {
                    writeln!(out, "routes   {}", contract.outputs.join(", "))?;
                }
            }
            Err(error) => {
                writeln!(out, "contract depends on its place: {error}\n         give it a config with --config")?
            }
        }
        Ok(())
    }
}
