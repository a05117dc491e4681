//! A table's file changes while the pipeline runs.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::dimension::{Reload, ServedFrom};
use crate::error::ErrorKind;

/// Two looks: the first sees that the file changed, the second that it settled.
fn reload(table: &Dimension) -> Result<Reload> {
    assert_eq!(table.reload_if_changed().unwrap(), Reload::Changing);
    table.reload_if_changed()
}

fn rows(ids: std::ops::Range<u32>, plan: &str) -> String {
    let rows: String = ids.map(|id| format!("{id},{plan},{plan}\n")).collect();
    format!("id,country,plan\n{rows}")
}

#[test]
fn a_changed_file_is_loaded_and_old_snapshots_stay_as_they_were() {
    let bench = Bench::users();
    let table = bench.open().unwrap();
    let before = table.snapshot();
    assert_eq!(table.reload_if_changed().unwrap(), Reload::Unchanged);
    bench.replace("id,country,plan\n1,NO,free\n2,,pro\n4,FI,pro\n");
    assert_eq!(reload(&table).unwrap(), Reload::Loaded { generation: 2, rows: 3 });
    assert_eq!(users(&before, &[1, 3, 4]), ["SE/free", "DE/free", "?"]);
    assert_eq!(users(&table.snapshot(), &[1, 3, 4]), ["NO/free", "?", "FI/pro"]);
    assert_eq!((before.generation(), table.snapshot().generation()), (1, 2));
    assert_eq!(bench.lies_there(), ["generation-1", "generation-2"]);
    drop(before);
    assert_eq!(bench.lies_there(), ["generation-2"], "nobody holds the old one any more");
    assert_eq!(bench.open().unwrap().status().generation, 2);
}

#[test]
fn a_file_written_again_with_the_same_content_is_not_loaded() {
    let bench = Bench::users();
    let table = bench.open().unwrap();
    bench.replace("id,country,plan\n1,SE,free\n2,,pro\n3,DE,free\n");
    assert_eq!(reload(&table).unwrap(), Reload::Unchanged);
    assert_eq!(table.status().generation, 1);
}

#[test]
fn a_file_that_goes_on_changing_is_not_loaded() {
    let bench = Bench::users();
    let table = bench.open().unwrap();
    for rows_written in 1..5 {
        bench.write(&rows(0..rows_written, "growing"));
        assert_eq!(table.reload_if_changed().unwrap(), Reload::Changing);
    }
    assert_eq!(table.reload_if_changed().unwrap(), Reload::Loaded { generation: 2, rows: 4 });
}

#[test]
fn a_half_written_file_is_refused_once_and_the_old_generation_goes_on_serving() {
    let bench = Bench::users();
    let table = bench.open().unwrap();
    bench.replace("id,country,plan\n1,NO,free\n2,,pro\n3,F");
    let error = reload(&table).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.message().contains("users.csv:4: "), "{error}");
    assert_eq!(users(&table.snapshot(), &[1, 3]), ["SE/free", "DE/free"]);
    assert_eq!(table.status().refused, Some(error.to_string().replace("dimension \"users\": ", "")));
    assert_eq!(table.reload_if_changed().unwrap(), Reload::Unchanged, "said once");
    drop(table);

    let again = bench.open().unwrap();
    assert_eq!(users(&again.snapshot(), &[1, 3]), ["SE/free", "DE/free"]);
    assert!(again.status().refused.is_some(), "a restart does not forget it");
    bench.replace("id,country,plan\n1,NO,free\n2,,pro\n3,FI,pro\n");
    assert_eq!(reload(&again).unwrap(), Reload::Loaded { generation: 2, rows: 3 });
    assert_eq!(again.status().refused, None);
    assert_eq!(bench.lies_there(), ["generation-2"]);
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let bench = Bench::users();
    let table = bench.open().unwrap();
    fs::remove_file(bench.file()).unwrap();
    assert_eq!(table.reload_if_changed().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(users(&table.snapshot(), &[1]), ["SE/free"]);
}

