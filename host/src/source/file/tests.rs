//! What the file source promises: every record once, over restarts, growth, several workers and every kind of file.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use tempfile::TempDir;

use super::FileSource;
use crate::config::{self, BatchSettings, Format, Located};
use crate::error::{ErrorKind, Result};
use crate::record::{Partition, Payload, Records};
use crate::source::{Position, Positions, Ranges, Read, Reader};

const BOUNDS: BatchSettings = BatchSettings { rows: 100, bytes: 1 << 20 };

fn settings(paths: &[&Path]) -> config::FileSource {
    let located = |path: &&Path| Located { value: path.to_str().unwrap().to_owned(), span: 0..0 };
    config::FileSource { paths: paths.iter().map(located).collect() }
}

fn open(path: &Path, format: Format, committed: &Positions, follow: bool) -> Result<FileSource> {
    FileSource::open("s", &settings(&[path]), format, committed, follow)
}

/// All that a reader gives before it is idle or at its end.
fn drain(reader: &mut dyn Reader, bounds: &BatchSettings) -> Result<Vec<Records>> {
    let mut blocks = Vec::new();
    while let Read::Records(records) = reader.read(bounds, Duration::ZERO)? {
        assert!(!records.is_empty() && records.len() <= bounds.rows, "{} records in a block", records.len());
        assert!(records.next_offset > *records.offsets.last().unwrap());
        blocks.push(records);
    }
    Ok(blocks)
}

fn values(blocks: &[Records]) -> Vec<String> {
    let value = |records: &Records, record| match &records.payload {
        Payload::Bytes(_) | Payload::Replayed(_) => String::from_utf8(records.value(record).unwrap().to_vec()).unwrap(),
        Payload::Columns(columns) => {
            let id = columns.column(0).as_primitive::<Int64Type>().value(record);
            assert_eq!(columns.column(1).as_string::<i32>().value(record), format!("row {id}"));
            row(id as usize)
        }
    };
    blocks.iter().flat_map(|records| (0..records.len()).map(move |record| value(records, record))).collect()
}

/// What is committed once these blocks were taken.
fn commit(source: &FileSource, committed: &Positions, blocks: &[Records]) -> Positions {
    let mut positions = committed.clone();
    for records in blocks {
        let read =
            Position { ranges: Ranges::of(records), file: source.identity(&records.partition), ..Position::default() };
        positions.entry(records.partition.clone()).or_default().merge(&records.partition, &read);
    }
    positions
}

fn row(id: usize) -> String {
    format!("{{\"id\":{id},\"text\":\"row {id}\"}}")
}

fn json_lines(rows: std::ops::Range<usize>) -> String {
    rows.map(|id| row(id) + "\n").collect()
}

fn csv_row(id: usize) -> String {
    format!("{id},\"row\n{id}\"")
}

fn parquet(path: &Path, rows: usize) {
    let ids = Int64Array::from_iter_values(0..rows as i64);
    let texts = StringArray::from_iter_values((0..rows).map(|id| format!("row {id}")));
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("text", Arc::new(texts) as _)]).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(300)).build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 1).unwrap()
}

/// A file of `content` in two gzip members, two zstd frames, or plain.
fn write_as(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    let (first, second) = content.as_bytes().split_at(content.len() / 3);
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => [gzip(first), gzip(second)].concat(),
        Some("zst") => [zstd(first), zstd(second)].concat(),
        _ => content.as_bytes().to_vec(),
    };
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn json_lines_csv_and_parquet_plain_and_compressed() {
    let folder = TempDir::new().unwrap();
    let json: Vec<_> = (0..1000).map(row).collect();
    let csv: Vec<_> = (0..1000).map(csv_row).collect();
    let csv_text = format!("id,\"te\nxt\"\r\n{}\r\n", csv.join("\r\n"));
    for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
        let path = write_as(folder.path(), name, &json_lines(0..1000));
        let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
        let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
        assert_eq!(values(&blocks), json, "{name}");
        assert_eq!(blocks.len(), 10);
        assert_eq!(source.read_bytes(), source.total_bytes(), "{name}: all was read");
    }
    for name in ["a.csv", "a.csv.gz", "a.csv.zst"] {
        let path = write_as(folder.path(), name, &csv_text);
        let source = open(&path, Format::Csv, &Positions::new(), false).unwrap();
        let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
        assert_eq!(values(&blocks), csv, "{name}");
        assert_eq!(blocks[9].csv_header.as_deref(), Some(&["id".to_owned(), "te\nxt".to_owned()][..]));
    }
    let path = folder.path().join("a.parquet");
    parquet(&path, 1000);
    let source = open(&path, Format::Parquet, &Positions::new(), false).unwrap();
    let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
    assert_eq!(values(&blocks), json);
    assert_eq!(
        blocks.iter().flat_map(|block| block.offsets.clone()).collect::<Vec<_>>(),
        (0..1000).collect::<Vec<_>>()
    );
}

