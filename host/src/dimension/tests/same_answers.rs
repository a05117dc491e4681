//! Under and over `memory`, and whatever the key: the same answers in the same Arrow types, and the right ones.

use std::collections::HashMap;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, ListArray, StructArray, TimestampMillisecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{Field, Fields, Int32Type};
use proptest::prelude::*;

use super::*;
use crate::contract::Joined;
use crate::dimension::ServedFrom;

/// Columns of every type, of as many rows as there are seeds; equal seeds give equal values.
fn column_of(kind: usize, seeds: &[Option<u8>]) -> ArrayRef {
    let numbers = || seeds.iter().map(|seed| seed.map(|seed| i64::from(seed) * 37 - 1000));
    match kind {
        0 => Arc::new(Int64Array::from_iter(numbers())),
        1 => Arc::new(StringArray::from_iter(
            seeds.iter().map(|seed| seed.map(|seed| "ab".repeat(usize::from(seed % 9)) + &seed.to_string())),
        )),
        2 => Arc::new(Int32Array::from_iter(numbers().map(|value| value.map(|value| value as i32)))),
        3 => Arc::new(Int16Array::from_iter(numbers().map(|value| value.map(|value| value as i16)))),
        4 => Arc::new(Int8Array::from_iter(seeds.iter().map(|seed| seed.map(|seed| seed.wrapping_sub(128) as i8)))),
        5 => Arc::new(BooleanArray::from_iter(seeds.iter().map(|seed| seed.map(|seed| seed % 2 == 0)))),
        6 => Arc::new(Float64Array::from_iter(numbers().map(|value| value.map(|value| value as f64 / 8.0)))),
        7 => Arc::new(Float32Array::from_iter(numbers().map(|value| value.map(|value| value as f32 / 8.0)))),
        8 => Arc::new(Date32Array::from_iter(numbers().map(|value| value.map(|value| value as i32)))),
        9 => Arc::new(TimestampMillisecondArray::from_iter(numbers()).with_timezone("UTC")),
        10 => {
            let values = Decimal128Array::from_iter(numbers().map(|value| value.map(i128::from)));
            Arc::new(values.with_precision_and_scale(12, 2).unwrap())
        }
        11 => {
            let values = seeds.iter().map(|seed| seed.map(|seed| [seed; 16]));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap())
        }
        12 => Arc::new(BinaryArray::from_iter(
            seeds.iter().map(|seed| seed.map(|seed| vec![seed; usize::from(seed.min(1 + seed % 5))])),
        )),
        13 => {
            let lists = seeds
                .iter()
                .map(|seed| seed.map(|seed| (0..seed % 4).map(move |item| (item != 1).then_some(i32::from(seed)))));
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
        }
        _ => {
            let child = column_of(1, seeds);
            let fields = Fields::from(vec![Field::new("name", DataType::Utf8, true)]);
            Arc::new(StructArray::new(fields, vec![child.clone()], child.nulls().cloned()))
        }
    }
}

const KEY_KINDS: usize = 13;
const KINDS: usize = 15;

