//! Puts the SDKs and the templates of plugins into the binary, so that `millstream plugin new` needs nothing else: writes
//! `embedded.rs`, the list of files with their paths in the repository.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Files and folders of the repository, and the endings of what is taken of a folder.
const TAKEN: [(&str, &[&str]); 12] = [
    ("Cargo.toml", &[]),
    ("Cargo.lock", &[]),
    ("wit/stage.wit", &[]),
    ("sdk/Cargo.toml", &[]),
    ("sdk/src", &["rs"]),
    ("sdk/derive", &["rs", "toml"]),
    ("sdk/python/pyproject.toml", &[]),
    ("sdk/python/millstream", &["py"]),
    ("sdk/javascript/package.json", &[]),
    ("sdk/javascript/build.js", &[]),
    ("sdk/javascript/src", &["js"]),
    ("sdk/templates", &["rs", "toml", "jsonl", "md", "gitignore", "py", "js", "json"]),
];

fn main() -> io::Result<()> {
    let repository = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..").canonicalize()?;
    let mut files = Vec::new();
    for (path, endings) in TAKEN {
        println!("cargo::rerun-if-changed={}", repository.join(path).display());
        take(&repository.join(path), endings, &mut files)?;
    }
    files.sort();
    let mut list = "&[\n".to_owned();
    for file in files {
        let name = file.strip_prefix(&repository).unwrap_or(&file).display().to_string();
        writeln!(list, "    ({name:?}, include_str!({:?})),", file.display().to_string()).map_err(io::Error::other)?;
    }
    list.push(']');
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("embedded.rs"), list)
}

fn take(path: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() || endings.contains(&name.rsplit('.').next().unwrap_or_default()) {
            take(&entry, endings, files)?;
        }
    }
    Ok(())
}
