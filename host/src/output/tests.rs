//! The promise of `super`, tried: rows in are rows in published files and live spool, each once, whatever crashes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;

use super::*;
use crate::config::{Compression, Located, ParquetOutput, PartitionBy, PartitionTransform};
use crate::disk::{Disk, MemoryDisk};
use crate::schema::Column;

const HOUR_MS: i64 = 3_600_000;

fn settings(target_file_bytes: u64) -> ParquetOutput {
    let column = Located { value: "ts".to_owned(), span: 0..0 };
    ParquetOutput {
        path: "/lake/views".into(),
        partition: vec![PartitionBy { column, transform: PartitionTransform::Hour }],
        target_file_bytes,
        max_age: Duration::from_secs(60),
        compression: Compression::Zstd(1),
    }
}

fn columns() -> Vec<Column> {
    [("id", "int64"), ("ts", "timestamp(ms)"), ("text", "utf8?")]
        .iter()
        .map(|(name, text)| {
            let nested: millstream_sdk::Nested = text.parse().unwrap();
            Column { name: (*name).to_owned(), logical: nested.logical, nullable: nested.nullable }
        })
        .collect()
}

fn place(worker: usize, incarnation: u64) -> Place {
    Place {
        output: "views".to_owned(),
        lake: "/lake/views".into(),
        staging: "/lake/views/.staging/h".into(),
        host: "h".to_owned(),
        incarnation,
        worker,
    }
}

const LIMITS: Limits = Limits { memory_bytes: 16 << 10, row_group_bytes: 6 << 10, row_group_rows: 400, open_files: 3 };

/// Rows with ids from `first` on; the text is a dictionary in every other batch.
fn rows(first: i64, count: i64, hours: i64) -> RecordBatch {
    let ids = first..first + count;
    let hour = |id: i64| if hours > 1 { id * 7 / 3 % hours } else { 0 };
    let texts: Vec<Option<String>> = ids
        .clone()
        .map(|id| (id % 11 != 0).then(|| format!("text {}", id.wrapping_mul(0x9E37_79B9) % 5_000)))
        .collect();
    let text: ArrayRef = if first % 2 == 0 {
        Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
    } else {
        Arc::new(StringArray::from(texts))
    };
    let ts = TimestampMillisecondArray::from_iter_values(ids.clone().map(|id| hour(id) * HOUR_MS)).with_timezone("UTC");
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef, false),
        ("ts", Arc::new(ts), false),
        ("text", text, true),
    ])
    .unwrap()
}

fn writer(worker: usize, incarnation: u64, epoch: u64, target: u64, disk: &Arc<dyn Disk>) -> ParquetWriter {
    ParquetWriter::new(place(worker, incarnation), &settings(target), &columns(), LIMITS, epoch, disk.clone()).unwrap()
}

fn read_file(disk: &dyn Disk, path: &Path) -> Vec<RecordBatch> {
    let content = Bytes::from(disk.read(path).unwrap());
    ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap().map(Result::unwrap).collect()
}

fn published_files(disk: &dyn Disk) -> Vec<PathBuf> {
    let files = disk.files_below(Path::new("/lake")).unwrap();
    files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
}

/// The ids in published files, each checked to stand in its hour's folder with its text.
fn published_ids(disk: &dyn Disk) -> Vec<i64> {
    let mut ids = Vec::new();
    for path in published_files(disk) {
        for batch in read_file(disk, &path) {
            for row in 0..batch.num_rows() {
                let id = batch.column(0).as_primitive::<Int64Type>().value(row);
                let ts = batch.column(1).as_primitive::<arrow::datatypes::TimestampMillisecondType>().value(row);
                assert!(
                    path.to_string_lossy().contains(&format!("hour={:02}/", ts / HOUR_MS)),
                    "{id} lies in {path:?}"
                );
                let text = batch.column(2).as_string::<i32>();
                let expected = (id % 11 != 0).then(|| format!("text {}", id.wrapping_mul(0x9E37_79B9) % 5_000));
                assert_eq!(text.is_valid(row).then(|| text.value(row).to_owned()), expected, "the text of {id}");
                ids.push(id);
            }
        }
    }
    ids.sort_unstable();
    ids
}

