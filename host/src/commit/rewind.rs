//! Going back: everything that was read at or behind a point is taken out of the lake, so that a later run reads it again.
//!
//! The promise: behind it the lake is as if it had been read up to the point and no further, and the run that reads on
//! makes it as if it had been read once. It holds because
//! - a point is moved back until no file has rows from both sides of it ([`Rewind::of`]): files are taken away whole;
//! - one commit says all of it: the positions up to the point, and the files that go. Before that record nothing has
//!   changed; behind it, publishing deletes the files, also at the next start, if this one dies;
//! - with groups, their offsets are in the transaction of that record.
//!
//! | it ends behind | the lake | the next start |
//! |---|---|---|
//! | `prepared` | as before | as before: nothing happened |
//! | `transacted`, `written` | as before | finds the record (in the commit topic; in the log, when it is whole), deletes the files, reads from the point |
//! | `committed` | some files may be gone | deletes the others, reads from the point |
//! | `published`, `manifested`, `finished` | all are gone | reads from the point |
//!
//! Counts are not taken back: `totals` and `closed_rows` say what was done since the data folder exists, rows that were
//! read again are in them twice, and so they add up as before. What was taken out of the lake is in the tokens (`removed`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::output::RecordRange;
use crate::record::Partition;

/// By partition the first offset that is read again.
pub type Point = BTreeMap<Partition, i64>;

/// A file of the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeFile {
    /// The output's name.
    pub output: String,
    /// Itself.
    pub file: RemovedFile,
    /// The records that its rows were made of.
    pub read: Vec<RecordRange>,
}

/// A file that a commit takes out of the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
}

/// What a rewind comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewind {
    /// Where reading begins again.
    pub point: Point,
    /// The files with rows from there on, by output.
    pub files: BTreeMap<String, Vec<RemovedFile>>,
}

impl Rewind {
    /// The files that go when everything from `wanted` on is read again. Where such a file has rows from before the point,
    /// or from partitions that none was wanted of, the point moves back to the file's beginning; until nothing changes.
    pub fn of(wanted: Point, files: Vec<LakeFile>) -> Self {
        let mut rewind = Self { point: wanted, files: BTreeMap::new() };
        let mut left = files;
        loop {
            let (gone, kept): (Vec<LakeFile>, Vec<LakeFile>) =
                left.into_iter().partition(|file| file.read.iter().any(|range| rewind.is_behind(range)));
            if gone.is_empty() {
                rewind.files.values_mut().for_each(|files| files.sort_by(|a, b| a.path.cmp(&b.path)));
                return rewind;
            }
            for LakeFile { output, file, read } in gone {
                for range in &read {
                    let first = rewind.point.entry(partition(range)).or_insert(range.first);
                    *first = (*first).min(range.first);
                }
                rewind.files.entry(output).or_default().push(file);
            }
            left = kept;
        }
    }

    fn is_behind(&self, range: &RecordRange) -> bool {
        self.point.get(&partition(range)).is_some_and(|point| range.end > *point)
    }
}

fn partition(range: &RecordRange) -> Partition {
    Partition { source: range.source.as_str().into(), key: range.partition.as_str().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, read: &[(&str, i64, i64)]) -> LakeFile {
        let range = |(partition, first, end): &(&str, i64, i64)| RecordRange {
            source: "s".to_owned(),
            partition: (*partition).to_owned(),
            first: *first,
            end: *end,
        };
        let file = RemovedFile { path: name.into(), rows: 1, bytes: 1 };
        LakeFile { output: "views".to_owned(), file, read: read.iter().map(range).collect() }
    }

    fn rewound(wanted: &[(&str, i64)], files: &[LakeFile]) -> (Vec<(String, i64)>, Vec<String>) {
        let key = |partition: &str| Partition { source: "s".into(), key: partition.into() };
        let wanted = wanted.iter().map(|(partition, offset)| (key(partition), *offset)).collect();
        let Rewind { point, files } = Rewind::of(wanted, files.to_vec());
        let point = point.into_iter().map(|(partition, offset)| (partition.key.to_string(), offset)).collect();
        (point, files.into_values().flatten().map(|file| file.path.display().to_string()).collect())
    }

    #[test]
    fn a_point_between_files_takes_those_behind_it() {
        let files = [file("a", &[("0", 0, 10)]), file("b", &[("0", 10, 20)]), file("c", &[("1", 0, 99)])];
        assert_eq!(rewound(&[("0", 10)], &files), (vec![("0".to_owned(), 10)], vec!["b".to_owned()]));
        assert_eq!(rewound(&[("0", 20)], &files), (vec![("0".to_owned(), 20)], vec![]));
    }

    #[test]
    fn a_point_within_a_file_moves_to_its_beginning_and_through_others() {
        // `b` reaches before 15, so does what it was written beside; `d` is of another partition.
        let files = [
            file("a", &[("0", 0, 9)]),
            file("b", &[("0", 12, 20), ("1", 40, 50)]),
            file("c", &[("1", 30, 45)]),
            file("d", &[("1", 0, 30)]),
            file("e", &[("2", 0, 30)]),
        ];
        let point = vec![("0".to_owned(), 12), ("1".to_owned(), 30)];
        assert_eq!(rewound(&[("0", 15)], &files), (point, vec!["b".to_owned(), "c".to_owned()]));
    }
}
