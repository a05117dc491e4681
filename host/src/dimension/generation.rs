//! A generation: one whole load of a table's file, in a folder of its own, never changed.
//!
//! A generation is there as a whole or not at all: it is built in `loading-N`, every file of it is synced, and only then
//! the folder gets its name `generation-N`, in one rename. Its manifest names every file with length and checksum, and
//! carries a checksum itself; all of them are compared when the generation is opened, so that nothing that the disk
//! changed is ever served.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::file::Stamp;
use super::store;
use crate::contract::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

const MANIFEST: &str = "manifest.json";
const STORE: &str = "rocksdb";
const GENERATION: &str = "generation-";
const LOADING: &str = "loading-";

/// What a generation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Which generation of the table this is, from 1.
    pub(super) generation: u64,
    /// The name of the row layout (`row::layout_name`).
    pub(super) layout: String,
    /// What of the settings made it (`Shape::settings_text`).
    pub(super) settings: String,
    /// The file that it was loaded from.
    pub(super) source: SourceFile,
    /// Names and types of the key.
    pub(super) key: Vec<ColumnText>,
    /// Names and types of the other columns.
    pub(super) columns: Vec<ColumnText>,
    /// For each of the other columns the values of its dictionary, when it has one.
    pub(super) dictionaries: Vec<Option<Vec<String>>>,
    /// The rows that it holds.
    pub(super) rows: u64,
    /// Rows of the file that are not in it because another row has their key.
    pub(super) duplicates: u64,
    /// The bytes of all keys.
    pub(super) key_bytes: u64,
    /// The bytes of all rows without their keys.
    pub(super) row_bytes: u64,
    /// The store's files.
    pub(super) files: Vec<StoredFile>,
}

/// The file that a generation was loaded from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) stamp: Stamp,
    /// SHA-256 of the whole content, in lower-case hex.
    pub(super) sha256: String,
}

/// A column as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ColumnText {
    name: String,
    /// With a `?` when it is nullable.
    #[serde(rename = "type")]
    type_text: String,
}

/// A file of a store, with what tells that it is whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredFile {
    name: String,
    length_bytes: u64,
    crc32: u32,
}

/// The manifest's text with its own checksum.
#[derive(Serialize, Deserialize)]
struct Sealed {
    crc32: u32,
    manifest: Box<RawValue>,
}

impl ColumnText {
    pub(super) fn of(columns: &[Column]) -> Vec<Self> {
        columns.iter().map(|column| Self { name: column.name.clone(), type_text: column.type_text() }).collect()
    }

    fn column(&self) -> Result<Column> {
        let nested: millstream_sdk::Nested = self
            .type_text
            .parse()
            .map_err(|error| Error::new(ErrorKind::Storage, "a manifest names an unknown type").caused_by(error))?;
        Ok(Column { name: self.name.clone(), logical: nested.logical, nullable: nested.nullable })
    }
}

impl Manifest {
    /// The table as plans see it.
    pub(super) fn table(&self, name: &str) -> Result<Table> {
        let columns = |texts: &[ColumnText]| texts.iter().map(ColumnText::column).collect::<Result<Vec<_>>>();
        Ok(Table { name: name.to_owned(), key: columns(&self.key)?, columns: columns(&self.columns)? })
    }
}

fn storage<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |error| Error::new(ErrorKind::Storage, format!("{} cannot be {action}", path.display())).caused_by(error)
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(storage("synced", path))
}

/// A generation that is being built. What is left of it goes when it is dropped before it is published.
#[derive(Debug)]
pub(super) struct Building {
    number: u64,
    folder: PathBuf,
    data_folder: PathBuf,
    published: bool,
}

