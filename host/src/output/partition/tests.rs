//! Folders: which rows go where, and under what name.

use std::sync::Arc;

use arrow::array::{BooleanArray, Date32Array, DictionaryArray, TimestampMillisecondArray};
use proptest::prelude::*;

use super::*;
use crate::config::Located;

fn by(column: &str, transform: PartitionTransform) -> PartitionBy {
    PartitionBy { column: Located { value: column.to_owned(), span: 0..0 }, transform }
}

fn column(name: &str, logical: &str) -> Column {
    Column { name: name.to_owned(), logical: logical.parse().unwrap(), nullable: true }
}

fn folders_of(logical: &str, transforms: &[PartitionTransform], array: ArrayRef) -> Vec<(String, usize)> {
    let partition: Vec<_> = transforms.iter().map(|transform| by("c", *transform)).collect();
    let columns = [column("c", logical)];
    let partitioner = Partitioner::new("views", &partition, &columns).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap();
    let shares = partitioner.split(&batch).unwrap();
    shares.into_iter().map(|share| (share.folders, share.rows.num_rows())).collect()
}

#[test]
fn instants_go_to_the_day_and_hour_in_utc() {
    let hour = 3_600_000;
    let start = 1_359_590_400_000; // 2013-01-31T00:00:00Z
    let times = TimestampMillisecondArray::from(vec![
        Some(start),
        Some(start + 7 * hour),
        Some(start - 1),
        None,
        Some(start + hour - 1),
        Some(-1),
        Some(i64::MAX),
    ]);
    use PartitionTransform::{Day, Hour};
    let shares = folders_of("timestamp(ms)", &[Day, Hour], Arc::new(times));
    let expected = [
        ("day=2013-01-31/hour=00", 2),
        ("day=2013-01-31/hour=07", 1),
        ("day=2013-01-30/hour=23", 1),
        ("day=__HIVE_DEFAULT_PARTITION__/hour=__HIVE_DEFAULT_PARTITION__", 2),
        ("day=1969-12-31/hour=23", 1),
    ];
    assert_eq!(shares, expected.map(|(folders, rows)| (folders.to_owned(), rows)));
}

#[test]
fn values_become_folders_as_hive_writes_them() {
    use PartitionTransform::{Day, Value};
    let texts = vec![Some("a/b=c"), None, Some(""), Some("ü ."), Some("a/b=c")];
    let expected =
        vec![("c=a%2Fb%3Dc".to_owned(), 2), ("c=__HIVE_DEFAULT_PARTITION__".to_owned(), 2), ("c=ü .".to_owned(), 1)];
    assert_eq!(folders_of("utf8", &[Value], Arc::new(StringArray::from(texts.clone()))), expected);
    let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
    assert_eq!(folders_of("utf8", &[Value], Arc::new(dictionary)), expected);
    let booleans = BooleanArray::from(vec![true, false]);
    assert_eq!(folders_of("bool", &[Value], Arc::new(booleans)), [("c=true".to_owned(), 1), ("c=false".to_owned(), 1)]);
    let dates = Date32Array::from(vec![15_736, -1]);
    let expected = [("day=2013-01-31".to_owned(), 1), ("day=1969-12-31".to_owned(), 1)];
    assert_eq!(folders_of("date", &[Day], Arc::new(dates)), expected);
}

#[test]
fn a_long_value_is_cut_and_stays_unique() {
    let long = |last: &str| format!("{}{last}", "ä/".repeat(200));
    let texts = StringArray::from(vec![long("a"), long("b")]);
    let shares = folders_of("utf8", &[PartitionTransform::Value], Arc::new(texts));
    assert_eq!(shares.len(), 2, "two values, two folders");
    assert!(shares.iter().all(|(folders, _)| folders.len() < 200), "{shares:?}");
}

#[test]
fn a_partition_that_cannot_be_is_refused() {
    use PartitionTransform::{Day, Hour, Value};
    let columns = [column("c", "timestamp(ms)"), column("d", "date"), column("f", "float64")];
    for (partition, message) in [
        (vec![by("x", Value)], "which is not one of its columns"),
        (vec![by("d", Hour)], "partitioned by hour(d), but `d` is date"),
        (vec![by("f", Day)], "partitioned by day(f), but `f` is float64"),
        (vec![by("c", Value)], "partitioned by `c`, which is timestamp(ms)"),
        (vec![by("c", Day), by("d", Day)], "two partition folders of the name `day`"),
    ] {
        let error = Partitioner::new("views", &partition, &columns).unwrap_err();
        assert!(error.message().contains(message), "{error} lacks {message}");
    }
}

#[test]
fn without_transforms_the_batch_stays_whole() {
    assert_eq!(folders_of("utf8", &[], Arc::new(StringArray::from(vec!["a", "b"]))), [(String::new(), 2)]);
}

proptest! {
    #[test]
    fn every_row_lands_once_in_its_folder_and_in_order(
        rows in prop::collection::vec((prop::option::of(0i64..8), prop::option::of("[ab/]{0,2}")), 0..60)
    ) {
        let times: TimestampMillisecondArray = rows.iter().map(|(hour, _)| hour.map(|hour| hour * 1_800_000)).collect();
        let texts: StringArray = rows.iter().map(|(_, text)| text.as_deref()).collect();
        let numbers = Int64Array::from_iter_values(0..rows.len() as i64);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("t", Arc::new(times) as ArrayRef, true),
            ("s", Arc::new(texts), true),
            ("n", Arc::new(numbers), true),
        ]).unwrap();
        let columns = [column("t", "timestamp(ms)"), column("s", "utf8"), column("n", "int64")];
        let partition = [by("t", PartitionTransform::Hour), by("s", PartitionTransform::Value)];
        let shares = Partitioner::new("o", &partition, &columns).unwrap().split(&batch).unwrap();
        let mut seen = Vec::new();
        for share in shares {
            let numbers = share.rows.column(2).as_primitive::<arrow::datatypes::Int64Type>().clone();
            prop_assert!(numbers.values().is_sorted(), "the order within a folder changed");
            for number in numbers.values() {
                let (half_hours, text) = &rows[*number as usize];
                let hour = half_hours.map_or(NO_VALUE.to_owned(), |half| format!("{:02}", half / 2));
                let text = text.as_deref().map_or(NO_VALUE.to_owned(), folder_value);
                prop_assert_eq!(&share.folders, &format!("hour={hour}/s={text}"));
                seen.push(*number);
            }
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..rows.len() as i64).collect::<Vec<_>>());
    }
}
