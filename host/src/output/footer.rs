//! What a Parquet file's footer says of how it was made: written by every output, read by `millstream explain`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{EPOCHS_KEY, READ_KEY};
use crate::commit::{Host, PlanStamp};
use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "millstream.";
const PIPELINE_KEY: &str = "millstream.pipeline";
const HOST_KEY: &str = "millstream.host";
const INCARNATION_KEY: &str = "millstream.incarnation";
const PLAN_KEY: &str = "millstream.plan";
const FINGERPRINT_KEY: &str = "millstream.plan.fingerprint";
const STAGES_KEY: &str = "millstream.stages";
const CONFIG_KEY: &str = "millstream.config";

/// The entries of all files that a plan makes; those of the rows themselves are `Origin`'s.
pub fn footer_entries(pipeline: &str, host: &Host, stamp: &PlanStamp) -> Vec<(String, String)> {
    [
        (PIPELINE_KEY, pipeline.to_owned()),
        (HOST_KEY, host.id.clone()),
        (INCARNATION_KEY, host.incarnation.to_string()),
        (PLAN_KEY, stamp.number.to_string()),
        (FINGERPRINT_KEY, stamp.fingerprint.clone()),
        (STAGES_KEY, serde_json::json!(stamp.digests).to_string()),
        (CONFIG_KEY, serde_json::json!(stamp.in_use).to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// How a file was made, as its footer says it. What an older release did not write yet is none.
#[derive(Debug, PartialEq, Serialize)]
pub struct Explained {
    /// Its rows.
    pub rows: i64,
    /// Its row groups.
    pub row_groups: usize,
    /// Its size.
    pub size_bytes: u64,
    /// The pipeline's name.
    pub pipeline: Option<String>,
    /// The id of the host's data folder.
    pub host: Option<String>,
    /// The host's start that wrote the file, counted from 1.
    pub incarnation: Option<u64>,
    /// The number of the plan.
    pub plan: Option<u64>,
    /// What tells plans apart.
    pub fingerprint: Option<String>,
    /// Stage -> SHA-256 of its plugin.
    pub stages: Option<BTreeMap<String, String>>,
    /// Stage -> its config, as the pipeline file had it.
    pub config: Option<BTreeMap<String, serde_json::Value>>,
    /// First and last epoch of its rows.
    pub epochs: Option<(u64, u64)>,
    /// The records that its rows were made of.
    pub read: Option<Vec<RecordRange>>,
}

/// Records of a partition, from offset `first` up to `end`, which is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RecordRange {
    /// The source's name.
    pub source: String,
    /// A topic's partition, or a file.
    pub partition: String,
    /// The first offset.
    pub first: i64,
    /// One behind the last offset.
    pub end: i64,
    /// Of rejects that were replayed, which are rows of a file of rejects: the records that those were made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordRange>,
}

impl Explained {
    /// Reads the footer of a file that Millstream wrote; nothing else of it.
    ///
    /// # Errors
    /// `Input` when the file cannot be read, is no whole Parquet file, or is not one of Millstream's.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: &str| Error::new(ErrorKind::Input, format!("{} {what}", path.display()));
        let file = File::open(path).map_err(|error| wrong("cannot be read").caused_by(error))?;
        let about = file.metadata().map_err(|error| wrong("cannot be read").caused_by(error))?;
        if about.is_dir() {
            return Err(wrong("is a folder").help("name one Parquet file in it"));
        }
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|error| {
            wrong("is not a whole Parquet file").caused_by(error).help(match path.extension() {
                Some(end) if end == "staged" || end == "spool" => {
                    "it is in staging: its footer is there once the file is closed, and it is a .parquet then"
                }
                _ => {
                    "name a .parquet file of an output, such as lake/views/day=2013-01-31/views-1f2e3d4c-0001-….parquet"
                }
            })
        })?;
        let entries = Entries { of: ours(&metadata), path };
        if entries.of.is_empty() {
            return Err(wrong(
                "is a Parquet file, but not one that Millstream wrote: its footer has no `millstream.` entries",
            )
            .help("a program that copies rows to a new file, such as a compaction, leaves these entries out"));
        }
        let of_file = metadata.file_metadata();
        Ok(Self {
            rows: of_file.num_rows(),
            row_groups: metadata.num_row_groups(),
            size_bytes: about.len(),
            pipeline: entries.text(PIPELINE_KEY),
            host: entries.text(HOST_KEY),
            incarnation: entries.json(INCARNATION_KEY)?,
            plan: entries.json(PLAN_KEY)?,
            fingerprint: entries.text(FINGERPRINT_KEY),
            stages: entries.json(STAGES_KEY)?,
            config: entries.json(CONFIG_KEY)?,
            epochs: entries.epochs()?,
            read: entries.json(READ_KEY)?,
        })
    }
}

fn ours(metadata: &ParquetMetaData) -> BTreeMap<&str, &str> {
    let all = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let ours = all.filter(|entry| entry.key.starts_with(PREFIX));
    ours.filter_map(|entry| Some((entry.key.as_str(), entry.value.as_deref()?))).collect()
}

