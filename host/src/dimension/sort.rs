//! Sorting rows by key within bounded memory: rows are collected up to a budget, sorted, written to a run on disk, and
//! the runs are merged. Rows with the same key stay in the order of the file.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// Runs that are merged at once: each holds a file open and a buffer.
const MAX_RUNS_AT_ONCE: usize = 128;
const RUN_BUFFER_BYTES: usize = 256 << 10;

/// A row on its way: its number in the file (from 0), its key and its other columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SortedRow {
    pub(super) number: u64,
    pub(super) key: Vec<u8>,
    pub(super) row: Vec<u8>,
}

impl SortedRow {
    fn set(&mut self, number: u64, key: &[u8], row: &[u8]) {
        self.number = number;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.row.clear();
        self.row.extend_from_slice(row);
    }
}

/// Collects rows and hands them back by key.
#[derive(Debug)]
pub(super) struct Sorter {
    folder: PathBuf,
    budget_bytes: usize,
    bytes: Vec<u8>,
    rows: Vec<Place>,
    runs: Vec<PathBuf>,
    runs_written: usize,
}

/// Where a collected row lies. Places ascend in the order of the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first bytes of the key: most comparisons end here.
    prefix: u64,
    number: u64,
    at: usize,
    key_bytes: u32,
    row_bytes: u32,
}

impl Place {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.at..self.at + self.key_bytes as usize]
    }

    fn row<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.at + self.key_bytes as usize;
        &bytes[start..start + self.row_bytes as usize]
    }
}

fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = key.len().min(8);
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}

fn storage(action: &str) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| Error::new(ErrorKind::Storage, format!("{action} while sorting")).caused_by(error)
}

impl Sorter {
    /// A sorter that keeps at most about `budget_bytes` in memory and its runs in `folder`.
    pub(super) fn new(folder: PathBuf, budget_bytes: usize) -> Self {
        Self { folder, budget_bytes, bytes: Vec::new(), rows: Vec::new(), runs: Vec::new(), runs_written: 0 }
    }

    /// Takes a row in. Numbers ascend.
    pub(super) fn push(&mut self, number: u64, key: &[u8], row: &[u8]) -> Result<()> {
        let held = self.bytes.len() + self.rows.len() * size_of::<Place>();
        if held + key.len() + row.len() > self.budget_bytes && !self.rows.is_empty() {
            self.spill()?;
        }
        let too_long = |_| Error::new(ErrorKind::Input, format!("row {} takes more than 4 GiB", number + 1));
        self.rows.push(Place {
            prefix: prefix(key),
            number,
            at: self.bytes.len(),
            key_bytes: u32::try_from(key.len()).map_err(too_long)?,
            row_bytes: u32::try_from(row.len()).map_err(too_long)?,
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.rows.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| a.key(bytes).cmp(b.key(bytes))).then(a.number.cmp(&b.number))
        });
    }

    fn spill(&mut self) -> Result<()> {
        self.sort();
        let mut run = self.new_run()?;
        for place in &self.rows {
            run.write(place.number, place.key(&self.bytes), place.row(&self.bytes))?;
        }
        self.runs.push(run.finish()?);
        self.rows.clear();
        self.bytes.clear();
        Ok(())
    }

    fn new_run(&mut self) -> Result<RunWriter> {
        let path = self.folder.join(format!("run-{:06}", self.runs_written));
        self.runs_written += 1;
        let file = File::create(&path).map_err(storage("a run cannot be created"))?;
        Ok(RunWriter { path, file: BufWriter::with_capacity(RUN_BUFFER_BYTES, file) })
    }

    /// All rows by key.
    pub(super) fn finish(mut self) -> Result<Merged> {
        self.sort();
        while self.runs.len() > MAX_RUNS_AT_ONCE {
            let some: Vec<PathBuf> = self.runs.drain(..MAX_RUNS_AT_ONCE).collect();
            let mut run = self.new_run()?;
            let mut merged = Merged::new(some.iter().map(Run::open).collect::<Result<_>>()?)?;
            while let Some(row) = merged.next()? {
                run.write(row.number, &row.key, &row.row)?;
            }
            self.runs.push(run.finish()?);
            for path in some {
                fs::remove_file(&path).map_err(storage("a run cannot be removed"))?;
            }
        }
        let mut runs = self.runs.iter().map(Run::open).collect::<Result<Vec<_>>>()?;
        runs.push(Run::Memory { bytes: self.bytes, rows: self.rows.into_iter() });
        Merged::new(runs)
    }
}

