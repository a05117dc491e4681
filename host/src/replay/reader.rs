//! The reader of replays: dealt to one worker, like any other.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, StringArray};
use serde_json::Value;

use super::claim::Claims;
use super::filter::{Replayed as Noted, partition_key};
use super::queue::{Replays, Selection};
use super::stored::{Block, Blocks};
use crate::commit::Transactions;
use crate::config::BatchSettings;
use crate::digest::from_hex;
use crate::error::{Error, ErrorKind, Result};
use crate::output::CSV_HEADER;
use crate::record::{Entry, Headers, Partition, Payload, REJECTS_SOURCE, Records, Replayed};
use crate::source::file::{check_identity, look_at};
use crate::source::{Positions, Read, Reader};

/// Reads what replays are about, one after the other. Between two it costs a look at a counter.
pub struct ReplayReader {
    replays: Arc<Replays>,
    claims: Claims,
    committed: Positions,
    noted: Noted,
    follow: bool,
    /// What had been asked for when the folder was looked into.
    looked: Option<u64>,
    known: BTreeSet<String>,
    waiting: VecDeque<Selection>,
    current: Option<Current>,
    ready: VecDeque<Records>,
}

/// The replay that is read.
struct Current {
    selection: Selection,
    files: VecDeque<String>,
    open: Option<Open>,
}

struct Open {
    key: Arc<str>,
    blocks: Blocks,
}

impl ReplayReader {
    /// A reader of a host from its last commit on. `follow`: more may be asked for; else it ends when nothing waits.
    pub fn new(
        replays: Arc<Replays>,
        host: &str,
        transactions: Option<&Arc<Transactions>>,
        committed: &Positions,
        follow: bool,
    ) -> Self {
        replays.taken_back();
        replays.set_transactions(transactions);
        let own = committed.iter().filter(|(partition, _)| partition.is_of_rejects());
        Self {
            noted: Noted::of(committed),
            committed: own.map(|(partition, position)| (partition.clone(), position.clone())).collect(),
            claims: Claims::new(host, transactions),
            replays,
            follow,
            looked: None,
            known: BTreeSet::new(),
            waiting: VecDeque::new(),
            current: None,
            ready: VecDeque::new(),
        }
    }

    /// The next replay, when one waits.
    fn next_selection(&mut self) -> Result<Option<Current>> {
        let asked = self.replays.asked();
        if self.looked != Some(asked) {
            self.looked = Some(asked);
            let fresh = self.replays.waiting()?.into_iter().filter(|selection| self.known.insert(selection.id.clone()));
            let fresh: Vec<_> = fresh.collect();
            self.waiting.extend(fresh);
        }
        Ok(self.waiting.pop_front().map(|selection| {
            tracing::info!(replay = selection.id, files = selection.files.len(), "replay: begins");
            Current { files: selection.files.iter().cloned().collect(), selection, open: None }
        }))
    }

    /// One step of the current replay; none at its end.
    fn step(&mut self, bounds: &BatchSettings) -> Result<Option<()>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        if let Some(open) = &mut current.open {
            let Some(block) = open.blocks.next_block()? else {
                current.open = None;
                return Ok(Some(()));
            };
            let request = &current.selection.request;
            let key = Arc::clone(&open.key);
            let was_read = |row: i64| match request.again {
                true => self.noted.has_read(&key, row),
                false => self.noted.has(&block.file, row),
            };
            let rows = (0..block.rows.num_rows()).filter(|row| request.filter.has_row(&block, *row));
            let rows: Vec<usize> = rows.filter(|row| !was_read(block.number(*row))).collect();
            rows.iter().for_each(|row| self.noted.add(&key, block.number(*row)));
            self.ready.extend(records(&block, &rows, &key, bounds));
            return Ok(Some(()));
        }
        let Some(name) = current.files.pop_front() else { return Ok(None) };
        let path = self.replays.path_of(&current.selection, &name)?;
        let owner = match &current.selection.topic {
            Some(topic) => self.claims.topic(topic)?,
            None => self.claims.file(&path, &name)?,
        };
        if let Some(owner) = owner {
            let what = format!("the rejects of {name} are host {owner}'s to replay, which notes it");
            if !self.follow && current.selection.topic.is_some() {
                self.replays.give_up(&current.selection.id)?;
                return Err(
                    Error::new(ErrorKind::Config, what).help("ask that host, with its data folder (`--set data=..`)")
                );
            }
            tracing::warn!("replay: {what}: ask that host");
            return Ok(Some(()));
        }
        let again = current.selection.request.again.then_some(current.selection.id.as_str());
        let key = partition_key(&name, again);
        // What was taken of a topic is the host's own.
        let identity = current.selection.topic.is_none().then_some((&*self.replays, &self.committed));
        current.open = open(&name, &path, &key, identity)?;
        Ok(Some(()))
    }
}

