//! What the rows of a file were made of: the epochs that they belong to, and the records that they were read from.

use serde::{Deserialize, Serialize};

use crate::record::{Partition, Records};

/// The footer entry with the epochs of a file's rows, `first-last`.
pub const EPOCHS_KEY: &str = "millstream.epochs";

/// The footer entry with the records of a file's rows: a JSON list of `source`, `partition`, `first`, `end`; of rows that came
/// from rejects with `records`, a list of the same kind.
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
    /// Of rejects that were replayed: the records that those were made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<ReadRange>,
}

impl ReadRange {
    /// All of a block.
    pub fn of(records: &Records) -> Option<Self> {
        let Some(replayed) = records.replayed() else {
            return Some(Self::new(&records.partition, *records.offsets.first()?, records.next_offset));
        };
        let rows = Self::new(&replayed.partition, *replayed.rows.first()?, replayed.rows.last()? + 1);
        // Rejects are in the order of their files: offsets of a partition need not ascend.
        let first = *records.offsets.iter().min()?;
        Some(Self { records: vec![Self::new(&records.partition, first, records.next_offset)], ..rows })
    }

    fn new(partition: &Partition, first: i64, end: i64) -> Self {
        Self { partition: partition.clone(), first, end, records: Vec::new() }
    }

    fn json(&self) -> serde_json::Value {
        let Self { partition, first, end, records } = self;
        let mut json = serde_json::json!({
            "source": partition.source, "partition": partition.key, "first": first, "end": end,
        });
        if !records.is_empty() {
            json["records"] = records.iter().map(Self::json).collect();
        }
        json
    }
}

/// Adds a range to ranges of which each partition has one.
fn widen(ranges: &mut Vec<ReadRange>, range: &ReadRange) {
    match ranges.binary_search_by(|known| known.partition.cmp(&range.partition)) {
        Ok(at) => {
            let known = &mut ranges[at];
            (known.first, known.end) = (known.first.min(range.first), known.end.max(range.end));
            range.records.iter().for_each(|range| widen(&mut known.records, range));
        }
        Err(at) => ranges.insert(at, range.clone()),
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
            widen(&mut self.read, range);
        }
    }

    /// Adds all that another file's rows were made of.
    pub fn merge(&mut self, other: &Self) {
        self.epochs = (self.epochs.0.min(other.epochs.0), self.epochs.1.max(other.epochs.1));
        other.read.iter().for_each(|range| widen(&mut self.read, range));
    }

    /// The entries of the file's footer.
    pub(super) fn footer(&self) -> [(String, String); 2] {
        let epochs = format!("{}-{}", self.epochs.0, self.epochs.1);
        let read = serde_json::Value::from_iter(self.read.iter().map(ReadRange::json));
        [(EPOCHS_KEY.to_owned(), epochs), (READ_KEY.to_owned(), read.to_string())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &str, first: i64, end: i64) -> ReadRange {
        ReadRange::new(&Partition { source: "s".into(), key: key.into() }, first, end)
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

    #[test]
    fn rows_of_rejects_name_the_records_too() {
        let of_rejects =
            |rows: (i64, i64), records: ReadRange| ReadRange { records: vec![records], ..range("f", rows.0, rows.1) };
        let mut origin = Origin::default();
        origin.add(1, Some(&of_rejects((0, 1), range("0", 7, 8))));
        origin.add(1, Some(&of_rejects((3, 5), range("0", 2, 4))));
        origin.add(1, Some(&of_rejects((5, 6), range("1", 0, 1))));
        let read = r#"[{"source":"s","partition":"f","first":0,"end":6,"records":[{"source":"s","partition":"0","first":2,"end":8},{"source":"s","partition":"1","first":0,"end":1}]}]"#;
        let [_, (_, footer)] = origin.footer();
        assert_eq!(footer, read);
        let read_back: Vec<super::super::RecordRange> = serde_json::from_str(&footer).unwrap();
        assert_eq!(serde_json::to_string(&read_back).unwrap(), read);
    }
}