#[derive(Debug)]
struct RunWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl RunWriter {
    fn write(&mut self, number: u64, key: &[u8], row: &[u8]) -> Result<()> {
        let mut head = [0; 16];
        head[..8].copy_from_slice(&number.to_le_bytes());
        // Both lengths came from 32 bits (`Place`).
        head[8..12].copy_from_slice(&(key.len() as u32).to_le_bytes());
        head[12..].copy_from_slice(&(row.len() as u32).to_le_bytes());
        let file = &mut self.file;
        file.write_all(&head)
            .and_then(|()| file.write_all(key))
            .and_then(|()| file.write_all(row))
            .map_err(storage("a run cannot be written"))
    }

    fn finish(mut self) -> Result<PathBuf> {
        self.file.flush().map_err(storage("a run cannot be written"))?;
        Ok(self.path)
    }
}

#[derive(Debug)]
enum Run {
    Memory { bytes: Vec<u8>, rows: std::vec::IntoIter<Place> },
    File(BufReader<File>),
}

impl Run {
    fn open(path: &PathBuf) -> Result<Self> {
        let file = File::open(path).map_err(storage("a run cannot be opened"))?;
        Ok(Self::File(BufReader::with_capacity(RUN_BUFFER_BYTES, file)))
    }

    /// Reads the next row into `row`; false behind the last.
    fn next(&mut self, row: &mut SortedRow) -> Result<bool> {
        match self {
            Self::Memory { bytes, rows } => Ok(rows.next().is_some_and(|place| {
                row.set(place.number, place.key(bytes), place.row(bytes));
                true
            })),
            Self::File(file) => read_row(file, row).map_err(storage("a run cannot be read")),
        }
    }
}

fn read_row(file: &mut BufReader<File>, row: &mut SortedRow) -> std::io::Result<bool> {
    use std::io::BufRead;
    if file.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut number = [0; 8];
    let mut length = [0; 4];
    file.read_exact(&mut number)?;
    row.number = u64::from_le_bytes(number);
    file.read_exact(&mut length)?;
    row.key.resize(u32::from_le_bytes(length) as usize, 0);
    file.read_exact(&mut length)?;
    row.row.resize(u32::from_le_bytes(length) as usize, 0);
    file.read_exact(&mut row.key)?;
    file.read_exact(&mut row.row)?;
    Ok(true)
}

/// All rows by key, and by their number in the file where keys are the same.
#[derive(Debug)]
pub(super) struct Merged {
    runs: Vec<Run>,
    heads: BinaryHeap<Head>,
    /// Whether the first of `heads` was handed out.
    handed_out: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    row: SortedRow,
    run: usize,
}

impl Ord for Head {
    /// The smallest key is the greatest: the heap hands out the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.row.key.cmp(&self.row.key).then_with(|| other.row.number.cmp(&self.row.number))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Merged {
    fn new(mut runs: Vec<Run>) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (index, run) in runs.iter_mut().enumerate() {
            let mut row = SortedRow::default();
            if run.next(&mut row)? {
                heads.push(Head { row, run: index });
            }
        }
        Ok(Self { runs, heads, handed_out: false })
    }

    /// The next row; none behind the last.
    pub(super) fn next(&mut self) -> Result<Option<&SortedRow>> {
        if self.handed_out
            && let Some(mut first) = self.heads.peek_mut()
        {
            let run = first.run;
            if !self.runs[run].next(&mut first.row)? {
                PeekMut::pop(first);
            }
        }
        self.handed_out = true;
        Ok(self.heads.peek().map(|head| &head.row))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_back_by_key_and_then_as_in_the_file(
            keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..12), 0..400),
            budget_bytes in 1usize..4000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(folder.path().to_owned(), budget_bytes);
            for (number, key) in keys.iter().enumerate() {
                sorter.push(number as u64, key, &number.to_le_bytes()).unwrap();
            }
            let mut merged = sorter.finish().unwrap();
            let mut got = Vec::new();
            while let Some(row) = merged.next().unwrap() {
                prop_assert_eq!(&row.row, &row.number.to_le_bytes());
                got.push((row.key.clone(), row.number));
            }
            let mut expected: Vec<_> = keys.iter().cloned().zip(0u64..).collect();
            expected.sort();
            prop_assert_eq!(got, expected);
        }
    }
}