/// What the commit does with tokens: publish their files, then delete what nobody needs.
fn publish(disk: &dyn Disk, tokens: &[Prepared]) -> io::Result<()> {
    let mut folders = BTreeSet::from([PathBuf::from("/lake/views/.staging/h")]);
    for file in tokens.iter().flat_map(|token| token.full.iter().chain(&token.tails)) {
        if disk.size_bytes(&file.published)? != Some(file.bytes) || disk.size_bytes(&file.staged)?.is_some() {
            disk.rename(&file.staged, &file.published)?;
        }
        folders.extend(file.published.parent().map(Path::to_owned));
    }
    folders.iter().try_for_each(|folder| disk.sync_folder(folder))
}

/// A pipeline's run as far as outputs see it: two workers, one commit.
struct Run {
    disk: MemoryDisk,
    target: u64,
    incarnation: u64,
    epoch: u64,
    now_ms: i64,
    workers: Vec<ParquetWriter>,
    committed: Vec<Prepared>,
    committed_rows: i64,
}

#[derive(Clone, Copy, Debug)]
enum Close {
    Due,
    DueTogether,
    All,
}

impl Run {
    fn new(target: u64) -> Self {
        let disk = MemoryDisk::new();
        let mut run = Self {
            disk,
            target,
            incarnation: 0,
            epoch: 1,
            now_ms: 0,
            workers: Vec::new(),
            committed: Vec::new(),
            committed_rows: 0,
        };
        run.recover();
        run
    }

    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// One epoch. An error is a crash; then `self.committed` says whether it was before the commit.
    fn epoch(&mut self, batches: &[(i64, i64)], close: Close) -> Result<(), Box<dyn std::error::Error>> {
        let disk = self.shared();
        let mut next = self.committed_rows;
        for (index, (count, hours)) in batches.iter().enumerate() {
            let worker = index % self.workers.len();
            self.workers[worker].write(&rows(next, *count, *hours), self.now_ms)?;
            next += count;
            self.now_ms += 7_000;
        }
        let due: BTreeSet<String> = self.workers.iter().flat_map(|worker| worker.due(self.now_ms)).collect();
        let closing = match close {
            Close::Due => Closing::Due,
            Close::DueTogether => Closing::DueAnd(&due),
            Close::All => Closing::All,
        };
        let mut tokens = Vec::new();
        for worker in &mut self.workers {
            worker.set_footer(vec![("millstream.plan".to_owned(), "1".to_owned())]);
            tokens.push(worker.prepare(self.now_ms, closing)?);
        }
        let footer = [("millstream.plan".to_owned(), "1".to_owned())];
        merge_tails(&mut tokens, &place(0, self.incarnation), self.target, &footer, &disk)?;
        let record = serde_json::to_string(&tokens)?;
        let garbage = obsolete(&tokens);
        // The commit: from here on the epoch is true.
        self.committed = serde_json::from_str(&record)?;
        self.committed_rows = next;
        self.epoch += 1;
        publish(&self.disk, &self.committed)?;
        garbage.iter().try_for_each(|path| self.disk.remove(path))?;
        Ok(())
    }

    /// What a start does; also the number of workers may be another one.
    fn recover(&mut self) {
        self.incarnation += 1;
        publish(&self.disk, &self.committed).unwrap();
        let needed: BTreeSet<&Path> = self.committed.iter().flat_map(Prepared::needs).collect();
        for path in self.disk.files_below(Path::new("/lake/views/.staging")).unwrap() {
            if !needed.contains(path.as_path()) {
                self.disk.remove(&path).unwrap();
            }
        }
        let count = 1 + (self.incarnation as usize) % 2;
        let disk = self.shared();
        self.workers =
            (0..count).map(|worker| writer(worker, self.incarnation, self.epoch, self.target, &disk)).collect();
        for (index, file) in self.committed.iter().flat_map(|token| &token.open).enumerate() {
            self.staged_is_untouched(file);
            let worker = index % count;
            self.workers[worker].restore(std::slice::from_ref(file)).unwrap();
        }
    }

    fn staged_is_untouched(&self, file: &OpenFile) {
        if let Some(prefix) = &file.prefix {
            let bytes = self.disk.read(&prefix.staged).unwrap();
            let prefix_bytes = &bytes[..prefix.bytes as usize];
            assert_eq!(crc32fast::hash(prefix_bytes), prefix.crc32, "the committed beginning of {file:?} changed");
        }
    }