/// Opens a file of rejects; none when it is gone. With `identity` it has to be the one that was read before, which is noted.
fn open(name: &str, path: &Path, key: &str, identity: Option<(&Replays, &Positions)>) -> Result<Option<Open>> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "replay: this file of rejects is gone; its rows are not replayed");
            return Ok(None);
        }
        Err(error) => {
            let message = format!("{} cannot be read", path.display());
            return Err(Error::new(ErrorKind::Storage, message).caused_by(error));
        }
    };
    let partition = Partition { source: REJECTS_SOURCE.into(), key: key.into() };
    if let Some((replays, committed)) = identity {
        let identity = match committed.get(&partition).and_then(|position| position.file.as_ref()) {
            Some(known) => check_identity(path, &mut file, known)?,
            None => look_at(path, &mut file)?,
        };
        replays.opened(key, identity);
    }
    Ok(Some(Open { key: partition.key, blocks: Blocks::open(name, path, true)? }))
}

impl Reader for ReplayReader {
    fn read(&mut self, bounds: &BatchSettings, _wait: Duration) -> Result<Read> {
        loop {
            if let Some(records) = self.ready.pop_front() {
                return Ok(Read::Records(records));
            }
            if self.current.is_none() {
                self.current = self.next_selection()?;
                if self.current.is_none() {
                    return Ok(if self.follow { Read::Idle } else { Read::End });
                }
            }
            // A file in which nothing is meant must not hold up the worker's other readers.
            match self.step(bounds)? {
                Some(()) if self.ready.is_empty() => return Ok(Read::Idle),
                Some(()) => {}
                None => {
                    if let Some(current) = self.current.take() {
                        self.replays.read(&current.selection.id);
                    }
                }
            }
        }
    }
}

/// What has to be the same for rows to be one block.
#[derive(PartialEq)]
struct Kind<'a> {
    stage: Option<&'a str>,
    source: &'a str,
    partition: &'a str,
    has_timestamp: bool,
    csv_header: Option<Vec<String>>,
}

/// Rows of a file as blocks of records within the bounds of a batch.
fn records(block: &Block, rows: &[usize], key: &Arc<str>, bounds: &BatchSettings) -> Vec<Records> {
    let mut made = Vec::new();
    let mut from = 0;
    while from < rows.len() {
        let kind = kind(block, rows[from]);
        let mut bytes = size(block, rows[from]);
        let mut to = from + 1;
        while to < rows.len() && to - from < bounds.rows && self::kind(block, rows[to]) == kind {
            bytes += size(block, rows[to]);
            if bytes > bounds.bytes {
                break;
            }
            to += 1;
        }
        made.push(records_of(block, &rows[from..to], &kind, key));
        from = to;
    }
    made
}

fn size(block: &Block, row: usize) -> usize {
    block.bytes("record_value", row).map_or(0, <[u8]>::len) + block.text("row", row).map_or(0, str::len)
}

fn kind(block: &Block, row: usize) -> Kind<'_> {
    let headers = block.text("headers", row).filter(|headers| headers.contains(CSV_HEADER)).map(headers);
    let csv_header = headers.into_iter().flatten().find(|(name, _)| name == CSV_HEADER);
    Kind {
        stage: block.text("stage", row),
        source: block.text("source", row).unwrap_or_default(),
        partition: block.text("partition", row).unwrap_or_default(),
        has_timestamp: block.timestamp_ms(row).is_some(),
        csv_header: csv_header.and_then(|(_, names)| serde_json::from_slice(&names?).ok()),
    }
}

fn records_of(block: &Block, rows: &[usize], kind: &Kind<'_>, key: &Arc<str>) -> Records {
    let offsets: Vec<i64> = rows.iter().map(|row| block.offset(*row)).collect();
    let texts = |column: &str| rows.iter().map(|row| block.text(column, *row)).collect::<StringArray>();
    let bytes = |column: &str| rows.iter().map(|row| block.bytes(column, *row)).collect::<BinaryArray>();
    let entry = match kind.stage {
        None => Entry::Decoder,
        Some(name) => Entry::Stage { name: name.into(), digests: texts("digest"), rows: texts("row") },
    };
    let is_kafka = kind.csv_header.is_none() && rows.iter().any(|row| block.text("headers", *row).is_some());
    Records {
        partition: Partition { source: kind.source.into(), key: kind.partition.into() },
        partition_number: kind.partition.parse().unwrap_or(0),
        csv_header: kind.csv_header.clone().map(Into::into),
        next_offset: offsets.iter().max().map_or(0, |last| last + 1),
        offsets,
        timestamps_ms: rows.iter().filter_map(|row| block.timestamp_ms(*row)).collect(),
        keys: Some(bytes("record_key")),
        headers: match is_kafka {
            true => rows.iter().map(|row| block.text("headers", *row).map(headers).unwrap_or_default()).collect(),
            false => Vec::new(),
        },
        payload: Payload::Replayed(Box::new(Replayed {
            partition: Partition { source: REJECTS_SOURCE.into(), key: Arc::clone(key) },
            rows: rows.iter().map(|row| block.number(*row)).collect(),
            attempts: rows.iter().map(|row| block.attempts(*row)).collect(),
            values: bytes("record_value"),
            entry,
        })),
    }
}

