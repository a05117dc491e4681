//! Going back: everything that was read at or behind a point is taken out of the lake, so that a later run reads it again.
//!
//! The promise: behind it the lake is as if it had been read up to the point and no further, and the run that reads on
//! makes it as if it had been read once. It holds because
//! - a point is moved back until no file has rows from both sides of it ([`Rewind::of`]): files are taken away whole;
//! - one commit says all of it: the positions up to the point, and the files that go. Before that record nothing has
//!   changed; behind it, publishing deletes the files, also at the next start, if this one dies;
//! - with groups, their offsets are in the transaction of that record.
//!
//!
//! What came of rejects that were replayed (`crate::replay`) goes with the files of rejects that they were in: the records
//! are read again. Where such rows go while their rejects stay, those count as not replayed, as before the replay: what came
//! of it can come once more. Where their file of rejects is gone by its age, the records that they were made of are read again.
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

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::output::{REJECTS, RecordRange};
use crate::record::{Partition, REJECTS_SOURCE};
use crate::replay::file_of;

/// By partition the first offset that is read again; of files of rejects, the first row that counts as not replayed.
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

impl LakeFile {
    /// Its name, when it is one of rejects.
    fn rejects(&self) -> Option<&str> {
        let name = || self.file.path.file_name()?.to_str();
        if self.output == REJECTS { name() } else { None }
    }
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
        let there: BTreeSet<String> = files.iter().filter_map(LakeFile::rejects).map(str::to_owned).collect();
        let mut rejects_gone: BTreeSet<String> = BTreeSet::new();
        let mut left = files;
        loop {
            let is_of = |range: &RecordRange, rejects: &BTreeSet<String>| {
                range.source == REJECTS_SOURCE && rejects.contains(file_of(&range.partition))
            };
            let is_behind =
                |file: &LakeFile| file.read.iter().any(|range| rewind.is_behind(range) || is_of(range, &rejects_gone));
            let (gone, kept): (Vec<LakeFile>, Vec<LakeFile>) = left.into_iter().partition(is_behind);
            if gone.is_empty() {
                rewind.files.values_mut().for_each(|files| files.sort_by(|a, b| a.path.cmp(&b.path)));
                return rewind;
            }
            for file in gone {
                rejects_gone.extend(file.rejects().map(str::to_owned));
                for range in &file.read {
                    match range.records.is_empty() || is_of(range, &there) {
                        true => rewind.move_back(range),
                        false => range.records.iter().for_each(|range| rewind.move_back(range)),
                    }
                }
                rewind.files.entry(file.output).or_default().push(file.file);
            }
            left = kept;
        }
    }

    /// The files of rejects that stay, of which rows count as not replayed.
    pub fn not_replayed(&self) -> BTreeSet<&str> {
        let going = self.files.get(REJECTS).into_iter().flatten();
        let going: BTreeSet<&str> = going.filter_map(|file| file.path.file_name()?.to_str()).collect();
        let own = self.point.keys().filter(|partition| partition.is_of_rejects());
        own.map(|partition| file_of(&partition.key)).filter(|file| !going.contains(file)).collect()
    }

    /// Whether rows of a range are behind the point, or the records that they were made of are.
    fn is_behind(&self, range: &RecordRange) -> bool {
        self.point.get(&partition(range)).is_some_and(|point| range.end > *point)
            || range.records.iter().any(|range| self.is_behind(range))
    }

    fn move_back(&mut self, range: &RecordRange) {
        let first = self.point.entry(partition(range)).or_insert(range.first);
        *first = (*first).min(range.first);
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
            records: Vec::new(),
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

    /// A file of an output with rows of rejects: by file of rejects the rows, and the records that they were made of.
    fn of_rejects(name: &str, output: &str, read: &[(&str, i64, i64)], replayed: &[(&str, i64, i64, i64)]) -> LakeFile {
        let mut made = LakeFile { output: output.to_owned(), ..file(name, read) };
        made.read.extend(replayed.iter().map(|(rejects, first, end, record)| RecordRange {
            source: REJECTS_SOURCE.to_owned(),
            partition: (*rejects).to_owned(),
            first: *first,
            end: *end,
            records: file("", &[("0", *record, *record + 1)]).read,
        }));
        made
    }

    #[test]
    fn what_came_of_rejects_goes_with_them() {
        // Of record 5 a reject, of which a replay made another, of which one made a row.
        let files = [
            of_rejects("r1", REJECTS, &[("0", 5, 6)], &[]),
            of_rejects("r2", REJECTS, &[], &[("r1", 0, 1, 5)]),
            of_rejects("views", "views", &[("1", 70, 80)], &[("r2#again", 0, 1, 5)]),
            of_rejects("later", "views", &[("1", 80, 90)], &[]),
            of_rejects("others", "views", &[("1", 60, 70)], &[]),
        ];
        let (point, gone) = rewound(&[("0", 5)], &files);
        assert_eq!(gone, ["r1", "r2", "later", "views"]);
        assert!(point.contains(&("1".to_owned(), 70)), "{point:?}");
    }

    #[test]
    fn rejects_that_stay_count_as_not_replayed_when_their_rows_go() {
        let files = [
            of_rejects("r1", REJECTS, &[("0", 2, 6)], &[]),
            of_rejects("a", "views", &[("0", 8, 9)], &[("r1", 3, 4, 5)]),
            of_rejects("b", "views", &[], &[("r1", 4, 6, 2)]),
            of_rejects("c", "views", &[], &[("r1", 0, 3, 2)]),
        ];
        let (point, gone) = rewound(&[("0", 8)], &files);
        assert_eq!(gone, ["a", "b"]);
        assert_eq!(point, [("r1".to_owned(), 3), ("0".to_owned(), 8)]);
        let wanted = Point::from([(partition(&files[1].read[0]), 8)]);
        assert_eq!(Rewind::of(wanted, files.to_vec()).not_replayed(), ["r1"].into());
    }

    #[test]
    fn where_a_file_of_rejects_is_gone_its_records_are_read_again() {
        let files = [of_rejects("a", "views", &[("0", 8, 9)], &[("old", 3, 4, 5)])];
        assert_eq!(rewound(&[("0", 8)], &files), (vec![("0".to_owned(), 5)], vec!["a".to_owned()]));
        let files = [of_rejects("a", "views", &[], &[("old", 3, 4, 5)])];
        assert_eq!(rewound(&[("0", 5)], &files).1, ["a"], "or the record would be there twice");
        assert_eq!(rewound(&[("0", 6)], &files).1, Vec::<String>::new());
    }
}
