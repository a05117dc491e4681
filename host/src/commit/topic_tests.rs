//! The promise of `topic`: a record is read back as it was written, in however many parts; one that is damaged is refused under
//! the name of its host, and is never taken for another one.

use std::collections::BTreeMap;

use super::record::{CommitRecord, PlanStamp, RECORD_VERSION, Sharing};
use super::topic::{CommitTopic, Each, messages, read_records};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Counts;
use crate::record::Partition;
use crate::source::Position;

/// A record is about a dozen messages.
const PART_BYTES: usize = 100;

/// A key and a value.
type Message = (String, Vec<u8>);

/// The commit topic: messages in their order, all committed.
struct MemoryTopic(Vec<Message>);

impl CommitTopic for MemoryTopic {
    fn end(&self) -> Result<i64> {
        Ok(self.0.len() as i64)
    }

    fn stable_end(&self) -> Result<i64> {
        self.end()
    }

    fn wait(&self, _: i64) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "nothing is under way"))
    }

    fn read(&self, each: &mut Each<'_>) -> Result<()> {
        let mut numbered = (0..).zip(&self.0);
        numbered.try_for_each(|(offset, (key, value))| each(offset, Some(key.as_bytes()), Some(value.as_slice())))
    }
}

fn record(host: &str, epoch: u64) -> CommitRecord {
    let position = |number: i64| {
        let mut position = Position::default();
        position.ranges.add(0, 1_000 * (number + 1));
        (Partition { source: "clicks".into(), key: number.to_string().into() }, position)
    };
    CommitRecord {
        version: RECORD_VERSION,
        host: host.to_owned(),
        incarnation: 2,
        epoch,
        committed_at_ms: 1_359_615_600_000,
        // Parts end within a character as well.
        plan: PlanStamp { fingerprint: "é".repeat(60), ..PlanStamp::default() },
        positions: (0..9).map(position).collect(),
        outputs: BTreeMap::new(),
        counts: Counts::default(),
        totals: Counts::default(),
        closed_rows: BTreeMap::new(),
        sharing: Sharing::default(),
    }
}

/// The messages of host1's epoch 7.
fn sent() -> Vec<Message> {
    messages(&record("host1", 7), PART_BYTES).unwrap()
}

/// Where a message's first line ends.
fn head_bytes(value: &[u8]) -> usize {
    value.iter().position(|byte| *byte == b'\n').unwrap()
}

/// What is said of messages of host1 that are damaged.
fn refused(damaged: Vec<Message>, what: &str) -> String {
    let error = read_records(&MemoryTopic(damaged)).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Storage, "{what}: {error}");
    let said = error.message();
    assert!(said.starts_with("the last record of host host1 in the commit topic is damaged: "), "{what}: {said}");
    assert!(error.way_out().is_some(), "{what}: no way out: {said}");
    said.to_owned()
}

#[test]
fn a_record_is_read_back_as_it_was_in_however_many_parts() {
    let record = record("host1", 7);
    for part_bytes in [1, PART_BYTES, 1 << 20] {
        let sent = messages(&record, part_bytes).unwrap();
        assert_eq!(sent.len() == 1, part_bytes == 1 << 20, "{} parts of {part_bytes} bytes", sent.len());
        assert_eq!(
            read_records(&MemoryTopic(sent)).unwrap(),
            std::slice::from_ref(&record),
            "parts of {part_bytes} bytes"
        );
    }
}

#[test]
fn of_each_host_the_last_record_counts_whatever_is_left_of_longer_ones() {
    let (first, other, last) = (record("host1", 7), record("host2", 3), record("host1", 8));
    let sent = [messages(&first, PART_BYTES), messages(&other, PART_BYTES), messages(&last, 1 << 20)];
    let sent = sent.map(Result::unwrap).concat();
    assert_eq!(read_records(&MemoryTopic(sent)).unwrap(), [other, last]);
}

#[test]
fn a_part_that_is_missing_is_named() {
    for part in 0..sent().len() {
        let mut damaged = sent();
        damaged.remove(part);
        let said = refused(damaged, &format!("without part {part}"));
        assert!(said.ends_with(&format!("part {part} is missing")), "{said}");
    }
}

#[test]
fn a_part_of_another_epoch_is_named() {
    let other = messages(&record("host1", 8), PART_BYTES).unwrap();
    for (part, message) in other.iter().enumerate().skip(1) {
        let mut damaged = sent();
        damaged[part] = message.clone();
        let said = refused(damaged, &format!("part {part} of epoch 8"));
        assert!(said.ends_with(&format!("part {part} of epoch 7 is of epoch 8")), "{said}");
    }
}

#[test]
fn a_byte_of_the_json_that_changed_fails_the_checksum() {
    for (part, (_, value)) in sent().iter().enumerate() {
        for at in head_bytes(value) + 1..value.len() {
            let mut damaged = sent();
            damaged[part].1[at] ^= 1;
            let said = refused(damaged, &format!("byte {at} of part {part}"));
            assert!(said.ends_with("the record of epoch 7 fails its checksum"), "{said}");
        }
    }
}

#[test]
fn a_byte_of_a_first_line_that_changed_is_refused_or_not_needed() {
    for (part, (_, value)) in sent().iter().enumerate() {
        for at in 0..=head_bytes(value) {
            let what = format!("byte {at} of part {part}");
            let mut damaged = sent();
            damaged[part].1[at] ^= 1;
            // The first part alone says how many there are, and the checksum of all.
            match read_records(&MemoryTopic(damaged.clone())) {
                Ok(records) if part > 0 => assert_eq!(records, [record("host1", 7)], "{what}"),
                _ => drop(refused(damaged, &what)),
            }
        }
    }
}
