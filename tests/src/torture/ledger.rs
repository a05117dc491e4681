//! Where each record of the source was found in the end.

use std::fmt::Write as _;
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};

use super::hosts::Quiet;
use super::pipeline::{Fate, OUTPUT, PARTITIONS, Place, TOPIC, fate};
use crate::kafka::Kafka;
use crate::lake::{files, reader};

/// Records that a failure shows.
const SHOWN: usize = 20;

/// One record of the source.
#[derive(Debug)]
struct Entry {
    id: Option<i64>,
    fate: Fate,
    lake: u8,
    topic: u8,
    rejects: u8,
}

/// All records of the source, by partition and offset.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Vec<Entry>>,
    /// Rows that have no record in the source, or say another id than it.
    strange: Vec<String>,
    /// Records that belong into lake and topic.
    pub kept: u64,
    /// Records that belong among the rejects.
    pub rejected: u64,
    /// Records that belong nowhere.
    pub filtered: u64,
}

/// A row that was found: of which record, and where.
struct Found {
    partition: i64,
    offset: i64,
    /// None: it does not say.
    id: Option<i64>,
    place: String,
}

impl Ledger {
    /// Reads the source, and everything that came of it.
    pub fn read(kafka: &Kafka, place: &Place) -> Self {
        let mut entries: Vec<Vec<Entry>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
        let (mut kept, mut rejected, mut filtered) = (0, 0, 0);
        kafka.read_each(TOPIC, |message| {
            let (id, fate) = fate(message.value.unwrap_or_default());
            match fate {
                Fate::Kept => kept += 1,
                Fate::Rejected => rejected += 1,
                Fate::Filtered => filtered += 1,
            }
            let partition = &mut entries[index(message.partition)];
            // The test's producer makes no transactions: offsets have no gaps.
            assert_eq!(message.offset, partition.len() as i64, "the source's offsets");
            partition.push(Entry { id, fate, lake: 0, topic: 0, rejects: 0 });
        });
        let mut ledger = Self { entries, strange: Vec::new(), kept, rejected, filtered };
        in_topic(kafka, |found| ledger.add(&found, |entry| &mut entry.topic));
        in_lake(place, |found| ledger.add(&found, |entry| &mut entry.lake));
        in_rejects(place, |found| ledger.add(&found, |entry| &mut entry.rejects));
        ledger
    }

    fn add(&mut self, found: &Found, times: impl Fn(&mut Entry) -> &mut u8) {
        let partition = usize::try_from(found.partition).ok().and_then(|partition| self.entries.get_mut(partition));
        let entry = usize::try_from(found.offset).ok().and_then(|offset| partition?.get_mut(offset));
        match entry {
            Some(entry) if found.id.is_none() || found.id == entry.id => {
                let times = times(entry);
                *times = times.saturating_add(1);
            }
            entry => self.strange.push(format!(
                "{}: a row of partition {} offset {} with id {:?}; the source has {entry:?} there",
                found.place, found.partition, found.offset, found.id
            )),
        }
    }

    /// Whether every record is where it belongs exactly once, and the hosts counted the same.
    pub fn check(&self, kafka: &Kafka, place: &Place, quiet: &Quiet) -> Result<(), String> {
        let wrong: Vec<(i64, i64, &Entry)> = self.each().filter(|(_, _, entry)| !entry.is_right()).collect();
        if wrong.is_empty() && self.strange.is_empty() {
            return self.check_counts(quiet);
        }
        let lost = |entry: &Entry| u64::from(entry.lake) + u64::from(entry.topic) + u64::from(entry.rejects) == 0;
        let mut what = format!(
            "{} records are not where they belong exactly once ({} of them are nowhere), {} rows are of no record",
            wrong.len(),
            wrong.iter().filter(|(_, _, entry)| lost(entry)).count(),
            self.strange.len()
        );
        self.strange.iter().take(SHOWN).for_each(|strange| what.extend(["\n", strange]));
        for (partition, offset, entry) in wrong.iter().take(SHOWN) {
            let _ = write!(what, "\npartition {partition} offset {offset}: {entry:?}");
        }
        what.push_str("\nfound:");
        let mut shown = |found: Found| {
            let of =
                |(partition, offset, _): &&(i64, i64, &Entry)| (*partition, *offset) == (found.partition, found.offset);
            if wrong.iter().take(SHOWN).any(|wrong| of(&wrong)) {
                let _ = write!(what, "\npartition {} offset {}: {}", found.partition, found.offset, found.place);
            }
        };
        in_topic(kafka, &mut shown);
        in_lake(place, &mut shown);
        in_rejects(place, &mut shown);
        Err(what)
    }

