//! What a lookup costs: nanoseconds a key, resident and from RocksDB, hits and misses, one million rows; and a load.
//!
//! `cargo bench --bench dimension` (rows: `MILLSTREAM_BENCH_ROWS`)
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use millstream::config::{self, Duplicates, Located};
use millstream::dimension::{Dimension, ServedFrom};

const BATCH_ROWS: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let rows = std::env::var("MILLSTREAM_BENCH_ROWS").ok().map_or(Ok(1_000_000), |rows| rows.parse::<i64>())?;
    let folder = tempfile::tempdir()?;
    println!("{rows} rows, batches of {BATCH_ROWS} random keys, two columns: text with 200 values, float64");
    for key in ["int64", "utf8"] {
        let path = folder.path().join(format!("{key}.parquet"));
        write_table(&path, key, rows)?;
        for (memory_bytes, way) in
            [(4 << 30, ServedFrom::Resident), (32 << 20, ServedFrom::RocksDb), (0, ServedFrom::RocksDb)]
        {
            let data = folder.path().join(key);
            let started = Clock::start();
            let table = Dimension::open(&settings(&path, memory_bytes), &data)?;
            let opened = started.read();
            let status = table.status();
            println!(
                "key {key}, memory {} MiB: opened in {:.2} s ({:.2} s of CPU), generation {}, {} ({} MiB)",
                memory_bytes >> 20,
                opened.0 / 1e9,
                opened.1 / 1e9,
                status.generation,
                status.served_from,
                status.resident_bytes >> 20
            );
            if status.served_from != way {
                println!("  expected {way}");
            }
            let batches = if way == ServedFrom::Resident { 1000 } else { 60 };
            for (what, shift) in [("hits", 0), ("misses", rows * 2)] {
                let keys: Vec<ArrayRef> = (0..batches).map(|batch| keys(key, batch, rows, shift)).collect();
                let mut best = (f64::MAX, f64::MAX);
                for _ in 0..3 {
                    let started = Clock::start();
                    for batch in &keys {
                        table.snapshot().lookup(std::slice::from_ref(batch), &[0, 1])?;
                    }
                    let (wall_ns, cpu_ns) = started.read();
                    let looked_up = (keys.len() * BATCH_ROWS) as f64;
                    best = (best.0.min(wall_ns / looked_up), best.1.min(cpu_ns / looked_up));
                }
                println!("  {what}: {:.1} ns a key, {:.1} ns of CPU", best.0, best.1);
            }
        }
    }
    Ok(())
}

/// Time that passed and time that this thread had a CPU: on a busy machine only the second says something.
struct Clock(Instant, f64);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), Self::cpu_ns())
    }

    /// Wall and CPU nanoseconds since the start.
    fn read(&self) -> (f64, f64) {
        (self.0.elapsed().as_nanos() as f64, Self::cpu_ns() - self.1)
    }

    /// Linux keeps it here; 0 elsewhere.
    fn cpu_ns() -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
    }
}

fn settings(path: &Path, memory_bytes: u64) -> config::Dimension {
    config::Dimension {
        name: located("users".to_owned()),
        path: located(path.to_owned()),
        key: vec![located("id".to_owned())],
        columns: Vec::new(),
        duplicates: Duplicates::Refuse,
        shrink: 0.5,
        memory_bytes,
    }
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

/// A number that looks random: splitmix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn key_column(key: &str, ids: impl Iterator<Item = i64>) -> ArrayRef {
    match key {
        "int64" => Arc::new(Int64Array::from_iter_values(ids)),
        _ => Arc::new(StringArray::from_iter_values(ids.map(|id| format!("user-{id:010}")))),
    }
}

fn keys(key: &str, batch: u64, rows: i64, shift: i64) -> ArrayRef {
    let first = batch * BATCH_ROWS as u64;
    key_column(key, (first..first + BATCH_ROWS as u64).map(|number| (mixed(number) % rows as u64) as i64 + shift))
}

fn write_table(path: &Path, key: &str, rows: i64) -> Result<(), Box<dyn Error>> {
    let columns: [(&str, ArrayRef); 4] = [
        ("id", key_column(key, 0..rows)),
        (
            "country",
            Arc::new(StringArray::from_iter_values((0..rows).map(|id| format!("country {}", mixed(id as u64) % 200)))),
        ),
        ("score", Arc::new(Float64Array::from_iter_values((0..rows).map(|id| id as f64 / 7.0)))),
        ("name", Arc::new(StringArray::from_iter_values((0..rows).map(|id| format!("name of user {id}"))))),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut writer = parquet::arrow::ArrowWriter::try_new(File::create(path)?, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}
