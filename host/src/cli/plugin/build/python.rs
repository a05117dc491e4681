//! Python: componentize-py puts CPython, the SDK and the plugin's module into a component.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Component, Lang, does_not_build, file_name, run, sdk, work_folder};
use crate::cli::plugin::unreadable;
use crate::error::{Error, ErrorKind, Result};

const TOOL: &str = "componentize-py";
/// The version that the SDK was tried with.
const VERSION: &str = "0.25.1";
/// The module that binds the plugin's to the interface.
const ENTRY: &str = "millstream_entry";

/// What is read of a pyproject.toml.
#[derive(Deserialize)]
struct Manifest {
    project: Project,
    #[serde(default)]
    tool: Tools,
}

#[derive(Deserialize)]
struct Project {
    name: String,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tools {
    #[serde(default)]
    millstream: Settings,
}

/// `[tool.millstream]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    module: Option<String>,
}

pub(super) fn build(folder: &Path) -> Result<Component> {
    let Manifest { project, tool } = manifest(folder)?;
    let module = tool.millstream.module.unwrap_or_else(|| project.name.replace(['-', '.'], "_"));
    let sources = sources(folder, &module)?;
    let work = work_folder()?;
    let sdk = sdk(Lang::Python, folder, &work.path().join("sdk"))?;
    let entry = work.path().join("entry");
    let version = project.version.as_deref().unwrap_or("0.0.0");
    let text = entry_module(&module, &project.name, version);
    std::fs::create_dir(&entry).and_then(|()| std::fs::write(entry.join(format!("{ENTRY}.py")), text)).map_err(
        |error| Error::new(ErrorKind::Storage, format!("{} cannot be written", entry.display())).caused_by(error),
    )?;
    let out = work.path().join("component.wasm");
    let mut command = Command::new(tool_path(folder));
    command.arg("--quiet").arg("--wit-path").arg(sdk.join("wit")).args(["--world", "stage", "componentize", ENTRY]);
    for path in [&entry, &sdk.join("python"), &sources] {
        command.arg("--python-path").arg(path);
    }
    let missing = format!(
        "in the plugin's folder: `python3 -m venv .venv && .venv/bin/pip install {TOOL}=={VERSION}`; or have it in the path"
    );
    if !run(command.arg("--output").arg(&out), &missing)?.success() {
        return Err(does_not_build(
            folder,
            &format!("see the messages above; the SDK was tried with {TOOL} {VERSION}"),
        ));
    }
    let bytes = std::fs::read(&out).map_err(|error| unreadable(&out, error))?;
    Ok(Component { name: file_name(&project.name), bytes })
}

fn manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join("pyproject.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
    toml::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::Config, format!("{} names no plugin: {}", path.display(), error.message()))
            .help("it needs `[project]` with `name`, and may have `[tool.millstream]` with `module`")
    })
}

/// The folder in which the plugin's module lies.
fn sources(folder: &Path, module: &str) -> Result<PathBuf> {
    let is_name = module.split('.').all(|part| {
        let mut letters = part.chars();
        let first = letters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
        first && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
    });
    let path = module.replace('.', "/");
    let holds =
        |place: &PathBuf| place.join(format!("{path}.py")).exists() || place.join(&path).join("__init__.py").exists();
    let places = [folder.to_path_buf(), folder.join("src")];
    places.into_iter().find(|place| is_name && holds(place)).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("{} has no module `{module}`", folder.display())).help(format!(
            "the plugin is the module of the project's name, {module}.py here or in src/; or pyproject.toml names another: \
             `[tool.millstream] module = \"..\"`"
        ))
    })
}

/// JSON's text is Python's, too.
fn entry_module(module: &str, name: &str, version: &str) -> String {
    let [name, version] = [name, version].map(|text| serde_json::Value::from(text).to_string());
    format!(
        "import importlib\n\nfrom millstream.component import export\n\n\
         Transform = export(importlib.import_module(\"{module}\"), {name}, {version})\n"
    )
}

/// componentize-py of the plugin's own environment, else of the active one, else of the path.
fn tool_path(folder: &Path) -> PathBuf {
    let active = std::env::var_os("VIRTUAL_ENV").map(|environment: OsString| PathBuf::from(environment));
    let environments = [Some(folder.join(".venv")), active];
    let tools = environments.into_iter().flatten().map(|environment| environment.join("bin").join(TOOL));
    // A relative path with a folder in it would be looked for from where the command runs, which is here.
    tools.into_iter().find(|tool| tool.exists()).unwrap_or_else(|| PathBuf::from(TOOL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_lies_beside_the_manifest_or_in_src() {
        let folder = tempfile::tempdir().unwrap();
        let help = sources(folder.path(), "clean").unwrap_err().to_string();
        assert!(help.contains("has no module `clean`"), "{help}");
        std::fs::create_dir_all(folder.path().join("src/clean")).unwrap();
        std::fs::write(folder.path().join("src/clean/__init__.py"), "").unwrap();
        assert_eq!(sources(folder.path(), "clean").unwrap(), folder.path().join("src"));
        std::fs::write(folder.path().join("clean.py"), "").unwrap();
        assert_eq!(sources(folder.path(), "clean").unwrap(), folder.path());
        for wrong in ["", "a b", "..", "1a", "clean\"); evil("] {
            assert!(sources(folder.path(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_manifest_without_a_project_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pyproject.toml"), "[tool.other]\nx = 1\n").unwrap();
        let message = manifest(folder.path()).err().unwrap().to_string();
        assert!(message.contains("names no plugin") && message.contains("project"), "{message}");
    }
}