fn parquet_table(key: &[usize], columns: &[usize], seeds: &[Vec<Option<u8>>]) -> Bench {
    let kinds = key.iter().chain(columns).copied();
    let named = kinds.zip(seeds).enumerate();
    let batch = RecordBatch::try_from_iter_with_nullable(
        named.map(|(index, (kind, seeds))| (format!("c{index}"), column_of(kind, seeds), true)),
    )
    .unwrap();
    let names: Vec<String> = (0..key.len()).map(|index| format!("c{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new("table.parquet", &names, Vec::new());
    write_parquet(bench.file(), &batch);
    bench
}

/// The answers of a table that fits its memory and of one that does not.
fn both(bench: &mut Bench, key: &[ArrayRef], columns: &[usize]) -> Joined {
    let mut answers = [(64 << 20, ServedFrom::Resident), (0, ServedFrom::RocksDb)].map(|(memory_bytes, way)| {
        bench.settings.memory_bytes = memory_bytes;
        let table = bench.open().unwrap();
        assert_eq!(table.status().served_from, way);
        let snapshot = table.snapshot();
        let joined = snapshot.lookup(key, columns).unwrap();
        for (column, index) in joined.columns.iter().zip(columns) {
            assert_eq!(Some(column.data_type()), snapshot.column_type(*index), "the type that was promised");
        }
        joined
    });
    let [resident, rocksdb] = &mut answers;
    assert_eq!(resident.found, rocksdb.found);
    for (resident, rocksdb) in resident.columns.iter().zip(&rocksdb.columns) {
        assert_eq!(resident.data_type(), rocksdb.data_type());
        assert_eq!(resident.to_data(), rocksdb.to_data());
    }
    let [resident, _] = answers;
    resident
}

fn seed() -> impl Strategy<Value = Option<u8>> {
    (0u8..60).prop_map(Some)
}

fn seed_or_null() -> impl Strategy<Value = Option<u8>> {
    prop::option::weighted(0.85, 0u8..60)
}

#[derive(Clone, Debug)]
struct Case {
    key: Vec<usize>,
    columns: Vec<usize>,
    /// For each row of the table the seeds of its key and columns.
    table: Vec<Vec<Option<u8>>>,
    /// For each row of the batch the seeds of its key.
    batch: Vec<Vec<Option<u8>>>,
}

fn case() -> impl Strategy<Value = Case> {
    let key = prop::collection::vec(0..KEY_KINDS, 1..4);
    let columns = prop::collection::vec(0..KINDS, 0..5);
    (key, columns).prop_flat_map(|(key, columns)| {
        let (keys, others) = (key.len(), columns.len());
        let row = (prop::collection::vec(seed(), keys), prop::collection::vec(seed_or_null(), others));
        let table = prop::collection::vec(row.prop_map(|(key, others)| [key, others].concat()), 1..60);
        let batch = prop::collection::vec(prop::collection::vec(seed_or_null(), keys), 0..60);
        (Just(key), Just(columns), table, batch).prop_map(|(key, columns, table, batch)| Case {
            key,
            columns,
            table,
            batch,
        })
    })
}

fn transposed(rows: &[Vec<Option<u8>>], columns: usize) -> Vec<Vec<Option<u8>>> {
    (0..columns).map(|column| rows.iter().map(|row| row[column]).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_key_and_any_column_are_answered_the_same_and_right(case in case()) {
        let keys = case.key.len();
        let mut bench = parquet_table(&case.key, &case.columns, &transposed(&case.table, keys + case.columns.len()));
        bench.settings.duplicates = Duplicates::First;
        let batch = transposed(&case.batch, keys);
        let key: Vec<ArrayRef> = case.key.iter().zip(&batch).map(|(kind, seeds)| column_of(*kind, seeds)).collect();
        let asked: Vec<usize> = (0..case.columns.len()).rev().collect();
        let joined = both(&mut bench, &key, &asked);

        // bool has two values only: keys are compared as the table compares them.
        let same = |kind: usize, seed: Option<u8>| if kind == 5 { seed.map(|seed| seed % 2) } else { seed };
        let of = |row: &[Option<u8>]| -> Vec<Option<u8>> { case.key.iter().zip(row).map(|(kind, seed)| same(*kind, *seed)).collect() };
        let mut first: HashMap<Vec<Option<u8>>, u32> = HashMap::new();
        for (row, number) in case.table.iter().zip(0..) {
            first.entry(of(&row[..keys])).or_insert(number);
        }
        let expected: Vec<Option<u32>> = case.batch.iter().map(|row| first.get(&of(row)).copied()).collect();
        prop_assert_eq!(joined.found.iter().collect::<Vec<_>>(), expected.iter().map(Option::is_some).collect::<Vec<_>>());
        let rows = UInt32Array::from(expected);
        let seeds = transposed(&case.table, keys + case.columns.len());
        for (column, index) in joined.columns.iter().zip(&asked) {
            let table = column_of(case.columns[*index], &seeds[keys + index]);
            let expected = take(&table, &rows, None).unwrap();
            let plain = cast(column, expected.data_type()).unwrap();
            prop_assert_eq!(plain.as_ref(), expected.as_ref());
        }
    }

    #[test]
    fn a_key_of_text_may_come_as_a_dictionary(rows in prop::collection::vec(prop::option::of(0i32..6), 0..40)) {
        let seeds: Vec<Option<u8>> = (0..40).map(Some).collect();
        let mut bench = parquet_table(&[1], &[1, 0], &[seeds.clone(), seeds.clone(), seeds]);
        // Code 4 is a null among the values, code 5 is not in the table.
        let values = concat(&[&column_of(1, &[Some(3), Some(0), Some(39), Some(9), None]), &(Arc::new(StringArray::from(vec!["none"])) as ArrayRef)]).unwrap();
        let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(rows), values).unwrap());
        let plain = cast(&dictionary, &DataType::Utf8).unwrap();
        let by_dictionary = both(&mut bench, &[dictionary], &[0, 1]);
        let by_text = both(&mut bench, &[plain], &[0, 1]);
        prop_assert_eq!(by_dictionary.found, by_text.found);
        for (one, other) in by_dictionary.columns.iter().zip(&by_text.columns) {
            prop_assert_eq!(one.to_data(), other.to_data());
        }
    }
}

#[test]
fn text_with_few_values_shares_one_dictionary_and_other_text_is_plain() {
    let mut bench = Bench::users();
    let rows: String = (0..5000).map(|id| format!("{id},country {},plan {id}\n", id % 300)).collect();
    bench.write(&format!("id,country,plan\n{rows}"));
    let joined = both(&mut bench, &[ids((0..4096).map(Some))], &[0, 1]);
    assert_eq!(joined.columns[0].data_type(), &crate::dimension::row::dictionary_type());
    assert_eq!(joined.columns[1].data_type(), &DataType::Utf8);
    let table = bench.open().unwrap();
    let values = || {
        let joined = table.snapshot().lookup(&[ids([Some(1), Some(4999), None])], &[0]).unwrap();
        let dictionary = joined.columns[0].as_any().downcast_ref::<DictionaryArray<Int32Type>>().unwrap().clone();
        assert_eq!(texts(&joined.columns[0]), StringArray::from(vec![Some("country 1"), Some("country 199"), None]));
        dictionary.values().clone()
    };
    assert!(Arc::ptr_eq(&values(), &values()), "one array for all batches");
}

#[test]
fn integers_of_another_width_are_taken_as_keys() {
    let mut bench = Bench::users();
    let narrow: ArrayRef = Arc::new(Int8Array::from(vec![Some(3), None, Some(-1)]));
    let joined = both(&mut bench, &[narrow], &[0]);
    assert_eq!(joined.found.iter().collect::<Vec<_>>(), [true, false, false]);
    let error = bench.open().unwrap().snapshot().lookup(&[new_null_array(&DataType::Utf8, 2)], &[0]).unwrap_err();
    assert!(error.message().contains("key column \"id\" is int64, the batch brings Utf8"), "{error}");
}

#[test]
fn many_rows_with_little_memory_to_sort_them() {
    let mut bench = Bench::users();
    let rows: String = (0..400_000_i64).map(|id| format!("{},SE,{id:060}\n", (id * 7919) % 400_000)).collect();
    bench.write(&format!("id,country,plan\n{rows}"));
    let joined = both(&mut bench, &[ids((0..400_000).step_by(997).map(Some))], &[1]);
    assert_eq!(joined.found.count_set_bits(), joined.found.len());
    let id = (0..400_000_i64).find(|id| (id * 7919) % 400_000 == 997).unwrap();
    assert_eq!(texts(&joined.columns[0]).value(1), format!("{id:060}"));
}
