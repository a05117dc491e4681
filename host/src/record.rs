//! What a source gives: records, in blocks. A block comes from one partition, in the order of its offsets, and stays in
//! memory until every row made from it is written, so that a reject can carry the record as it came.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch, StringArray};

/// A part of a source that is read in order by one worker: a Kafka partition, or a file.
///
/// For Kafka `key` is the partition's number in decimal; for files it is the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Partition {
    /// The source's name in the pipeline file.
    pub source: Arc<str>,
    /// What tells this partition from the source's others.
    pub key: Arc<str>,
}

/// The content of a block of records.
#[derive(Clone, Debug)]
pub enum Payload {
    /// One value a record (JSON text, one CSV record without its line end); null for a Kafka tombstone.
    Bytes(BinaryArray),
    /// One row a record, from a source that is columnar itself (Parquet).
    Columns(RecordBatch),
    /// Rejects that are tried again; everything else of the block is the original records'.
    Replayed(Box<Replayed>),
}

/// Rejects that are tried again, one an original record: several of a block may have come from the same one.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Where they are read, which is what the commit notes: the source `@rejects`, and the file.
    pub partition: Partition,
    /// The row of each in that file, ascending.
    pub rows: Vec<i64>,
    /// How often each was tried again before.
    pub attempts: Vec<i32>,
    /// The original values.
    pub values: BinaryArray,
    /// Where they go in.
    pub entry: Entry,
}

impl Partition {
    /// Whether it is one of rejects that are tried again, and of no source of the pipeline file.
    pub fn is_of_rejects(&self) -> bool {
        *self.source == *REJECTS_SOURCE
    }
}

/// The source under which rejects that are tried again are counted and noted: no source of a pipeline file can be called so.
pub const REJECTS_SOURCE: &str = "@rejects";

/// Where rejects go in that are tried again.
#[expect(clippy::large_enum_variant, reason = "one value a block of rows")]
#[derive(Clone, Debug)]
pub enum Entry {
    /// At the decoder of their source.
    Decoder,
    /// At the stage that refused them.
    Stage {
        /// Its name.
        name: Arc<str>,
        /// The plugins that refused them.
        digests: StringArray,
        /// The rows as they entered the stage, as JSON.
        rows: StringArray,
    },
}

/// A Kafka record's headers, in order; a name may occur more than once.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// A block of records of one partition.
#[derive(Clone, Debug)]
pub struct Records {
    /// Where they come from.
    pub partition: Partition,
    /// Kafka's partition number; 0 for files.
    pub partition_number: i32,
    /// The values.
    pub payload: Payload,
    /// The field names of a CSV file's header line.
    pub csv_header: Option<Arc<[String]>>,
    /// Where each record starts: Kafka's offset; the byte offset in the decompressed file; a Parquet file's row number. Ascending, gaps are allowed.
    pub offsets: Vec<i64>,
    /// The position after the last record: the next block starts here or later.
    pub next_offset: i64,
    /// Milliseconds since 1970-01-01 UTC, from Kafka; empty when the source has none.
    pub timestamps_ms: Vec<i64>,
    /// Kafka keys; none when the source has none or nobody reads them.
    pub keys: Option<BinaryArray>,
    /// Kafka headers, one entry a record; empty when nobody reads them and the source has none.
    pub headers: Vec<Headers>,
}

impl Records {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The bytes that the values hold in memory.
    pub fn value_bytes(&self) -> usize {
        match &self.payload {
            Payload::Bytes(values) => values.value_data().len(),
            Payload::Columns(columns) => columns.get_array_memory_size(),
            Payload::Replayed(replayed) => replayed.values.value_data().len(),
        }
    }

    /// The bytes of one record as they came; `None` for a tombstone or a columnar source.
    pub fn value(&self, record: usize) -> Option<&[u8]> {
        match &self.payload {
            Payload::Bytes(values) if values.is_valid(record) => Some(values.value(record)),
            Payload::Replayed(replayed) if replayed.values.is_valid(record) => Some(replayed.values.value(record)),
            _ => None,
        }
    }

    /// What is tried again, when these are rejects.
    pub fn replayed(&self) -> Option<&Replayed> {
        match &self.payload {
            Payload::Replayed(replayed) => Some(replayed),
            Payload::Bytes(_) | Payload::Columns(_) => None,
        }
    }

    /// Where they are read: what the commit notes.
    pub fn read_from(&self) -> &Partition {
        self.replayed().map_or(&self.partition, |replayed| &replayed.partition)
    }
}

/// Typed rows on their way through the tree of stages, each tied to the record it was made from.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The columns, one schema for each place in the tree (the plan says which).
    pub columns: RecordBatch,
    /// The block that the rows were made from.
    pub records: Arc<Records>,
    /// For each row the record's index in `records`; none when row `i` is record `i`.
    pub record_of_row: Option<Vec<u32>>,
}

impl Batch {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// The index in `records` of the record that a row was made from.
    pub fn record_of(&self, row: usize) -> u32 {
        match &self.record_of_row {
            Some(records) => records[row],
            None => row as u32,
        }
    }
}

/// A record that the decoder, or a row that a stage, refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The index of the row (stage) or the record (decoder) in the block that was worked on.
    pub row: u32,
    /// A short stable word, such as `wrong_type` or `bad_url`: what rejects are counted by.
    pub reason: String,
    /// What was wrong with this one, for a person.
    pub detail: String,
}
