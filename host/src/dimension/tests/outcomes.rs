//! What becomes of files that are not as they should be: one outcome each, as docs/dimensions.md states it.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use millstream_sdk::LogicalType;

use super::*;
use crate::dimension::{ServedFrom, describe};
use crate::error::ErrorKind;

#[test]
fn a_key_that_stands_twice_is_refused_by_name() {
    let bench = Bench::users();
    bench.write("id,country,plan\n7,SE,free\n1,,pro\n7,DE,free\n1,,pro\n7,,pro\n");
    let error = bench.refused();
    assert_eq!(error.kind(), ErrorKind::Input);
    let keys = "3 rows have a key that stands there already: 1 (rows 2 and 4), 7 (rows 1 and 3), 7 (rows 1 and 5)";
    assert_eq!(error.message(), format!("dimension \"users\": {}: {keys}", bench.file().display()));
    assert!(bench.lies_there().is_empty(), "nothing is left of a refused load");
}

#[test]
fn the_first_or_the_last_row_of_a_key_counts_if_that_is_wanted() {
    for (duplicates, expected) in [(Duplicates::First, "SE/free"), (Duplicates::Last, "-/pro")] {
        let mut bench = Bench::users();
        bench.settings.duplicates = duplicates;
        bench.write("id,country,plan\n7,SE,free\n7,DE,free\n1,,pro\n7,,pro\n");
        let table = bench.open().unwrap();
        assert_eq!(users(&table.snapshot(), &[7, 1]), [expected, "-/pro"]);
        assert_eq!((table.status().rows, table.status().duplicate_rows), (2, 2));
    }
}

#[test]
fn a_null_in_the_key_is_refused_with_count_and_row() {
    let bench = Bench::users();
    bench.write("id,country,plan\n1,SE,free\n,DE,free\n2,DE,free\n,SE,pro\n");
    let error = bench.refused();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.message().ends_with("users.csv: 2 rows have a null in the key, the first is row 2"), "{error}");
}

#[test]
fn a_bad_row_refuses_the_whole_file_and_is_named() {
    let bench = Bench::users();
    bench.write("id,country,plan\n1,SE,free\n\ntwo,DE,free\n");
    let error = bench.refused();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.message().contains("users.csv:4: "), "{error}");
}

#[test]
fn a_missing_file_is_a_clear_error() {
    let bench = Bench::users();
    fs::remove_file(bench.file()).unwrap();
    let error = bench.refused();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().ends_with("users.csv is not there"), "{error}");
}

#[test]
fn truncated_files_are_refused() {
    let rows: String =
        (0..2000).map(|id| format!("{{\"id\":{id},\"country\":\"SE\",\"plan\":\"plan {id}\"}}\n")).collect();
    let columns = || vec![column("id", "int64"), column("country", "utf8?"), column("plan", "utf8")];
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(rows.as_bytes()).unwrap();
    let parquet = Bench::new("users.parquet", &["id"], Vec::new());
    let batch = RecordBatch::try_from_iter([("id", ids((0..2000).map(Some)))]).unwrap();
    write_parquet(parquet.file(), &batch);
    let files = [
        (Bench::new("users.jsonl", &["id"], columns()), rows.clone().into_bytes()),
        (Bench::new("users.jsonl.gz", &["id"], columns()), gz.finish().unwrap()),
        (Bench::new("users.jsonl.zst", &["id"], columns()), zstd::encode_all(rows.as_bytes(), 1).unwrap()),
        (Bench::new("users.parquet", &["id"], Vec::new()), fs::read(parquet.file()).unwrap()),
    ];
    for (bench, bytes) in files {
        fs::write(bench.file(), &bytes).unwrap();
        assert_eq!(bench.open().unwrap().status().rows, 2000);
        fs::write(bench.file(), &bytes[..bytes.len() - 7]).unwrap();
        fs::remove_dir_all(bench.data()).unwrap();
        assert_eq!(bench.refused().kind(), ErrorKind::Input, "{}", bench.file().display());
    }
}

#[test]
fn a_parquet_file_brings_its_own_types_and_may_be_asked_for_some() {
    let mut bench = Bench::new("users.parquet", &["id"], Vec::new());
    let columns: [(&str, ArrayRef); 3] = [
        ("plan", Arc::new(StringArray::from(vec![Some("free"), None]))),
        ("id", Arc::new(UInt32Array::from(vec![1, 2]))),
        ("visits", Arc::new(Int64Array::from(vec![10, 20]))),
    ];
    write_parquet(bench.file(), &RecordBatch::try_from_iter(columns).unwrap());
    let table = describe(&bench.settings).unwrap();
    assert_eq!((table.key[0].name.as_str(), &table.key[0].logical), ("id", &LogicalType::Int64));
    assert_eq!(table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["plan", "visits"]);
    bench.settings.columns = vec![column("visits", "int64"), column("id", "int64")];
    let dimension = bench.open().unwrap();
    let joined = dimension.snapshot().lookup(&[ids([Some(2)])], &[0]).unwrap();
    assert_eq!(joined.columns[0].as_ref(), &Int64Array::from(vec![20]) as &dyn Array);

    bench.settings.columns[0] = column("visits", "int32");
    assert!(bench.refused().message().contains("is int64, the pipeline file says int32"));
    bench.settings.columns[0] = column("plan", "utf8");
    assert!(bench.refused().message().ends_with("row 2: column \"plan\" is null"));
    bench.settings.columns[0] = column("country", "utf8");
    assert!(bench.refused().message().ends_with("users.parquet has no column \"country\""));
}