#[test]
fn losing_too_many_rows_is_refused_until_it_is_allowed() {
    let mut bench = Bench::users();
    bench.write(&rows(0..10, "old"));
    let table = bench.open().unwrap();
    bench.replace(&rows(0..4, "new"));
    let error = reload(&table).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(
        error.message().ends_with("users.csv has 4 rows, the table in use has 10: fewer than `shrink = 0.5` allows"),
        "{error}"
    );
    assert!(error.way_out().unwrap().contains("shrink = 1.0"));
    assert_eq!(users(&table.snapshot(), &[0, 9]), ["old/old", "old/old"]);
    drop(table);

    assert_eq!(bench.open().unwrap().status().generation, 1, "nor does a restart take it");
    bench.settings.shrink = 1.0;
    let table = bench.open().unwrap();
    assert_eq!((table.status().generation, table.status().rows), (2, 4));
    drop(table);

    bench.settings.shrink = 0.5;
    let table = bench.open().unwrap();
    bench.replace(&rows(0..2, "half"));
    assert_eq!(reload(&table).unwrap(), Reload::Loaded { generation: 3, rows: 2 }, "exactly the share that may go");
}

#[test]
fn other_columns_need_a_restart() {
    let bench = Bench::new("users.parquet", &["id"], Vec::new());
    let one = RecordBatch::try_from_iter([("id", ids([Some(1), Some(2)]))]).unwrap();
    write_parquet(bench.file(), &one);
    let table = bench.open().unwrap();
    let two = RecordBatch::try_from_iter([("id", ids([Some(1), Some(2)])), ("visits", ids([Some(1), None]))]).unwrap();
    write_parquet(bench.file(), &two);
    let error = reload(&table).unwrap_err();
    assert!(error.message().ends_with("has other columns than the table that is in use"), "{error}");
    assert_eq!(error.way_out(), Some("restart to take the new columns over"));
    assert_eq!((table.table().columns.len(), table.status().generation), (0, 1));
    drop(table);
    let table = bench.open().unwrap();
    assert_eq!((table.table().columns.len(), table.status().generation), (1, 2));
}

#[test]
fn a_batch_sees_one_generation_while_the_table_is_reloaded() {
    let bench = Bench::users();
    bench.write(&rows(0..500, "0"));
    let table = bench.open().unwrap();
    let done = AtomicBool::new(false);
    let keys: Vec<i64> = (0..500).collect();
    std::thread::scope(|scope| {
        let lookups: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::Acquire) {
                        let snapshot = table.snapshot();
                        let answers = users(&snapshot, &keys);
                        let version = snapshot.generation() - 1;
                        assert!(
                            answers.iter().all(|answer| *answer == format!("{version}/{version}")),
                            "one generation"
                        );
                        assert!(version >= last, "never back");
                        last = version;
                    }
                })
            })
            .collect();
        for version in 1..=8 {
            bench.replace(&rows(0..500, &version.to_string()));
            let loaded = reload(&table);
            if loaded.is_err() {
                done.store(true, Ordering::Release);
            }
            assert_eq!(loaded.unwrap(), Reload::Loaded { generation: version + 1, rows: 500 });
        }
        done.store(true, Ordering::Release);
        for lookup in lookups {
            lookup.join().unwrap();
        }
    });
    assert_eq!(bench.lies_there(), ["generation-9"]);
}

#[test]
fn a_generation_that_does_not_fit_beside_the_old_one_is_served_from_rocksdb_until_it_does() {
    let mut bench = Bench::users();
    bench.write(&rows(0..1000, "a"));
    let needed = bench.open().unwrap().status().resident_bytes;
    bench.settings.memory_bytes = needed * 3 / 2;
    let table = bench.open().unwrap();
    assert_eq!(table.status().served_from, ServedFrom::Resident);
    let held = table.snapshot();
    bench.replace(&rows(0..1000, "b"));
    assert_eq!(reload(&table).unwrap(), Reload::Loaded { generation: 2, rows: 1000 });
    assert_eq!(table.status().served_from, ServedFrom::RocksDb);
    assert_eq!(users(&table.snapshot(), &[7, 1000]), ["b/b", "?"]);
    assert_eq!(table.reload_if_changed().unwrap(), Reload::Unchanged, "the old one is still held");
    drop(held);
    assert_eq!(table.reload_if_changed().unwrap(), Reload::MadeResident);
    assert_eq!(table.status().served_from, ServedFrom::Resident);
    assert_eq!(users(&table.snapshot(), &[7, 1000]), ["b/b", "?"]);
    assert!(table.status().memory_bytes <= bench.settings.memory_bytes);
}
