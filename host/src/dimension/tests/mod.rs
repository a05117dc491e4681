//! Tests of whole tables: files in, answers out.

mod outcomes;
mod reload;
mod same_answers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use tempfile::TempDir;

use super::{Dimension, Snapshot};
use crate::config::{self, ColumnFrom, Duplicates, Located, SourceColumn};
use crate::error::{Error, Result};

/// A value of the pipeline file, wherever it stands.
fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

/// A column as the pipeline file has it: `column("id", "int64?")`.
fn column(name: &str, type_text: &str) -> SourceColumn {
    let nested: millstream_sdk::Nested = type_text.parse().unwrap();
    let from = ColumnFrom::Field(vec![name.to_owned()]);
    SourceColumn { name: located(name.to_owned()), logical: nested.logical, nullable: nested.nullable, from }
}

/// A table's file and data folder, and the settings that go with them.
struct Bench {
    folder: TempDir,
    settings: config::Dimension,
}

impl Bench {
    /// A table `users` with key `id` (int64) and columns `country` (utf8?) and `plan` (utf8) in `users.csv`.
    fn users() -> Self {
        let bench = Self::new(
            "users.csv",
            &["id"],
            vec![column("id", "int64"), column("country", "utf8?"), column("plan", "utf8")],
        );
        bench.write("id,country,plan\n1,SE,free\n2,,pro\n3,DE,free\n");
        bench
    }

    fn new(file: &str, key: &[&str], columns: Vec<SourceColumn>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = config::Dimension {
            name: located("users".to_owned()),
            path: located(folder.path().join(file)),
            key: key.iter().map(|name| located((*name).to_owned())).collect(),
            columns,
            duplicates: Duplicates::Refuse,
            shrink: 0.5,
            memory_bytes: 64 << 20,
        };
        Self { folder, settings }
    }

    fn file(&self) -> &Path {
        &self.settings.path.value
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// Replaces the file as careful people do: in one step.
    fn replace(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn open(&self) -> Result<Dimension> {
        Dimension::open(&self.settings, &self.data())
    }

    fn refused(&self) -> Error {
        self.open().expect_err("the file is refused")
    }

    /// The names in the data folder.
    fn lies_there(&self) -> Vec<String> {
        let names = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn ids(ids: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(ids))
}

/// What a snapshot says about users, as text: `country/plan`, `-` for null, `?` for a key that is not there.
fn users(snapshot: &Snapshot, keys: &[i64]) -> Vec<String> {
    let joined = snapshot.lookup(&[ids(keys.iter().copied().map(Some))], &[0, 1]).unwrap();
    let texts: Vec<StringArray> = joined.columns.iter().map(texts).collect();
    let value = |column: usize, row: usize| match texts[column].is_valid(row) {
        true => texts[column].value(row).to_owned(),
        false => "-".to_owned(),
    };
    let answer = |row| match joined.found.value(row) {
        true => format!("{}/{}", value(0, row), value(1, row)),
        false => "?".to_owned(),
    };
    (0..keys.len()).map(answer).collect()
}

fn texts(column: &ArrayRef) -> StringArray {
    StringArray::from(cast(column, &DataType::Utf8).unwrap().to_data())
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}
