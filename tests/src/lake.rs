//! A lake as a reader finds it: its files, and the rows in them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The Parquet files below a folder; none when it is not there. What is staged has other names.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.map(|entry| entry.expect("an entry of the folder").path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false if path.extension().is_some_and(|extension| extension == "parquet") => vec![path],
        false => Vec::new(),
    };
    entries.flat_map(below).collect()
}

/// All rows of the files below a folder.
pub fn batches(folder: &Path) -> impl Iterator<Item = RecordBatch> {
    files(folder)
        .into_iter()
        .flat_map(|file| reader(&file).build().expect("a Parquet file"))
        .map(|rows| rows.expect("rows"))
}

/// A file's footer, and the way to its rows.
pub fn reader(file: &Path) -> ParquetRecordBatchReaderBuilder<File> {
    ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("the file")).expect("a Parquet file")
}