    /// Rows in published files and in what the last token says is open.
    fn finish(mut self) -> (Vec<i64>, i64) {
        self.epoch(&[], Close::All).unwrap();
        assert!(self.committed.iter().all(|token| token.open.is_empty()));
        let staging = self.disk.files_below(Path::new("/lake/views/.staging")).unwrap();
        assert!(staging.is_empty(), "nothing is open, but staging holds {staging:?}");
        (published_ids(&self.disk), self.committed_rows)
    }
}

fn check(run: Run) {
    let (ids, rows) = run.finish();
    assert_eq!(ids, (0..rows).collect::<Vec<_>>(), "each committed row once");
}

fn close() -> impl Strategy<Value = Close> {
    prop_oneof![4 => Just(Close::Due), 2 => Just(Close::DueTogether), 1 => Just(Close::All)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_in_the_lake_once_whatever_crashes(
        epochs in prop::collection::vec(
            (prop::collection::vec((1i64..300, 1i64..6), 0..5), close(), prop::option::of((1u64..120, any::<u64>()))), 1..14),
        target in prop_oneof![Just(2u64 << 10), Just(1 << 20)],
    ) {
        let mut run = Run::new(target);
        for (batches, close, crash) in epochs {
            if let Some((after, _)) = crash {
                run.disk.crash_at(run.disk.operations() + after);
            }
            let done = run.epoch(&batches, close);
            if let Some((_, seed)) = crash {
                prop_assert!(done.is_ok() || run.disk.has_crashed(), "{:?}", done);
                run.disk.crash(seed);
                run.recover();
            } else {
                done.unwrap();
            }
        }
        check(run);
    }
}

#[test]
fn every_step_of_an_epoch_may_crash() {
    let batches = [(250, 2), (250, 1), (120, 4), (90, 1)];
    let operations = {
        let mut run = Run::new(2 << 10);
        run.epoch(&batches, Close::Due).unwrap();
        let before = run.disk.operations();
        run.epoch(&batches, Close::DueTogether).unwrap();
        run.disk.operations() - before
    };
    assert!(operations > 20, "an epoch of {operations} operations tries little");
    for operation in 1..=operations + 1 {
        let mut run = Run::new(2 << 10);
        run.epoch(&batches, Close::Due).unwrap();
        run.disk.crash_at(run.disk.operations() + operation);
        let _ = run.epoch(&batches, Close::DueTogether);
        run.disk.crash(operation);
        run.recover();
        run.epoch(&batches, Close::Due).unwrap();
        check(run);
    }
}

#[test]
fn a_file_that_is_open_for_many_epochs_keeps_few_parts() {
    let mut run = Run::new(1 << 20);
    for _ in 0..100 {
        run.now_ms = 0;
        run.epoch(&[(3, 1)], Close::Due).unwrap();
        let parts: usize = run.committed.iter().flat_map(|token| &token.open).map(|file| file.parts.len()).sum();
        assert!(parts <= 32, "{parts} parts");
        let staging = run.disk.files_below(Path::new("/lake/views/.staging")).unwrap().len();
        assert!(staging <= 34, "{staging} files in staging");
    }
    run.disk.crash(1);
    run.recover();
    check(run);
}

#[test]
fn files_close_when_they_are_full_or_old_and_say_so_in_the_footer() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut writer = writer(0, 1, 5, 8 << 10, &disk);
    writer.set_footer(vec![("millstream.plan".to_owned(), "7".to_owned())]);
    writer.write(&rows(1, 300, 1), 0).unwrap();
    let first = writer.prepare(59_999, Closing::Due).unwrap();
    assert!(
        first.full.is_empty() && first.tails.is_empty() && first.open.len() == 1,
        "neither full nor old: {first:?}"
    );
    writer.write(&rows(301, 6_000, 1), 59_999).unwrap();
    let second = writer.prepare(59_999, Closing::Due).unwrap();
    assert_eq!((second.full.len(), second.tails.len()), (1, 0), "full: {second:?}");
    assert!(second.full[0].bytes >= 7 << 10 && second.full[0].bytes < 32 << 10, "{:?}", second.full);
    assert_eq!(second.full[0].origin.epochs, (5, 6));
    let third = writer.prepare(130_000, Closing::Due).unwrap();
    assert_eq!((third.tails.len(), third.open.len()), (second.open.len(), 0), "old: {third:?}");

    let content = Bytes::from(memory.read(&second.full[0].staged).unwrap());
    assert_eq!((content.len() as u64, crc32fast::hash(&content)), (second.full[0].bytes, second.full[0].crc32));
    let reader = SerializedFileReader::new(content).unwrap();
    let metadata = reader.metadata().file_metadata();
    assert_eq!(metadata.num_rows() as u64, second.full[0].rows);
    let entries = metadata.key_value_metadata().unwrap();
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.clone());
    assert_eq!(entry("millstream.plan").as_deref(), Some("7"));
    assert_eq!(entry(EPOCHS_KEY).as_deref(), Some("5-6"));
    let batches = read_file(&memory, &second.full[0].staged);
    assert_eq!(*batches[0].column(2).data_type(), DataType::Utf8, "readers see plain text, whatever came in");
}