#[test]
fn only_the_wanted_parquet_columns_are_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    parquet(&path, 10);
    let source = open(&path, Format::Parquet, &Positions::new(), false).unwrap().with_columns(vec!["text".to_owned()]);
    let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
    let Payload::Columns(columns) = &blocks[0].payload else { panic!("not columns") };
    assert_eq!(columns.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["text"]);
}

#[test]
fn blocks_are_bounded_by_bytes_and_a_large_record_stands_alone() {
    let folder = TempDir::new().unwrap();
    let large = "x".repeat(20_000_000);
    let path = write_as(folder.path(), "a.jsonl", &format!("{}\n{large}\n{}\n", row(1), row(2)));
    let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
    let bounds = BatchSettings { rows: 4096, bytes: 1000 };
    let blocks = drain(&mut source.readers(1)[0], &bounds).unwrap();
    assert_eq!(values(&blocks), [row(1), large, row(2)]);
    assert_eq!(blocks.len(), 3);
}

#[test]
fn workers_share_the_chunks_of_a_big_file_and_a_folder_of_small_ones() {
    let folder = TempDir::new().unwrap();
    write_as(folder.path(), "big.jsonl", &json_lines(0..20_000));
    for file in 0..5 {
        write_as(folder.path(), &format!("small{file}.jsonl"), &json_lines(20_000 + file * 10..20_010 + file * 10));
    }
    let glob = folder.path().join("*.jsonl");
    let paths = settings(&[&glob, &folder.path().join("small1.jsonl")]);
    let source = FileSource::open_in_chunks("s", &paths, Format::Json, &Positions::new(), false, 64 << 10).unwrap();
    assert_eq!(source.files(), 6);
    let threads: Vec<_> = source
        .readers(3)
        .into_iter()
        .map(|mut reader| std::thread::spawn(move || drain(&mut reader, &BOUNDS).unwrap()))
        .collect();
    let blocks: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let mut found = values(&blocks);
    let mut expected: Vec<_> = (0..20_050).map(row).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let positions = commit(&source, &Positions::new(), &blocks);
    assert!(positions.values().all(|position| position.ranges.as_slice().len() == 1), "{positions:?}");
    let again = FileSource::open_in_chunks("s", &paths, Format::Json, &positions, false, 64 << 10).unwrap();
    assert!(drain(&mut again.readers(1)[0], &BOUNDS).unwrap().is_empty(), "everything was read");
    assert_eq!(again.read_bytes(), again.total_bytes());
}

#[test]
fn a_growing_file_gives_whole_lines_as_they_come() {
    for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
        let folder = TempDir::new().unwrap();
        let path = write_as(folder.path(), name, &json_lines(0..10));
        let append = |text: &str| {
            let bytes = match Path::new(name).extension().unwrap().to_str().unwrap() {
                "gz" => gzip(text.as_bytes()),
                "zst" => zstd(text.as_bytes()),
                _ => text.as_bytes().to_vec(),
            };
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&bytes).unwrap();
        };
        let source = open(&path, Format::Json, &Positions::new(), true).unwrap();
        let mut reader = source.readers(1).remove(0);
        let mut found = values(&await_records(&mut reader, 10));
        append(&row(10)[..5]);
        append(&format!("{}\n{}\n{}", &row(10)[5..], row(11), &row(12)[..3]));
        found.extend(values(&await_records(&mut reader, 2)));
        append(&format!("{}\n", &row(12)[3..]));
        found.extend(values(&await_records(&mut reader, 1)));
        assert_eq!(found, (0..13).map(row).collect::<Vec<_>>(), "{name}");
        assert!(matches!(reader.read(&BOUNDS, Duration::ZERO).unwrap(), Read::Idle));
    }
}

