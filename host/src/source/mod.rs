//! Where records come from: files and Kafka.

mod block;
pub mod file;
pub mod kafka;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::BatchSettings;
use crate::error::Result;
use crate::record::{Partition, Records};

/// What a reader hands out.
#[expect(clippy::large_enum_variant, reason = "one value a block: moving it is cheaper than a box")]
#[derive(Debug)]
pub enum Read {
    /// The next block, never empty.
    Records(Records),
    /// Nothing came within the wait.
    Idle,
    /// All that there was when the run began (`--until-caught-up`), or all there is of files that do not grow, was handed out.
    End,
}

/// One worker's share of a source.
pub trait Reader: Send {
    /// The next block, within the bounds of a batch; waits at most `wait` for the first record.
    fn read(&mut self, bounds: &BatchSettings, wait: Duration) -> Result<Read>;
}

/// What was read of a partition: half-open ranges of offsets, ascending, merged, never overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// Adds `[start, end)`; what lies in it already is not an error here, but see `covers`.
    pub fn add(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < start);
        let last = self.0.partition_point(|range| range.0 <= end);
        let merged =
            self.0[first..last].iter().fold((start, end), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.0.splice(first..last, [merged]);
    }

    /// Whether `offset` was read.
    pub fn covers(&self, offset: i64) -> bool {
        let after = self.0.partition_point(|range| range.0 <= offset);
        after > 0 && offset < self.0[after - 1].1
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[(i64, i64)] {
        &self.0
    }

    /// What taking a block reads of its partition.
    pub fn of(records: &Records) -> Self {
        match records.replayed() {
            None => {
                records.offsets.first().map_or_else(Self::default, |first| Self(vec![(*first, records.next_offset)]))
            }
            Some(replayed) => {
                let mut ranges = Self::default();
                replayed.rows.iter().for_each(|row| ranges.add(*row, row + 1));
                ranges
            }
        }
    }

    /// Adds all of another's ranges.
    pub fn merge(&mut self, more: &Self) {
        more.0.iter().for_each(|&(start, end)| self.add(start, end));
    }

    /// Takes everything from an offset on out again.
    pub fn cut(&mut self, end: i64) {
        self.0.retain(|range| range.0 < end);
        if let Some(last) = self.0.last_mut() {
            last.1 = last.1.min(end);
        }
    }

    /// Takes everything before an offset out.
    pub fn forget_before(&mut self, start: i64) {
        self.0.retain(|range| range.1 > start);
        if let Some(first) = self.0.first_mut() {
            first.0 = first.0.max(start);
        }
    }

    /// The one range from the first start to `end`, which may be empty: then it only says where to go on.
    pub fn up_to(&self, end: i64) -> Self {
        Self(vec![(self.0.first().map_or(end, |first| first.0.min(end)), end)])
    }

    /// Makes one range of all, from the first start to the last end.
    fn close_gaps(&mut self) {
        if let (Some(first), Some(last)) = (self.0.first(), self.0.last()) {
            self.0 = vec![(first.0, last.1)];
        }
    }

    /// The end of the last range: for a partition that is read in order, where to go on.
    pub fn end(&self) -> Option<i64> {
        self.0.last().map(|range| range.1)
    }
}

/// Tells a file from another one that took its name: the digest of its head. Positions hold only for the same file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileIdentity {
    /// The file's length in bytes when it was last looked at; it may only grow.
    pub length_bytes: u64,
    /// How many bytes at the start of the file `head_sha256` covers: 64 KiB, or all of a shorter file.
    pub head_bytes: u64,
    /// SHA-256 of those bytes, in lower-case hex.
    pub head_sha256: String,
}

/// What was read of one partition, and of which file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// What was read.
    pub ranges: Ranges,
    /// For files.
    pub file: Option<FileIdentity>,
    /// For topics whose brokers give ids: which topic of this name the offsets are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// How often the place to go on from was taken back: of what hosts say of a partition, the position that was taken back
    /// more often is the later one, also where another one is farther.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub taken_back: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Position {
    /// For a partition that is read in order: it is read from `offset` on again.
    pub fn take_back(&mut self, offset: i64) {
        self.ranges.cut(offset);
        self.ranges = self.ranges.up_to(offset);
        self.taken_back += 1;
    }

    /// Tells which of two positions of a partition that is read in order is the later one.
    pub fn rank(&self) -> (u32, Option<i64>) {
        (self.taken_back, self.ranges.end())
    }

    /// Adds what was read of a partition since. A Kafka partition of a source is read in order, so the offsets between two
    /// blocks (transaction markers, compacted records) count as read; a file's blocks may come from several workers in any
    /// order, and of rejects, also those of a topic, some are replayed and others are not.
    pub fn merge(&mut self, of: &Partition, more: &Self) {
        self.ranges.merge(&more.ranges);
        match &more.file {
            Some(_) => self.file.clone_from(&more.file),
            None if of.is_of_rejects() => {}
            None => self.ranges.close_gaps(),
        }
        if more.topic_id.is_some() {
            self.topic_id.clone_from(&more.topic_id);
        }
    }
}

/// What was read of every partition of every source.
pub type Positions = BTreeMap<Partition, Position>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::REJECTS_SOURCE;

    #[test]
    fn what_lies_between_blocks_is_read_of_a_topic_and_not_replayed_of_rejects() {
        let merged = |source: &str| {
            let of = Partition { source: source.into(), key: "t/0".into() };
            let mut position = Position::default();
            for start in [0, 5] {
                let mut more = Position::default();
                more.ranges.add(start, start + 1);
                position.merge(&of, &more);
            }
            position.ranges.as_slice().to_vec()
        };
        assert_eq!(merged("clicks"), [(0, 6)]);
        assert_eq!(merged(REJECTS_SOURCE), [(0, 1), (5, 6)]);
    }

    #[test]
    fn what_lies_before_an_offset_is_forgotten() {
        let left = |start| {
            let mut ranges = Ranges::default();
            [(2, 4), (6, 9)].iter().for_each(|&(start, end)| ranges.add(start, end));
            ranges.forget_before(start);
            ranges.as_slice().to_vec()
        };
        assert_eq!(left(2), [(2, 4), (6, 9)]);
        assert_eq!(left(3), [(3, 4), (6, 9)]);
        assert_eq!(left(4), [(6, 9)]);
        assert_eq!(left(7), [(7, 9)]);
        assert_eq!(left(9), []);
    }
}