#[test]
fn a_writer_can_move_to_its_worker() {
    fn is_send<T: Send>() {}
    is_send::<ParquetWriter>();
}

#[test]
fn tails_of_several_workers_become_one_file() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut tokens: Vec<Prepared> = (0..3)
        .map(|worker| {
            let mut writer = writer(worker, 1, 1, 1 << 20, &disk);
            writer.write(&rows(worker as i64 * 100, 100, 2), 0).unwrap();
            writer.prepare(0, Closing::All).unwrap()
        })
        .collect();
    let footer = [("millstream.plan".to_owned(), "1".to_owned())];
    merge_tails(&mut tokens, &place(0, 1), 1 << 20, &footer, &disk).unwrap();
    assert_eq!(tokens.iter().map(|token| token.tails.len()).collect::<Vec<_>>(), [2, 0, 0], "one file an hour");
    assert_eq!(tokens[0].tails.iter().map(|file| file.rows).sum::<u64>(), 300);
    assert_eq!(obsolete(&tokens).len(), 6, "the merged tails can go after the commit");
    publish(&memory, &tokens).unwrap();
    assert_eq!(published_ids(&memory), (0..300).collect::<Vec<_>>());
    let reader = SerializedFileReader::new(Bytes::from(memory.read(&tokens[0].tails[0].published).unwrap())).unwrap();
    let entries = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "each entry once: {keys:?}");
    assert!(keys.contains(&"ARROW:schema") && keys.contains(&"millstream.plan") && keys.contains(&EPOCHS_KEY));
}

#[test]
fn large_tails_are_left_alone_and_small_ones_are_put_together() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut tokens: Vec<Prepared> = [400, 60, 50, 400, 40]
        .iter()
        .enumerate()
        .map(|(worker, count)| {
            let mut writer = writer(worker, 1, 1, 1 << 20, &disk);
            writer.write(&rows(worker as i64 * 1_000 + 1, *count, 1), 0).unwrap();
            writer.prepare(0, Closing::All).unwrap()
        })
        .collect();
    let target = 2 * tokens[0].tails[0].bytes.min(tokens[3].tails[0].bytes);
    merge_tails(&mut tokens, &place(0, 1), target, &[], &disk).unwrap();
    let sizes: Vec<u64> = tokens.iter().flat_map(|token| &token.tails).map(|file| file.bytes).collect();
    assert!(sizes.len() < 5, "{sizes:?}");
    assert!(sizes.iter().filter(|bytes| **bytes < target / 2).count() <= 1, "{sizes:?} for {target}");
}

#[test]
fn a_limit_of_open_files_closes_the_oldest() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut writer = writer(0, 1, 1, 1 << 20, &disk);
    for hours in 1..6 {
        writer.write(&rows(1, 100, hours), hours * 1_000).unwrap();
        assert!(writer.open_files() <= 3 && writer.memory_bytes() <= 16 << 10);
    }
    assert!(writer.closed_early() > 0);
    let token = writer.prepare(6_000, Closing::Due).unwrap();
    assert_eq!(token.open.len(), 3);
    let open: u64 = token.open.iter().map(|file| file.rows).sum();
    assert_eq!(token.tails.iter().map(|file| file.rows).sum::<u64>() + open, 500);
}

#[test]
fn damage_in_what_was_committed_stops_the_start() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut first = writer(0, 1, 1, 1 << 20, &disk);
    first.write(&rows(1, 500, 1), 0).unwrap();
    first.write(&rows(501, 20, 1), 0).unwrap();
    let token = first.prepare(0, Closing::Due).unwrap();
    let file = &token.open[0];
    let (prefix, part) = (file.prefix.as_ref().unwrap(), &file.parts[0]);
    for (path, offset) in [
        (&prefix.staged, prefix.bytes as usize / 2),
        (&prefix.footer.segment, prefix.footer.offset as usize + 20),
        (&part.segment, part.offset as usize + 100),
    ] {
        memory.corrupt(path, offset).unwrap();
        let error = writer(0, 2, 2, 1 << 20, &disk).restore(&token.open).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert!(error.message().contains("committed rows in") && error.way_out().is_some(), "{error}");
        memory.corrupt(path, offset).unwrap();
    }
    assert!(writer(0, 2, 2, 1 << 20, &disk).restore(&token.open).is_ok());
}