    fn check_counts(&self, quiet: &Quiet) -> Result<(), String> {
        let records = self.kept + self.rejected + self.filtered;
        let counted = (quiet.read, quiet.out, quiet.rejected, quiet.filtered);
        let expected = (records, 2 * self.kept, self.rejected, self.filtered);
        if counted == expected {
            return Ok(());
        }
        Err(format!(
            "every record is where it belongs, but the hosts counted read, out, rejected, filtered {counted:?} instead of {expected:?}"
        ))
    }

    fn each(&self) -> impl Iterator<Item = (i64, i64, &Entry)> {
        (0..)
            .zip(&self.entries)
            .flat_map(|(partition, entries)| (0..).zip(entries).map(move |(offset, entry)| (partition, offset, entry)))
    }
}

impl Entry {
    fn is_right(&self) -> bool {
        let found = (self.lake, self.topic, self.rejects);
        match self.fate {
            Fate::Kept => found == (1, 1, 0),
            Fate::Rejected => found == (0, 0, 1),
            Fate::Filtered => found == (0, 0, 0),
        }
    }
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).expect("a partition")
}

/// Each row of the topic that a reader of committed records sees.
fn in_topic(kafka: &Kafka, mut take: impl FnMut(Found)) {
    kafka.read_each(OUTPUT, |message| {
        let row: serde_json::Value = serde_json::from_slice(message.value.unwrap_or_default()).expect("a row as JSON");
        let number = |name: &str| row[name].as_i64().unwrap_or(-1);
        take(Found {
            partition: number("partition"),
            offset: number("offset"),
            id: row["id"].as_i64(),
            place: format!("topic {OUTPUT} partition {} offset {}", message.partition, message.offset),
        });
    });
}

fn in_lake(place: &Place, take: impl FnMut(Found)) {
    in_files(files(&place.file("lake")), take, |batch| {
        let partitions = batch["partition"].as_primitive::<Int32Type>().values();
        let rows = partitions.iter().map(|partition| i64::from(*partition));
        let rows = rows.zip(batch["offset"].as_primitive::<Int64Type>().values().iter().copied());
        rows.zip(batch["id"].as_primitive::<Int64Type>().values().iter().map(|id| Some(*id))).collect()
    });
}

fn in_rejects(place: &Place, take: impl FnMut(Found)) {
    in_files(files(&place.file("rejects")), take, |batch| {
        let partitions = cast(&batch["partition"], &DataType::Utf8).expect("text");
        let offsets = batch["offset"].as_primitive::<Int64Type>();
        let number = |row| partitions.as_string::<i32>().value(row).parse().unwrap_or(-1);
        (0..offsets.len()).map(|row| ((number(row), offsets.value(row)), None)).collect()
    });
}

/// A row's partition and offset, and its id.
type Row = ((i64, i64), Option<i64>);

fn in_files(files: Vec<PathBuf>, mut take: impl FnMut(Found), rows: impl Fn(&RecordBatch) -> Vec<Row>) {
    for file in files {
        for batch in reader(&file).build().expect("a Parquet file") {
            for ((partition, offset), id) in rows(&batch.expect("rows")) {
                take(Found { partition, offset, id, place: file.display().to_string() });
            }
        }
    }
}
