//! Rust: cargo makes components by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Component, does_not_build};
use crate::cli::plugin::unreadable;
use crate::error::{Error, ErrorKind, Result};

/// The target that makes components without a further tool.
const TARGET: &str = "wasm32-wasip2";

pub(super) fn build(folder: &Path) -> Result<Component> {
    let manifest = folder.join("Cargo.toml");
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
        let help = format!("see cargo's messages above; when the target is missing: `rustup target add {TARGET}`");
        return Err(does_not_build(folder, &help));
    }
    let built = component_of(&manifest, &output.stdout).ok_or_else(|| {
        Error::new(ErrorKind::Plugin, format!("{} makes no component", manifest.display()))
            .help("its Cargo.toml needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`")
    })?;
    let bytes = std::fs::read(&built).map_err(|error| unreadable(&built, error))?;
    let name = built.file_name().map_or_else(|| "plugin.wasm".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Component { name, bytes })
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