/// Headers as rejects have them: `[{"name", "value"}]`, or `value_hex` for what is no text.
fn headers(text: &str) -> Headers {
    let entries: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let header = |entry: &Value| {
        let name = entry.get("name")?.as_str()?.to_owned();
        let value = match (entry.get("value").and_then(Value::as_str), entry.get("value_hex").and_then(Value::as_str)) {
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (None, Some(digits)) => from_hex(digits),
            (None, None) => None,
        };
        Some((name, value))
    };
    entries.iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, RecordBatch};

    use super::*;
    use crate::output::{RefusedBy, reject_records, reject_rows};
    use crate::record::{Batch, Refusal};

    fn original() -> Arc<Records> {
        Arc::new(Records {
            partition: Partition { source: "clicks".into(), key: "3".into() },
            partition_number: 3,
            payload: Payload::Bytes(BinaryArray::from_opt_vec(vec![Some(b"{\"a\":1}"), Some(b"\xff\x00"), None])),
            csv_header: None,
            offsets: vec![10, 12, 15],
            next_offset: 16,
            timestamps_ms: vec![1_000, 2_000, 3_000],
            keys: Some(BinaryArray::from_opt_vec(vec![Some(b"k"), None, Some(b"\xfe")])),
            headers: vec![
                vec![("trace".to_owned(), Some(b"t1".to_vec())), ("t".to_owned(), Some(vec![0xff]))],
                vec![],
                vec![("empty".to_owned(), None)],
            ],
        })
    }

    fn refusal(row: u32) -> Refusal {
        Refusal { row, reason: "r".to_owned(), detail: "d".to_owned() }
    }

    fn bounds() -> BatchSettings {
        BatchSettings { rows: 2, bytes: 1 << 20 }
    }

    fn block(rows: RecordBatch) -> Block {
        Block { file: "f.parquet".into(), first_row: 100, rows }
    }

    #[test]
    fn a_refused_record_comes_back_as_it_came() {
        let original = original();
        let rejects = reject_records("p", &original, &[refusal(0), refusal(1), refusal(2)]).unwrap().remove(0);
        let blocks = records(&block(rejects), &[0, 1, 2], &"f.parquet".into(), &bounds());
        assert_eq!(blocks.len(), 2, "within the bounds of a batch");
        let (first, last) = (&blocks[0], &blocks[1]);
        assert_eq!((&first.partition, first.partition_number), (&original.partition, 3));
        assert_eq!((&first.offsets, &first.timestamps_ms), (&vec![10, 12], &vec![1_000, 2_000]));
        assert_eq!((first.value(0), first.value(1), last.value(0)), (original.value(0), original.value(1), None));
        assert_eq!([first.headers.as_slice(), last.headers.as_slice()].concat(), original.headers);
        assert_eq!(last.keys.as_ref().unwrap().value(0), b"\xfe");
        assert_eq!(last.replayed().unwrap().rows, [102]);
        assert_eq!(&*last.read_from().source, "@rejects");
        assert!(matches!(first.replayed().unwrap().entry, Entry::Decoder));
    }

    #[test]
    fn one_that_is_rejected_again_says_how_often_it_was_tried() {
        let columns = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1, 2])) as _)]).unwrap();
        let rows = Batch { columns, records: original(), record_of_row: Some(vec![1, 1]) };
        let by = RefusedBy { stage: "clean", digest: Some("d1") };
        let rejects = reject_rows("p", by, &rows, &[refusal(0), refusal(1)]).unwrap().remove(0);
        assert_eq!(block(rejects.clone()).attempts(0), 0);
        let again = records(&block(rejects), &[1], &"f.parquet".into(), &bounds()).remove(0);
        let Entry::Stage { name, rows, .. } = &again.replayed().unwrap().entry else { panic!("not at its stage") };
        assert_eq!((name.as_ref(), rows.value(0)), ("clean", r#"{"a":2}"#));
        let twice = reject_records("p", &Arc::new(again), &[refusal(0)]).unwrap().remove(0);
        assert_eq!((block(twice.clone()).attempts(0), block(twice).offset(0)), (1, 12));
    }

    #[test]
    fn a_record_of_a_csv_file_keeps_its_header_line() {
        let names: Arc<[String]> = vec!["id".to_owned(), "na\"me".to_owned()].into();
        let of_file = Records {
            csv_header: Some(Arc::clone(&names)),
            keys: None,
            headers: Vec::new(),
            ..original().as_ref().clone()
        };
        let rejects = reject_records("p", &Arc::new(of_file), &[refusal(0)]).unwrap().remove(0);
        let again = records(&block(rejects), &[0], &"f.parquet".into(), &bounds()).remove(0);
        assert_eq!((again.csv_header, again.headers.len()), (Some(names), 0));
    }
}