#[test]
fn wrong_settings_say_what_is_wrong() {
    let mut bench = Bench::users();
    bench.settings.key[0].value = "user".to_owned();
    let error = describe(&bench.settings).unwrap_err();
    assert_eq!(error.message(), "dimension \"users\": key column \"user\" is not among the table's columns");
    assert_eq!(error.way_out(), Some("the columns are id, country, plan"));
    bench.settings.key = vec![located("tags".to_owned())];
    bench.settings.columns.push(column("tags", "list<utf8>"));
    let error = describe(&bench.settings).unwrap_err();
    assert_eq!(error.message(), "dimension \"users\": column \"tags\" is list<utf8>, which cannot be a key");
    bench.settings.columns.clear();
    assert_eq!(describe(&bench.settings).unwrap_err().message(), "dimension \"users\": `columns` is missing");
    bench.settings.path.value = "users.xlsx".into();
    assert!(describe(&bench.settings).unwrap_err().message().contains("is no table's file by its name"));
}

#[test]
fn an_empty_table_finds_nothing() {
    let bench = Bench::users();
    bench.write("id,country,plan\n");
    let table = bench.open().unwrap();
    assert_eq!(users(&table.snapshot(), &[1, 2]), ["?", "?"]);
    assert_eq!(table.status().rows, 0);
}

#[test]
fn a_restart_with_the_same_file_loads_nothing() {
    let bench = Bench::users();
    assert_eq!(bench.open().unwrap().status().generation, 1);
    assert_eq!(bench.open().unwrap().status().generation, 1);
    // Written again with the same content: the digest says so.
    bench.replace("id,country,plan\n1,SE,free\n2,,pro\n3,DE,free\n");
    assert_eq!(bench.open().unwrap().status().generation, 1);
    bench.replace("id,country,plan\n1,SE,free\n2,,pro\n3,DK,free\n");
    let table = bench.open().unwrap();
    assert_eq!((table.status().generation, users(&table.snapshot(), &[3])), (2, vec!["DK/free".to_owned()]));
    assert_eq!(bench.lies_there(), ["generation-2"]);
}

#[test]
fn changed_settings_load_the_file_anew() {
    let mut bench = Bench::users();
    bench.open().unwrap();
    bench.settings.columns.pop();
    let table = bench.open().unwrap();
    assert_eq!((table.status().generation, table.table().columns.len()), (2, 1));
}

#[test]
fn a_flipped_bit_in_any_file_of_a_generation_is_found_and_the_table_is_loaded_anew() {
    let bench = Bench::users();
    bench.open().unwrap();
    let mut generation = 1;
    loop {
        let folder = bench.data().join(format!("generation-{generation}"));
        let store = fs::read_dir(folder.join("rocksdb")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = store.filter(|path| is_checked(path)).collect();
        files.push(folder.join("manifest.json"));
        files.sort();
        let Some(file) = files.get(generation as usize - 1) else { break };
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(file, bytes).unwrap();
        let table = bench.open().unwrap();
        generation += 1;
        assert_eq!(table.status().generation, generation, "{} was changed", file.display());
        assert_eq!(users(&table.snapshot(), &[1, 2, 3]), ["SE/free", "-/pro", "DE/free"]);
        assert_eq!(bench.lies_there(), [format!("generation-{generation}")]);
    }
    assert!(generation >= 4, "manifest, RocksDB's own and at least one SST file were changed");
}

fn is_checked(path: &Path) -> bool {
    path.file_name().is_some_and(|name| crate::dimension::store::is_content(&name.to_string_lossy()))
}

#[test]
fn what_is_left_of_a_load_that_crashed_goes_at_the_next_open() {
    let bench = Bench::users();
    bench.open().unwrap();
    let left = bench.data().join("loading-2/rocksdb");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("sorted-000000.sst"), "half").unwrap();
    let table = bench.open().unwrap();
    assert_eq!(users(&table.snapshot(), &[1]), ["SE/free"]);
    assert_eq!(bench.lies_there(), ["generation-1"]);
}

#[test]
fn the_status_names_the_way_of_answering_and_counts_it() {
    let mut bench = Bench::users();
    for (memory_bytes, way) in [(64 << 20, ServedFrom::Resident), (0, ServedFrom::RocksDb)] {
        bench.settings.memory_bytes = memory_bytes;
        let table = bench.open().unwrap();
        users(&table.snapshot(), &[1, 2, 9, 1]);
        let status = table.status();
        let (used, other) = match way {
            ServedFrom::Resident => (status.resident, status.rocksdb),
            ServedFrom::RocksDb => (status.rocksdb, status.resident),
        };
        assert_eq!(status.served_from, way);
        assert_eq!((used.batches, used.keys, used.found), (1, 4, 3));
        assert_eq!(other.batches, 0);
    }
}
