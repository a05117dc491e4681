//! What the rows of a file were made of: the epochs that they belong to, and the records that they were read from.

use serde::{Deserialize, Serialize};

use crate::record::{Partition, Records};

/// The footer entry with the epochs of a file's rows, `first-last`.
pub const EPOCHS_KEY: &str = "millstream.epochs";

/// The footer entry with the records of a file's rows: a JSON list of `source`, `partition`, `first`, `end`.
pub const READ_KEY: &str = "millstream.read";

/// Where a file's rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The epochs of its rows: first and last.
    pub epochs: (u64, u64),
    /// Where its rows were read, one range a partition. Records in a range may have their rows in other files as well: an
    /// hour's file has the range in which rows of that hour came.
    pub read: Vec<ReadRange>,
}

/// A half-open range of a partition's offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRange {
    /// The partition.
    #[serde(flatten)]
    pub partition: Partition,
    /// The smallest offset of a record that made a row.
    pub first: i64,
    /// One behind the largest.
    pub end: i64,
}

impl ReadRange {
    /// All of a block.
    pub fn of(records: &Records) -> Option<Self> {
        let (first, end) = match records.replayed() {
            None => (*records.offsets.first()?, records.next_offset),
            Some(replayed) => (*replayed.rows.first()?, replayed.rows.last()? + 1),
        };
        Some(Self { partition: records.read_from().clone(), first, end })
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { epochs: (u64::MAX, 0), read: Vec::new() }
    }
}

impl Origin {
    /// Adds rows of an epoch that were made of records of `range`.
    pub fn add(&mut self, epoch: u64, range: Option<&ReadRange>) {
        self.epochs = (self.epochs.0.min(epoch), self.epochs.1.max(epoch));
        if let Some(range) = range {
            self.widen(range);
        }
    }

    /// Adds all that another file's rows were made of.
    pub fn merge(&mut self, other: &Self) {
        self.epochs = (self.epochs.0.min(other.epochs.0), self.epochs.1.max(other.epochs.1));
        other.read.iter().for_each(|range| self.widen(range));
    }

    fn widen(&mut self, range: &ReadRange) {
        match self.read.binary_search_by(|known| known.partition.cmp(&range.partition)) {
            Ok(at) => {
                let known = &mut self.read[at];
                (known.first, known.end) = (known.first.min(range.first), known.end.max(range.end));
            }
            Err(at) => self.read.insert(at, range.clone()),
        }
    }

    /// The entries of the file's footer.
    pub(super) fn footer(&self) -> [(String, String); 2] {
        let epochs = format!("{}-{}", self.epochs.0, self.epochs.1);
        let range = |range: &ReadRange| {
            let ReadRange { partition, first, end } = range;
            serde_json::json!({ "source": partition.source, "partition": partition.key, "first": first, "end": end })
        };
        let read = serde_json::Value::from_iter(self.read.iter().map(range));
        [(EPOCHS_KEY.to_owned(), epochs), (READ_KEY.to_owned(), read.to_string())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &str, first: i64, end: i64) -> ReadRange {
        ReadRange { partition: Partition { source: "s".into(), key: key.into() }, first, end }
    }

    #[test]
    fn ranges_of_a_partition_become_one_and_partitions_stay_apart() {
        let mut origin = Origin::default();
        origin.add(3, Some(&range("1", 10, 20)));
        origin.add(2, Some(&range("0", 5, 6)));
        origin.add(4, Some(&range("1", 2, 4)));
        let mut other = Origin::default();
        other.add(7, Some(&range("1", 40, 41)));
        origin.merge(&other);
        assert_eq!(origin, Origin { epochs: (2, 7), read: vec![range("0", 5, 6), range("1", 2, 41)] });
        let [(_, epochs), (_, read)] = origin.footer();
        assert_eq!(epochs, "2-7");
        assert_eq!(
            read,
            r#"[{"source":"s","partition":"0","first":5,"end":6},{"source":"s","partition":"1","first":2,"end":41}]"#
        );
    }
}
