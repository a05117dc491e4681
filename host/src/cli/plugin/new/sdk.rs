//! The Rust SDK as a workspace of its own, from the repository's manifests: a plugin names it by path, and finds the
//! versions of all crates in its lock file, so that it builds next year as it does today.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use toml::{Table, Value};

use super::name::Name;
use super::{below, embedded, write};
use crate::error::{Error, ErrorKind, Result};

const SDK: &str = "millstream-sdk";
const MEMBERS: [&str; 2] = ["sdk", "sdk/derive"];

/// Writes the SDK's own part of a folder.
pub fn write_rust(folder: &Path) -> Result<()> {
    write(&folder.join("Cargo.toml"), &text(&workspace()?)?)?;
    for member in MEMBERS {
        let manifest = format!("{member}/Cargo.toml");
        write(&folder.join(&manifest), &text(&without_tests(table(&manifest)?))?)?;
        for (path, source) in below(&format!("{member}/src/")) {
            write(&folder.join(member).join("src").join(path), source)?;
        }
    }
    Ok(())
}

/// The lock file of a new plugin: the versions that this release was tested with.
pub fn lock_file(name: &Name) -> Result<String> {
    let lock = table("Cargo.lock")?;
    let listed = lock.get("package").and_then(Value::as_array).ok_or_else(|| unexpected("Cargo.lock"))?;
    let only_tests = only_tests()?;
    let mut packages: HashMap<(String, String), Table> = HashMap::new();
    for package in listed.iter().filter_map(Value::as_table) {
        let mut package = package.clone();
        if MEMBERS.iter().any(|member| is_member(&package, member))
            && let Some(Value::Array(needs)) = package.get_mut("dependencies")
        {
            needs.retain(|need| need.as_str().is_none_or(|need| !only_tests.contains(first_word(need))));
        }
        packages.insert((string(&package, "name"), string(&package, "version")), package);
    }
    let mut reached: BTreeSet<(String, String)> = BTreeSet::new();
    let mut next: Vec<String> = vec![SDK.to_owned()];
    while let Some(need) = next.pop() {
        let mut words = need.split(' ');
        let (named, version) = (words.next().unwrap_or_default(), words.next());
        let found = packages.keys().find(|(name, at)| name == named && version.is_none_or(|version| version == at));
        let Some(key) = found.cloned() else { return Err(unexpected("Cargo.lock")) };
        if reached.insert(key.clone())
            && let Some(Value::Array(needs)) = packages.get(&key).and_then(|package| package.get("dependencies"))
        {
            next.extend(needs.iter().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let mut own = Table::new();
    own.insert("name".to_owned(), Value::from(name.package.as_str()));
    own.insert("version".to_owned(), Value::from("0.1.0"));
    own.insert("dependencies".to_owned(), Value::Array(vec![Value::from(SDK)]));
    let mut all: Vec<Table> = reached.iter().filter_map(|key| packages.get(key).cloned()).collect();
    all.push(own);
    all.sort_by_key(|package| string(package, "name"));
    let mut pruned = Table::new();
    pruned.extend(lock.get("version").map(|version| ("version".to_owned(), version.clone())));
    pruned.insert("package".to_owned(), Value::Array(all.into_iter().map(Value::Table).collect()));
    text(&pruned)
}

/// The manifest of the workspace that the SDK's copy is: only what the SDK takes from the repository's.
fn workspace() -> Result<Table> {
    let mut root = table("Cargo.toml")?;
    let mut workspace = match root.remove("workspace") {
        Some(Value::Table(workspace)) => workspace,
        _ => return Err(unexpected("Cargo.toml")),
    };
    workspace.remove("exclude");
    workspace.insert("members".to_owned(), Value::Array(MEMBERS.map(Value::from).to_vec()));
    let mut needed = BTreeSet::from([SDK.to_owned()]);
    for member in MEMBERS {
        let manifest = without_tests(table(&format!("{member}/Cargo.toml"))?);
        needed.extend(named(&manifest, "dependencies"));
    }
    if let Some(Value::Table(dependencies)) = workspace.get_mut("dependencies") {
        dependencies.retain(|name, _| needed.contains(name));
    }
    let mut manifest = Table::new();
    manifest.insert("workspace".to_owned(), Value::Table(workspace));
    Ok(manifest)
}

/// A manifest without what only the SDK's own tests need.
fn without_tests(mut manifest: Table) -> Table {
    manifest.remove("example");
    manifest.remove("dev-dependencies");
    if let Some(Value::Table(targets)) = manifest.get_mut("target") {
        for (_, target) in targets.iter_mut() {
            if let Value::Table(target) = target {
                target.remove("dev-dependencies");
            }
        }
        targets.retain(|_, target| target.as_table().is_none_or(|target| !target.is_empty()));
    }
    manifest
}

/// The crates that only the SDK's own tests need.
fn only_tests() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for member in MEMBERS {
        let manifest = table(&format!("{member}/Cargo.toml"))?;
        names.extend(named(&manifest, "dev-dependencies"));
    }
    Ok(names)
}

/// The crates that a section of a manifest names, also those of single targets.
fn named(manifest: &Table, section: &str) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|all| all.iter());
    let parts = targets.filter_map(|(_, part)| part.as_table()).chain([manifest]);
    let crates = parts.filter_map(|part| part.get(section).and_then(Value::as_table));
    crates.flat_map(|all| all.keys().cloned()).collect()
}

fn is_member(package: &Table, member: &str) -> bool {
    string(package, "name") == member.replace("sdk", SDK).replace('/', "-")
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn string(table: &Table, key: &str) -> String {
    table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn table(path: &str) -> Result<Table> {
    embedded(path)?.parse().map_err(|error: toml::de::Error| unexpected(path).caused_by(error))
}

fn text(table: &Table) -> Result<String> {
    toml::to_string(table)
        .map_err(|error| Error::new(ErrorKind::Internal, "a manifest cannot be written").caused_by(error))
}

fn unexpected(path: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{path} in this binary is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_has_what_the_sdk_needs_and_nothing_of_the_host() {
        let lock = lock_file(&Name::new("clean-links").unwrap()).unwrap();
        for there in ["name = \"clean-links\"", "name = \"wit-bindgen\"", "name = \"millstream-sdk-derive\""] {
            assert!(lock.contains(there), "{there}");
        }
        for gone in ["wasmtime\"", "name = \"millstream\"", "trybuild", "proptest", "rocksdb"] {
            assert!(!lock.contains(gone), "{gone}");
        }
    }

    #[test]
    fn the_workspace_of_the_copy_names_only_what_the_sdk_needs() {
        let workspace = text(&workspace().unwrap()).unwrap();
        assert!(workspace.contains("wit-bindgen") && workspace.contains("edition = \"2024\""), "{workspace}");
        assert!(!workspace.contains("wasmtime") && !workspace.contains("trybuild"), "{workspace}");
    }
}
