//! Builds the components that tests load, once a process; cargo does nothing when they are fresh.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The bytes of a plugin of `tests/components`.
pub fn component(name: &'static str) -> &'static [u8] {
    static BUILT: LazyLock<Mutex<HashMap<&str, &[u8]>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name).or_insert_with(|| build(name).leak())
}

fn build(name: &str) -> Vec<u8> {
    // As it is now: what was built in one clone may run in another one that shares its target folder.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
    let workspace = PathBuf::from(package).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(&workspace)
        .args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "-p", name, "--target-dir"])
        .arg(&target)
        // What the host is built with is nothing to the plugin.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let file = target.join("wasm32-wasip2/release").join(format!("{}.wasm", name.replace('-', "_")));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
