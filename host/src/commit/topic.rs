//! The commit topic and the transaction that a record ends, free of who speaks to the brokers: Kafka's clients (`super::kafka`)
//! or the simulation's. So the order of the steps, and where reading ends, are tried with thousands of crashes.
//!
//! A record is one message, or several when it is long, keyed `HOST/PART`; the topic is compacted, so the last record of
//! each host is all there is to read. It is read to the end that all readers see (`read_uncommitted`) at the moment when
//! the own transaction is settled: the end that a reader of committed records sees may be older while somebody else's
//! transaction is open.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::CommitRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Positions;

/// The steps that end a transaction.
pub trait Steps {
    /// Begins it, if that was not done yet.
    fn begin(&self) -> Result<()>;

    /// Sends a message to the commit topic.
    fn send(&self, key: &str, value: &[u8]) -> Result<()>;

    /// Sends the offsets of the groups that stand for positions.
    fn send_offsets(&self, positions: &Positions) -> Result<()>;

    /// Waits until what was sent has arrived.
    fn flush(&self) -> Result<()>;

    /// Commits. On an error nobody knows whether it did.
    fn end(&self) -> Result<()>;
}

/// Takes a message: its offset, key and value.
pub type Each<'a> = dyn FnMut(i64, Option<&[u8]>, Option<&[u8]>) -> Result<()> + 'a;

/// The commit topic, to be read.
pub trait CommitTopic {
    /// The end that everybody sees.
    fn end(&self) -> Result<i64>;

    /// The end that a reader of committed records sees.
    fn stable_end(&self) -> Result<i64>;

    /// Waits a moment for the stable end to move on to `end`; an error when it does not.
    fn wait(&self, end: i64) -> Result<()>;

    /// Hands out every message that a reader of committed records sees: offset, key, value.
    fn read(&self, each: &mut Each<'_>) -> Result<()>;
}

/// The first line of a message; behind it a part of the record's JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    epoch: u64,
    parts: usize,
    /// CRC-32 of the whole record's JSON.
    crc32: u32,
}

/// The parts of one host's last record.
type Parts = BTreeMap<usize, (Head, Vec<u8>)>;

/// By host its parts, and where the last of them stands in the topic.
type PartsOfHosts = BTreeMap<String, (i64, Parts)>;

/// Makes true what was sent since the commit before, and the record. A value of the topic has at most so many bytes.
pub fn commit(steps: &impl Steps, record: &CommitRecord, most_value_bytes: usize) -> Result<()> {
    steps.begin()?;
    // The record and the offsets come behind rows that slow brokers take: while the record is there and its transaction is
    // open, nobody reads on in the topic, and who wants to takes this host for one that hangs. The record is under way while
    // the offsets go: who finds them held finds it soon, and so the host that holds them.
    steps.flush()?;
    for (key, value) in messages(record, most_value_bytes)? {
        steps.send(&key, &value)?;
    }
    steps.send_offsets(&record.positions)?;
    // The end would wait for the deliveries too, and longer.
    steps.flush()?;
    steps.end()
}

/// The last record of each host, as they are now; the one that was committed last at the end.
pub fn read_records(topic: &impl CommitTopic) -> Result<Vec<CommitRecord>> {
    let end = topic.end()?;
    while topic.stable_end()? < end {
        topic.wait(end)?;
    }
    // Compaction may take parts of a record away, for those of a later one, while they are read.
    read_once(topic).or_else(|_| read_once(topic))
}

fn read_once(topic: &impl CommitTopic) -> Result<Vec<CommitRecord>> {
    let mut hosts = PartsOfHosts::new();
    topic.read(&mut |offset, key, value| take_part(&mut hosts, offset, key, value))?;
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    hosts.sort_by_key(|(_, (offset, _))| *offset);
    hosts.into_iter().map(|(host, (_, parts))| join(&host, parts)).collect()
}

/// What is sent of a record: keys and values.
pub fn messages(record: &CommitRecord, most_value_bytes: usize) -> Result<Vec<(String, Vec<u8>)>> {
    let unwritable =
        |error: serde_json::Error| Error::new(ErrorKind::Internal, "a commit record has no JSON form").caused_by(error);
    let json = serde_json::to_vec(record).map_err(unwritable)?;
    let parts = json.chunks(most_value_bytes.max(1));
    let (count, crc32) = (parts.len(), crc32fast::hash(&json));
    let message = |(part, bytes): (usize, &[u8])| {
        let head = Head { epoch: record.epoch, parts: count, crc32 };
        let mut value = serde_json::to_vec(&head).map_err(unwritable)?;
        value.push(b'\n');
        value.extend_from_slice(bytes);
        Ok((format!("{}/{part}", record.host), value))
    };
    parts.enumerate().map(message).collect()
}

/// The host that a message of the commit topic is of, and which part of its record; none for one that is no record's.
pub fn host_and_part(key: Option<&[u8]>) -> Option<(&str, &str)> {
    std::str::from_utf8(key?).ok()?.rsplit_once('/')
}

fn take_part(hosts: &mut PartsOfHosts, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
    let (Some((host, part)), Some(value)) = (host_and_part(key), value) else { return Ok(()) };
    let part = part.parse().map_err(|_| damaged(host, "a message's key names no part"))?;
    let end = memchr::memchr(b'\n', value).ok_or_else(|| damaged(host, "a message has no first line"))?;
    let head: Head = serde_json::from_slice(&value[..end]).map_err(|error| damaged(host, &error.to_string()))?;
    let (last, parts) = hosts.entry(host.to_owned()).or_default();
    *last = offset;
    parts.insert(part, (head, value[end + 1..].to_vec()));
    Ok(())
}

/// The record that part 0 begins: all parts of a record are written together, so the others are of the same epoch.
fn join(host: &str, mut parts: Parts) -> Result<CommitRecord> {
    let damaged = |what: &str| damaged(host, what);
    let (head, mut json) = parts.remove(&0).ok_or_else(|| damaged("part 0 is missing"))?;
    for part in 1..head.parts {
        let (of, bytes) = parts.remove(&part).ok_or_else(|| damaged(&format!("part {part} is missing")))?;
        if of.epoch != head.epoch {
            return Err(damaged(&format!("part {part} of epoch {} is of epoch {}", head.epoch, of.epoch)));
        }
        json.extend(bytes);
    }
    if crc32fast::hash(&json) != head.crc32 {
        return Err(damaged(&format!("the record of epoch {} fails its checksum", head.epoch)));
    }
    serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))
}

fn damaged(host: &str, what: &str) -> Error {
    let what = format!("the last record of host {host} in the commit topic is damaged: {what}");
    Error::new(ErrorKind::Storage, what).help(
        "nothing is written. The commit log in the data folder has all but perhaps the last epoch; please report this",
    )
}
