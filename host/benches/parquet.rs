//! What a row costs on its way into Parquet: `cargo bench --bench parquet`.
//!
//! Rows like those of examples/clicks: 17 columns, some text from dimensions as dictionaries. The default properties of
//! arrow-rs stand beside ours, then the writer as a whole with spool and commit, in one run.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::Int32Type;
use millstream::config::{Compression, Located, ParquetOutput, PartitionBy, PartitionTransform};
use millstream::disk::{Disk, RealDisk};
use millstream::output::{Closing, Limits, ParquetWriter, Place};
use millstream::schema::{Column, logical_type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::WriterProperties;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: i64 = 4_096;

fn mix(value: i64) -> u64 {
    let mut z = (value as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `kinds` values in a dictionary of their own for each batch, or plain.
fn text(ids: &[i64], salt: i64, kinds: u64, name: &str, coded: bool) -> ArrayRef {
    let value = |id: &i64| format!("{name}-{}", mix(id + salt) % kinds);
    if coded {
        let values: Vec<String> = ids.iter().map(value).collect();
        return Arc::new(values.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>());
    }
    Arc::new(ids.iter().map(|id| Some(value(id))).collect::<StringArray>())
}

fn clicks(first: i64) -> RecordBatch {
    let ids: Vec<i64> = (first..first + BATCH_ROWS).collect();
    let number = |salt: i64, below: u64| ids.iter().map(move |id| (mix(id + salt) % below) as i64);
    let start = 1_359_590_400_000;
    let ts = ids.iter().map(|id| start + id / 2 + (mix(*id) % 1_000) as i64);
    let event_id: StringArray = ids.iter().map(|id| Some(format!("{:016x}{:016x}", mix(*id), mix(!*id)))).collect();
    let path: StringArray =
        ids.iter().map(|id| Some(format!("/shop/{}/item/{}", mix(*id) % 300, mix(id + 1) % 100_000))).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_id", Arc::new(event_id)),
        ("ts", Arc::new(TimestampMillisecondArray::from_iter_values(ts).with_timezone("UTC"))),
        ("user_id", Arc::new(Int64Array::from_iter_values(number(1, 1_000_000)))),
        ("session_id", Arc::new(Int64Array::from_iter_values(number(2, 1 << 40)))),
        ("host", text(&ids, 3, 1_000, "www.example", false)),
        ("path", Arc::new(path)),
        ("referrer", text(&ids, 4, 20_000, "https://search.example/page", false)),
        ("device_id", Arc::new(Int64Array::from_iter_values(number(5, 1_000_000)))),
        ("status", Arc::new(Int32Array::from_iter_values(number(6, 5).map(|number| number as i32 * 100)))),
        ("duration_ms", Arc::new(Int32Array::from_iter_values(number(7, 30_000).map(|number| number as i32)))),
        ("amount", Arc::new(Float64Array::from_iter_values(number(8, 100_000).map(|number| number as f64 / 100.0)))),
        ("country", text(&ids, 9, 200, "country", true)),
        ("plan", text(&ids, 10, 4, "plan", true)),
        ("category", text(&ids, 11, 500, "category", true)),
        ("title", text(&ids, 12, 100_000, "title of a page", true)),
        ("os", text(&ids, 13, 12, "os", true)),
        ("browser", text(&ids, 14, 40, "browser", true)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn columns(batch: &RecordBatch) -> Vec<Column> {
    let schema = batch.schema();
    let column = |field: &Arc<arrow::datatypes::Field>| Column {
        name: field.name().clone(),
        logical: logical_type(field.data_type()).unwrap(),
        nullable: true,
    };
    schema.fields().iter().map(column).collect()
}

fn report(what: &str, rows: u64, taken: Duration, bytes: u64) {
    let ns = taken.as_nanos() as f64 / rows as f64;
    println!("{what:<44} {ns:>7.0} ns a row {:>7.1} bytes a row", bytes as f64 / rows as f64);
}

fn arrow_writer(what: &str, batches: &[RecordBatch], columns: &[Column], properties: WriterProperties) {
    let fields: Vec<_> = columns.iter().map(Column::arrow_field).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let start = Instant::now();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    let bytes = writer.into_inner().unwrap().len() as u64;
    report(what, rows_of(batches), start.elapsed(), bytes);
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

fn whole_writer(what: &str, batches: &[RecordBatch], columns: &[Column], partition: bool, epoch_batches: usize) {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let by = |transform| PartitionBy { column: Located { value: "ts".to_owned(), span: 0..0 }, transform };
    let settings = ParquetOutput {
        path: folder.path().to_owned(),
        partition: if partition { vec![by(PartitionTransform::Day), by(PartitionTransform::Hour)] } else { Vec::new() },
        target_file_bytes: 128 << 20,
        max_age: Duration::from_secs(3_600),
        compression: Compression::Zstd(1),
    };
    let place = Place {
        output: "views".to_owned(),
        lake: folder.path().to_owned(),
        staging: folder.path().join(".staging"),
        host: "bench".to_owned(),
        incarnation: 1,
        worker: 0,
    };
    let start = Instant::now();
    let mut writer = ParquetWriter::new(place, &settings, columns, Limits::default(), 1, disk.clone()).unwrap();
    let (mut spooled, mut bytes, mut memory, mut preparing) = (0, 0, 0, Duration::ZERO);
    for epoch in batches.chunks(epoch_batches) {
        for batch in epoch {
            writer.write(batch, 0).unwrap();
            memory = memory.max(writer.memory_bytes());
        }
        let before = Instant::now();
        let token = writer.prepare(0, Closing::Due).unwrap();
        preparing += before.elapsed();
        let segments: std::collections::BTreeSet<_> =
            token.open.iter().flat_map(|file| &file.parts).map(|part| &part.segment).collect();
        spooled += segments.iter().filter_map(|path| disk.size_bytes(path).unwrap()).sum::<u64>();
        bytes += token.full.iter().map(|file| file.bytes).sum::<u64>();
        token.obsolete.iter().for_each(|path| disk.remove(path).unwrap());
    }
    let token = writer.prepare(0, Closing::All).unwrap();
    bytes += token.tails.iter().chain(&token.full).map(|file| file.bytes).sum::<u64>();
    report(what, rows_of(batches), start.elapsed(), bytes);
    let rows = rows_of(batches);
    println!(
        "    of it prepare {:.0} ns a row, spool {:.1} bytes a row, at most {} MiB in memory",
        preparing.as_nanos() as f64 / rows as f64,
        spooled as f64 / rows as f64,
        memory >> 20
    );
}

fn main() {
    let count: i64 = std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let batches: Vec<RecordBatch> = (0..count / BATCH_ROWS).map(|index| clicks(index * BATCH_ROWS)).collect();
    let columns = columns(&batches[0]);
    let zstd = || WriterProperties::builder().set_compression(Codec::ZSTD(ZstdLevel::try_new(1).unwrap()));
    for _ in 0..2 {
        arrow_writer("arrow-rs, default properties, zstd(1)", &batches, &columns, zstd().build());
        whole_writer("this writer, one epoch, one file", &batches, &columns, false, usize::MAX);
        whole_writer("this writer, hours, an epoch every 25 batches", &batches, &columns, true, 25);
        whole_writer("this writer, hours, an epoch every 2 batches", &batches, &columns, true, 2);
    }
}