impl Building {
    /// Begins generation `number`.
    pub(super) fn begin(data_folder: &Path, number: u64) -> Result<Self> {
        let folder = data_folder.join(format!("{LOADING}{number}"));
        remove_folder(&folder)?;
        fs::create_dir_all(&folder).map_err(storage("created", &folder))?;
        Ok(Self { number, folder, data_folder: data_folder.to_owned(), published: false })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Where the store goes.
    pub(super) fn store_folder(&self) -> PathBuf {
        self.folder.join(STORE)
    }

    /// A folder for what is needed only while it is built.
    pub(super) fn scratch_folder(&self) -> Result<PathBuf> {
        let folder = self.folder.join("sorting");
        fs::create_dir_all(&folder).map_err(storage("created", &folder))?;
        Ok(folder)
    }

    /// Syncs the store's files and computes their checksums.
    pub(super) fn stored_files(&self) -> Result<Vec<StoredFile>> {
        let store = self.store_folder();
        let mut files = Vec::new();
        for name in names_in(&store)?.into_iter().filter(|name| store::is_content(name)) {
            let path = store.join(&name);
            File::open(&path).and_then(|file| file.sync_all()).map_err(storage("synced", &path))?;
            let (length_bytes, crc32) = checksum(&path)?;
            files.push(StoredFile { name, length_bytes, crc32 });
        }
        sync_folder(&store)?;
        Ok(files)
    }

    /// Makes it a generation: all of it, at once.
    pub(super) fn publish(mut self, manifest: &Manifest) -> Result<GenerationFolder> {
        remove_folder(&self.folder.join("sorting"))?;
        let path = self.folder.join(MANIFEST);
        write_manifest(&path, manifest)?;
        sync_folder(&self.folder)?;
        let target = self.data_folder.join(format!("{GENERATION}{}", self.number));
        fs::rename(&self.folder, &target).map_err(storage("renamed", &self.folder))?;
        self.published = true;
        sync_folder(&self.data_folder)?;
        Ok(GenerationFolder { path: target })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove_folder(&self.folder)
        {
            tracing::warn!(%error, "what is left of a load stays until the next start");
        }
    }
}

fn write_manifest(path: &Path, manifest: &Manifest) -> Result<()> {
    let unwritable = |error| Error::new(ErrorKind::Internal, "a manifest cannot be written").caused_by(error);
    let text = serde_json::to_string(manifest).map_err(unwritable)?;
    let crc32 = crc32fast::hash(text.as_bytes());
    let sealed = Sealed { crc32, manifest: RawValue::from_string(text).map_err(unwritable)? };
    let sealed = serde_json::to_vec(&sealed).map_err(unwritable)?;
    fs::write(path, sealed).and_then(|()| File::open(path)?.sync_all()).map_err(storage("written", path))
}

/// The folder of a generation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GenerationFolder {
    path: PathBuf,
}

impl GenerationFolder {
    pub(super) fn store_folder(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Reads the manifest and compares every checksum.
    pub(super) fn verify(&self) -> Result<Manifest> {
        let path = self.path.join(MANIFEST);
        let damaged = |what: String| Error::new(ErrorKind::Storage, format!("{}: {what}", self.path.display()));
        let text = fs::read(&path).map_err(storage("read", &path))?;
        let sealed: Sealed = serde_json::from_slice(&text)
            .map_err(|error| damaged("the manifest is damaged".to_owned()).caused_by(error))?;
        if crc32fast::hash(sealed.manifest.get().as_bytes()) != sealed.crc32 {
            return Err(damaged("the manifest does not match its checksum".to_owned()));
        }
        let manifest: Manifest = serde_json::from_str(sealed.manifest.get())
            .map_err(|error| damaged("the manifest is of another version".to_owned()).caused_by(error))?;
        for file in &manifest.files {
            let path = self.store_folder().join(&file.name);
            if checksum(&path)? != (file.length_bytes, file.crc32) {
                return Err(damaged(format!("{} does not match its checksum", file.name)));
            }
        }
        Ok(manifest)
    }

    /// Removes it; what cannot be removed goes at the next start.
    pub(super) fn remove(&self) {
        if let Err(error) = remove_folder(&self.path) {
            tracing::warn!(%error, "an old generation stays until the next start");
        }
    }
}

/// The newest generation in a data folder, with its number. Leftovers of loads that never ended, and older generations,
/// are removed.
pub(super) fn newest(data_folder: &Path) -> Result<Option<(u64, GenerationFolder)>> {
    fs::create_dir_all(data_folder).map_err(storage("created", data_folder))?;
    let mut generations = Vec::new();
    for name in names_in(data_folder)? {
        let path = data_folder.join(&name);
        if name.starts_with(LOADING) {
            remove_folder(&path)?;
        } else if let Some(number) = name.strip_prefix(GENERATION).and_then(|number| number.parse::<u64>().ok()) {
            generations.push((number, GenerationFolder { path }));
        }
    }
    generations.sort_by_key(|(number, _)| *number);
    let newest = generations.pop();
    for (_, older) in generations {
        older.remove();
    }
    Ok(newest)
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let names = || -> std::io::Result<Vec<String>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut names = names().map_err(storage("listed", folder))?;
    names.sort();
    Ok(names)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(storage("removed", folder)(error)),
        _ => Ok(()),
    }
}

fn checksum(path: &Path) -> Result<(u64, u32)> {
    let sum = || {
        let mut file = File::open(path)?;
        let mut hash = crc32fast::Hasher::new();
        let (mut buffer, mut length_bytes) = (vec![0; 1 << 20], 0);
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok((length_bytes, hash.finalize()));
            }
            length_bytes += length as u64;
            hash.update(&buffer[..length]);
        }
    };
    sum().map_err(storage("read", path))
}