/// Reads until so many records came; the reader itself waits for the growth.
fn await_records(reader: &mut dyn Reader, count: usize) -> Vec<Records> {
    let mut blocks: Vec<Records> = Vec::new();
    while blocks.iter().map(Records::len).sum::<usize>() < count {
        match reader.read(&BOUNDS, Duration::from_secs(20)).unwrap() {
            Read::Records(records) => blocks.push(records),
            other => panic!("{other:?} instead of records"),
        }
    }
    blocks
}

#[test]
fn new_files_are_found_while_following() {
    let folder = TempDir::new().unwrap();
    let source = open(&folder.path().join("*.csv"), Format::Csv, &Positions::new(), true).unwrap();
    let mut reader = source.readers(1).remove(0);
    assert!(matches!(reader.read(&BOUNDS, Duration::ZERO).unwrap(), Read::Idle));
    write_as(folder.path(), "late.csv", "id\n1\n");
    assert_eq!(source.rescan().unwrap(), 1);
    assert_eq!(values(&await_records(&mut reader, 1)), ["1"]);
    assert_eq!(source.rescan().unwrap(), 0);
}

#[test]
fn a_file_cut_off_gives_its_whole_records_then_an_error_and_goes_on_when_it_is_whole() {
    for (name, whole) in
        [("a.jsonl.gz", gzip(random_lines().as_bytes())), ("a.jsonl.zst", zstd(random_lines().as_bytes()))]
    {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
        let mut reader = source.readers(1).remove(0);
        let mut blocks = Vec::new();
        let error = loop {
            match reader.read(&BOUNDS, Duration::ZERO) {
                Ok(Read::Records(records)) => blocks.push(records),
                Ok(other) => panic!("{other:?} instead of an error"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().contains(name) && error.message().contains("breaks off after byte"), "{error}");
        assert!(!blocks.is_empty(), "records before the break");
        assert!(reader.read(&BOUNDS, Duration::ZERO).is_err(), "the error stays");
        let committed = commit(&source, &Positions::new(), &blocks);
        std::fs::write(&path, &whole).unwrap();
        let source = open(&path, Format::Json, &committed, false).unwrap();
        blocks.extend(drain(&mut source.readers(1)[0], &BOUNDS).unwrap());
        assert_eq!(values(&blocks), random_lines().lines().collect::<Vec<_>>());
    }
}

/// Lines that do not compress, so that half a file is about half of them.
fn random_lines() -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::new();
    for _ in 0..20_000 {
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text += &format!("{state:016x}");
        }
        text.push('\n');
    }
    text
}

#[test]
fn a_replaced_or_shortened_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = write_as(folder.path(), "a.jsonl", &json_lines(0..100));
    let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
    let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
    let committed = commit(&source, &Positions::new(), &blocks);
    for content in [json_lines(5..200), json_lines(0..50), String::new()] {
        std::fs::write(&path, content).unwrap();
        let error = open(&path, Format::Json, &committed, false).err().expect("another file is refused");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().contains("a.jsonl") && error.way_out().is_some(), "{error}");
    }
}

#[test]
fn a_file_replaced_after_it_was_found_is_refused_too() {
    let folder = TempDir::new().unwrap();
    let path = write_as(folder.path(), "a.jsonl", &json_lines(0..100));
    let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
    std::fs::write(&path, json_lines(100..300)).unwrap();
    assert_eq!(source.readers(1)[0].read(&BOUNDS, Duration::ZERO).unwrap_err().kind(), ErrorKind::Input);
}

#[test]
fn missing_empty_and_removed_files() {
    let folder = TempDir::new().unwrap();
    for (name, message) in [("none.jsonl", "there is no file"), ("*.none", "no file matches"), ("", "is a folder")] {
        let error = open(&folder.path().join(name), Format::Json, &Positions::new(), false).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(message), "{error}");
    }
    for name in ["empty.jsonl", "empty.jsonl.gz", "empty.jsonl.zst"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
        assert!(matches!(source.readers(1)[0].read(&BOUNDS, Duration::ZERO).unwrap(), Read::End), "{name}");
    }
    let path = write_as(folder.path(), "gone.jsonl", &json_lines(0..200));
    let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
    let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
    std::fs::remove_file(&path).unwrap();
    let glob = folder.path().join("*.jsonl");
    let part = commit(&source, &Positions::new(), &blocks[..1]);
    let error = open(&glob, Format::Json, &part, false).err().expect("half of it was not read");
    assert!(error.message().contains("is gone, read to byte"), "{error}");
    let all = commit(&source, &Positions::new(), &blocks);
    assert!(open(&glob, Format::Json, &all, false).is_ok(), "it had been read to its end");
}