struct Entries<'a> {
    of: BTreeMap<&'a str, &'a str>,
    path: &'a Path,
}

impl Entries<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.of.get(key).map(|text| (*text).to_owned())
    }

    fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let read = |text: &&str| serde_json::from_str(text).map_err(|error| self.wrong(key, text).caused_by(error));
        self.of.get(key).map(read).transpose()
    }

    fn epochs(&self) -> Result<Option<(u64, u64)>> {
        let read = |text: &&str| {
            let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            ends.ok_or_else(|| self.wrong(EPOCHS_KEY, text))
        };
        self.of.get(EPOCHS_KEY).map(read).transpose()
    }

    fn wrong(&self, key: &str, text: &str) -> Error {
        let shown: String = text.chars().take(80).collect();
        let message =
            format!("{}: the footer's entry `{key}` is not as Millstream writes it: {shown}", self.path.display());
        Error::new(ErrorKind::Input, message).help("was the file changed, or written by a later release?")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;

    use super::super::origin::{Origin, ReadRange};
    use super::*;
    use crate::record::Partition;

    fn write(folder: &Path, entries: Vec<(String, String)>) -> PathBuf {
        let path = folder.join("a.parquet");
        let entries = entries.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        let properties = WriterProperties::builder().set_key_value_metadata(Some(entries)).build();
        let rows = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        path
    }

    fn wrong(path: &Path) -> String {
        let error = Explained::read(path).unwrap_err();
        let text = error.to_string().replace(&path.display().to_string(), "FILE");
        format!("{text} | {}", error.way_out().unwrap_or_default())
    }

    #[test]
    fn what_an_output_writes_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host { id: "0a1b2c3d".into(), incarnation: 2 };
        let stamp = PlanStamp {
            number: 3,
            fingerprint: "f1".into(),
            digests: BTreeMap::from([("clean".into(), "d1".into())]),
            in_use: BTreeMap::from([("clean".into(), serde_json::json!({ "key": { "secret": "SALT" } }))]),
            ..PlanStamp::default()
        };
        let mut origin = Origin::default();
        let partition = Partition { source: "clicks".into(), key: "0".into() };
        origin.add(7, Some(&ReadRange { partition, first: 10, end: 30, records: Vec::new() }));
        let mut entries = footer_entries("shop", &host, &stamp);
        entries.extend(origin.footer());
        let explained = Explained::read(&write(folder.path(), entries)).unwrap();
        assert_eq!((explained.rows, explained.row_groups), (2, 1));
        assert_eq!(explained.pipeline.as_deref(), Some("shop"));
        assert_eq!((explained.host, explained.incarnation), (Some(host.id), Some(2)));
        assert_eq!((explained.plan, explained.fingerprint.as_deref()), (Some(3), Some("f1")));
        assert_eq!((explained.stages, explained.config), (Some(stamp.digests), Some(stamp.in_use)));
        assert_eq!(explained.epochs, Some((7, 7)));
        let range =
            RecordRange { source: "clicks".into(), partition: "0".into(), first: 10, end: 30, records: Vec::new() };
        assert_eq!(explained.read, Some(vec![range]));
    }

    #[test]
    fn entries_that_an_older_release_did_not_write_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), vec![(PLAN_KEY.into(), "3".into())]);
        let explained = Explained::read(&file).unwrap();
        assert_eq!((explained.plan, explained.config, explained.read), (Some(3), None, None));
    }

    #[test]
    fn what_cannot_be_explained_says_why() {
        let folder = tempfile::tempdir().unwrap();
        assert!(wrong(folder.path()).starts_with("FILE is a folder | name one"));
        let path = folder.path().join("b.parquet");
        assert!(wrong(&path).starts_with("FILE cannot be read: No such file"));
        for content in ["", "PAR1", "id,name\n1,a\n"] {
            std::fs::write(&path, content).unwrap();
            assert!(wrong(&path).starts_with("FILE is not a whole Parquet file: "), "{}", wrong(&path));
        }
        let staged = folder.path().join("b.staged");
        std::fs::write(&staged, "PAR1").unwrap();
        assert!(wrong(&staged).contains("once the file is closed"));
        let foreign = write(folder.path(), vec![("pandas".into(), "{}".into())]);
        assert!(wrong(&foreign).contains("not one that Millstream wrote"));
        let mut half = std::fs::read(&foreign).unwrap();
        half.truncate(half.len() - 3);
        std::fs::write(&foreign, half).unwrap();
        assert!(wrong(&foreign).starts_with("FILE is not a whole Parquet file: "));
        for (key, value) in [(EPOCHS_KEY, "7"), (PLAN_KEY, "three"), (READ_KEY, "[{\"source\":1}]"), (CONFIG_KEY, "{")]
        {
            let said = wrong(&write(folder.path(), vec![(key.into(), value.into())]));
            assert!(said.contains(&format!("entry `{key}` is not as Millstream writes it: {value}")), "{said}");
        }
    }
}
