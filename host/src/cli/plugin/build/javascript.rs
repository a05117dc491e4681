//! JavaScript: componentize-js puts SpiderMonkey and the bundled module into a component. The SDK's build.js does it, in Node.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::{Component, Lang, does_not_build, file_name, run, sdk, work_folder};
use crate::cli::plugin::unreadable;
use crate::error::{Error, ErrorKind, Result};

/// What build.js exits with when a package that it needs is missing.
const TOOL_IS_MISSING: i32 = 3;

/// What is read of a package.json.
#[derive(Deserialize)]
struct Manifest {
    name: String,
}

pub(super) fn build(folder: &Path) -> Result<Component> {
    let path = folder.join("package.json");
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
    let Manifest { name } = serde_json::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::Config, format!("{} names no plugin", path.display()))
            .caused_by(error)
            .help("it needs `name`, and `main` when the plugin is not in index.js")
    })?;
    let work = work_folder()?;
    let sdk = sdk(Lang::Javascript, folder, &work.path().join("sdk"))?;
    let out = work.path().join("component.wasm");
    let mut command = Command::new("node");
    command.arg(sdk.join("javascript/build.js")).arg(folder).arg(sdk.join("wit")).arg(&out);
    let status = run(&mut command, "install Node.js 20 or later: https://nodejs.org")?;
    if status.code() == Some(TOOL_IS_MISSING) {
        return Err(Error::new(ErrorKind::Config, "a package that makes components is missing")
            .help("install it as the message above says"));
    }
    if !status.success() {
        return Err(does_not_build(folder, "see the messages above"));
    }
    let bytes = std::fs::read(&out).map_err(|error| unreadable(&out, error))?;
    Ok(Component { name: file_name(&name), bytes })
}