#[test]
fn open_files_of_a_changed_output_are_finished_as_they_were_meant() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut before = writer(0, 1, 1, 1 << 20, &disk);
    before.write(&rows(0, 700, 2), 0).unwrap();
    let token = before.prepare(0, Closing::Due).unwrap();
    let mut after = ParquetWriter::finishing(&token, place(0, 2), LIMITS, 2, disk.clone()).unwrap();
    let finished = after.prepare(0, Closing::All).unwrap();
    assert_eq!(finished.rows, 0, "nothing is counted twice");
    let mut current = writer(0, 2, 2, 1 << 20, &disk);
    current.write(&rows(700, 50, 2), 0).unwrap();
    let fresh = current.prepare(0, Closing::All).unwrap();
    publish(&memory, &[finished, fresh]).unwrap();
    assert_eq!(published_ids(&memory), (0..750).collect::<Vec<_>>());
}

#[test]
fn all_types_read_back_as_they_were_written() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let types = [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal(9,2)",
        "decimal(18,4)",
        "decimal(38,10)",
        "utf8",
        "binary",
        "uuid",
        "date",
        "timestamp(s)",
        "timestamp(ms)",
        "timestamp(us)",
        "timestamp(ns)",
        "list<utf8?>",
        "struct<a: int32, b: list<uuid?>?>",
        "list<struct<s: utf8?, d: decimal(12,2)>?>",
    ];
    let columns: Vec<Column> = types
        .iter()
        .enumerate()
        .map(|(index, text)| Column { name: format!("c {index}.x"), logical: text.parse().unwrap(), nullable: true })
        .collect();
    let fields: Vec<_> = columns.iter().map(Column::arrow_field).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let json = r#"[{"c 0.x":true,"c 1.x":-1,"c 2.x":300,"c 3.x":70000,"c 4.x":5000000000,"c 5.x":1.5,"c 6.x":2.25,"c 7.x":"1.25","c 8.x":"-3.5","c 9.x":"123456789012345678.5","c 10.x":"ü","c 11.x":"ff00","c 12.x":"00112233445566778899aabbccddeeff","c 13.x":"2013-01-31","c 14.x":"2013-01-31T07:00:00Z","c 15.x":"2013-01-31T07:00:00.001Z","c 16.x":"2013-01-31T07:00:00.000001Z","c 17.x":"2013-01-31T07:00:00.000000001Z","c 18.x":["a",null],"c 19.x":{"a":1,"b":["00112233445566778899aabbccddeeff",null]},"c 20.x":[{"s":"x","d":"1.50"},null]},{}]"#;
    let readable = reject::with_offset_zone(&DataType::Struct(schema.fields().clone()));
    let DataType::Struct(readable) = readable else { panic!("a struct stays one") };
    let readable = Arc::new(arrow::datatypes::Schema::new(readable));
    let mut decoder = arrow::json::ReaderBuilder::new(readable).build_decoder().unwrap();
    let values: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    decoder.serialize(&values).unwrap();
    let read = decoder.flush().unwrap().unwrap();
    let typed = read.columns().iter().zip(schema.fields());
    let typed = typed.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap()).collect();
    let batch = RecordBatch::try_new(schema.clone(), typed).unwrap();
    let settings = ParquetOutput { partition: Vec::new(), ..settings(1 << 20) };
    let mut writer = ParquetWriter::new(place(0, 1), &settings, &columns, LIMITS, 1, disk.clone()).unwrap();
    writer.write(&batch, 0).unwrap();
    let token = writer.prepare(0, Closing::Due).unwrap();
    let token: Prepared = serde_json::from_str(&serde_json::to_string(&token).unwrap()).unwrap();
    let mut again = ParquetWriter::finishing(&token, place(0, 2), LIMITS, 2, disk).unwrap();
    let closed = again.prepare(0, Closing::All).unwrap();
    let found = read_file(&memory, &closed.tails[0].staged);
    assert_eq!(found, [batch]);
}