#[test]
fn an_unfinished_last_line_is_taken_at_the_end_and_must_not_go_on() {
    let folder = TempDir::new().unwrap();
    let path = write_as(folder.path(), "a.jsonl", "1\n2");
    let source = open(&path, Format::Json, &Positions::new(), false).unwrap();
    let blocks = drain(&mut source.readers(1)[0], &BOUNDS).unwrap();
    assert_eq!(values(&blocks), ["1", "2"]);
    let committed = commit(&source, &Positions::new(), &blocks);
    std::fs::write(&path, "1\n2\n3\n").unwrap();
    let source = open(&path, Format::Json, &committed, false).unwrap();
    assert_eq!(values(&drain(&mut source.readers(1)[0], &BOUNDS).unwrap()), ["3"]);
    std::fs::write(&path, "1\n23\n").unwrap();
    let error = open(&path, Format::Json, &committed, false).err().expect("the line went on");
    assert!(error.message().contains("at byte 3"), "{error}");
}

#[test]
fn positions_of_other_sources_do_not_count() {
    let folder = TempDir::new().unwrap();
    let path = write_as(folder.path(), "a.jsonl", &json_lines(0..10));
    let partition = Partition { source: "other".into(), key: path.to_str().unwrap().into() };
    let mut position = Position::default();
    position.ranges.add(0, 1 << 20);
    let source = open(&path, Format::Json, &BTreeMap::from([(partition, position)]), false).unwrap();
    assert_eq!(values(&drain(&mut source.readers(1)[0], &BOUNDS).unwrap()).len(), 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever blocks of a run were committed, a run after it gives exactly the others.
    #[test]
    fn each_record_comes_once_over_a_restart(
        kind in 0..7_usize,
        rows in 1..300_usize,
        blanks in any::<bool>(),
        committed_blocks in proptest::collection::vec(any::<bool>(), 40),
        block_rows in (1..60_usize, 1..60_usize),
        block_bytes in 10..3000_usize,
        chunk_bytes in 50..4000_i64,
    ) {
        let name = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.csv.gz", "a.csv.zst", "a.parquet"][kind];
        let format = [Format::Json, Format::Csv, Format::Parquet][kind / 3];
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        let separator = if blanks { "\n\r\n\n" } else { "\n" };
        let expected: Vec<String> = match format {
            Format::Csv => (0..rows).map(csv_row).collect(),
            _ => (0..rows).map(row).collect(),
        };
        match format {
            Format::Parquet => parquet(&path, rows),
            Format::Csv => drop(write_as(folder.path(), name, &format!("a,b\n{}", expected.join(separator)))),
            Format::Json => drop(write_as(folder.path(), name, &(expected.join(separator) + separator))),
        }
        let run = |committed: &Positions, block_rows| {
            let paths = settings(&[&path]);
            let source = FileSource::open_in_chunks("s", &paths, format, committed, false, chunk_bytes).unwrap();
            let bounds = BatchSettings { rows: block_rows, bytes: block_bytes };
            let mut readers = source.readers(2);
            let mut blocks = Vec::new();
            // Turn by turn, so that two workers have parts of the file at the same time.
            while let (first, second) = (read_one(&mut readers[0], &bounds), read_one(&mut readers[1], &bounds))
                && (first.is_some() || second.is_some())
            {
                blocks.extend([first, second].into_iter().flatten());
            }
            (source, blocks)
        };
        let (source, blocks) = run(&Positions::new(), block_rows.0);
        let kept: Vec<Records> = blocks
            .into_iter()
            .enumerate()
            .filter(|(index, _)| committed_blocks[index % committed_blocks.len()])
            .map(|(_, block)| block)
            .collect();
        let committed = commit(&source, &Positions::new(), &kept);
        let (_, rest) = run(&committed, block_rows.1);
        let mut found = values(&kept);
        found.extend(values(&rest));
        found.sort();
        let mut expected = expected;
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}

fn read_one(reader: &mut dyn Reader, bounds: &BatchSettings) -> Option<Records> {
    match reader.read(bounds, Duration::ZERO).unwrap() {
        Read::Records(records) => Some(records),
        _ => None,
    }
}
