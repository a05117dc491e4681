//! Both ways, by type; whatever a plugin makes up is refused with its place, and never panics.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Int32Array, ListArray, StringArray, StructArray, new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use millstream_sdk::{LogicalType, Nested, TimeUnit};
use proptest::prelude::*;

use super::super::bindings::columns::{ColumnResult, DictionaryResult, NodeResult, ValuesResult, VarlenResult};
use super::{lift, lower};
use crate::schema::{Column, arrow_type};

fn column(type_text: &str) -> Column {
    let nested: Nested = type_text.parse().expect(type_text);
    Column { name: "x".to_owned(), logical: nested.logical, nullable: nested.nullable }
}

/// Over the boundary and back.
fn there_and_back(array: &ArrayRef, column: &Column) -> ArrayRef {
    let lowered = lower(array, column).expect("it is of the type").into_column();
    lift(lowered, column, array.len()).expect("what the host lowers it can lift")
}

fn same(back: &ArrayRef, array: &ArrayRef) {
    // What lies under nulls and in unused dictionary values may differ; what rows hold may not.
    let plain = |array: &ArrayRef| match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values).unwrap(),
        _ => array.clone(),
    };
    assert_eq!(plain(back).to_data(), plain(array).to_data());
}

/// Some rows of every type, with nulls where the type has them.
pub fn examples() -> Vec<(&'static str, ArrayRef)> {
    let nulls = NullBuffer::from(vec![true, false, true, true, false]);
    let text = || StringArray::from(vec![Some("grüß"), None, Some(""), Some("dich"), None]);
    let item = |type_text: &str| match arrow_type(&type_text.parse::<LogicalType>().unwrap()) {
        DataType::List(item) => item,
        other => panic!("{other}"),
    };
    let fields = |type_text: &str| match arrow_type(&type_text.parse::<LogicalType>().unwrap()) {
        DataType::Struct(fields) => fields,
        other => panic!("{other}"),
    };
    let list = |type_text: &str, lengths: [usize; 5], values: ArrayRef| -> ArrayRef {
        Arc::new(ListArray::new(item(type_text), OffsetBuffer::from_lengths(lengths), values, Some(nulls.clone())))
    };
    fn numbers<T: arrow::datatypes::ArrowPrimitiveType>(values: [T::Native; 3]) -> arrow::array::PrimitiveArray<T> {
        arrow::array::PrimitiveArray::from_iter([Some(values[0]), None, Some(values[1]), Some(values[2]), None])
    }
    let ints: ArrayRef = Arc::new(numbers::<Int32Type>([1, 2, 3]));
    vec![
        ("bool?", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None]))),
        ("int8?", Arc::new(numbers::<Int8Type>([i8::MIN, 0, i8::MAX]))),
        ("int16?", Arc::new(numbers::<Int16Type>([i16::MIN, 0, i16::MAX]))),
        ("int32?", ints.clone()),
        ("int64?", Arc::new(numbers::<Int64Type>([i64::MIN, 0, i64::MAX]))),
        ("float32?", Arc::new(numbers::<Float32Type>([f32::MIN, -0.0, f32::INFINITY]))),
        ("float64?", Arc::new(numbers::<Float64Type>([f64::MIN_POSITIVE, -0.0, f64::NEG_INFINITY]))),
        (
            "decimal(38,10)?",
            Arc::new(
                Decimal128Array::from(vec![Some(10i128.pow(38) - 1), None, Some(-1), Some(0), None])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        ("utf8?", Arc::new(text())),
        ("utf8?", Arc::new(text().iter().collect::<DictionaryArray<Int32Type>>())),
        ("binary?", Arc::new(BinaryArray::from(vec![Some(&b"\xff\0"[..]), None, Some(b""), Some(b"abc"), None]))),
        (
            "uuid?",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1u8; 16]), None, Some([2; 16]), Some([0xff; 16]), None].into_iter(),
                    16,
                )
                .unwrap(),
            ),
        ),
        ("date?", Arc::new(numbers::<Date32Type>([i32::MIN, 0, i32::MAX]))),
        ("timestamp(s)?", Arc::new(numbers::<TimestampSecondType>([1, 2, 3]).with_timezone("UTC"))),
        ("timestamp(ms)?", Arc::new(numbers::<TimestampMillisecondType>([1, 2, 3]).with_timezone("UTC"))),
        ("timestamp(us)?", Arc::new(numbers::<TimestampMicrosecondType>([1, 2, 3]).with_timezone("UTC"))),
        ("timestamp(ns)?", Arc::new(numbers::<TimestampNanosecondType>([1, 2, 3]).with_timezone("UTC"))),
        ("list<int32?>?", list("list<int32?>", [2, 0, 0, 3, 0], ints.clone())),
        ("list<utf8?>?", list("list<utf8?>", [1, 0, 2, 2, 0], Arc::new(text()))),
        (
            "struct<a: int32?, b: utf8?>?",
            Arc::new(StructArray::new(
                fields("struct<a: int32?, b: utf8?>"),
                vec![ints.clone(), Arc::new(text())],
                Some(nulls.clone()),
            )),
        ),
        (
            "struct<a: struct<b: int32>>?",
            Arc::new(StructArray::new(
                fields("struct<a: struct<b: int32>>"),
                vec![Arc::new(StructArray::new(
                    fields("struct<b: int32>"),
                    vec![Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5]))],
                    Some(nulls.clone()),
                ))],
                Some(nulls.clone()),
            )),
        ),
        (
            "list<struct<a: int32?, b: list<utf8?>?>>?",
            list(
                "list<struct<a: int32?, b: list<utf8?>?>>",
                [3, 0, 1, 1, 0],
                Arc::new(StructArray::new(
                    fields("struct<a: int32?, b: list<utf8?>?>"),
                    vec![ints, list("list<utf8?>", [0, 0, 4, 1, 0], Arc::new(text()))],
                    None,
                )),
            ),
        ),
    ]
}

#[test]
fn every_type_crosses_both_ways() {
    for (type_text, array) in examples() {
        let column = column(type_text);
        assert_eq!(crate::schema::logical_type(array.data_type()), Some(column.logical.clone()), "{type_text}");
        let back = there_and_back(&array, &column);
        assert_eq!(back.data_type(), array.data_type());
        same(&back, &array);
    }
}

#[test]
fn slices_cross_as_what_they_hold() {
    for (type_text, array) in examples() {
        let column = column(type_text);
        // 15 rows, so that bitmaps are cut within bytes and beyond the first.
        let long = concat(&[&array, &array, &array]).unwrap();
        for start in 0..=long.len() {
            for length in 0..=long.len() - start {
                let slice = long.slice(start, length);
                same(&there_and_back(&slice, &column), &slice);
            }
        }
    }
}

#[test]
fn no_rows_are_a_column_too() {
    for (type_text, _) in examples() {
        let column = column(type_text);
        let empty = new_empty_array(&arrow_type(&column.logical));
        same(&there_and_back(&empty, &column), &empty);
    }
}

#[test]
fn a_dictionary_stays_one_while_it_is_worth_it() {
    let column = column("utf8?");
    let values: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let dictionary = |codes: Vec<Option<i32>>| -> ArrayRef {
        Arc::new(DictionaryArray::new(Int32Array::from(codes), values.clone()))
    };
    let is_dictionary = |array: &ArrayRef| matches!(array.data_type(), DataType::Dictionary(..));
    let worth = dictionary(vec![Some(2), None, Some(0), Some(2)]);
    assert!(is_dictionary(&there_and_back(&worth, &column)));
    let scarce = dictionary(vec![Some(2), None]);
    let back = there_and_back(&scarce, &column);
    assert!(!is_dictionary(&back));
    same(&back, &scarce);
    let null_value: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let with_null: ArrayRef = Arc::new(DictionaryArray::new(Int32Array::from(vec![0, 1, 0]), null_value));
    assert_eq!(there_and_back(&with_null, &column).null_count(), 1);
    let all_null: ArrayRef = Arc::new(DictionaryArray::new(
        Int32Array::from(vec![None::<i32>, None]),
        Arc::new(StringArray::from(Vec::<&str>::new())),
    ));
    assert_eq!(there_and_back(&all_null, &column).null_count(), 2);
}

#[test]
fn buffers_are_shared_where_layouts_agree() {
    let array: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..1_000));
    let lowered = lower(&array, &column("int64")).unwrap();
    let nodes = lowered.nodes();
    let super::super::bindings::columns::ValuesParam::Int64(values) = nodes[0].values else { panic!("{nodes:?}") };
    assert_eq!(values.as_ptr().cast::<u8>(), array.to_data().buffers()[0].as_ptr());
}

#[test]
fn a_column_of_another_type_is_the_hosts_fault() {
    let array: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let error = lower(&array, &column("list<int64>")).unwrap_err();
    assert_eq!(error.message(), "column \"x\" is Boolean in memory, but list<int64> was planned");
    let large = cast(&(Arc::new(StringArray::from(vec!["a"])) as ArrayRef), &DataType::LargeUtf8).unwrap();
    assert_eq!(there_and_back(&large, &column("utf8")).data_type(), &DataType::Utf8);
}

fn node(values: ValuesResult) -> ColumnResult {
    ColumnResult { nodes: vec![NodeResult { validity: vec![], values }] }
}

fn varlen(offsets: &[u32], data: &[u8]) -> VarlenResult {
    VarlenResult { offsets: offsets.to_vec(), data: data.to_vec() }
}

fn wrong(type_text: &str, given: ColumnResult, rows: usize) -> String {
    lift(given, &column(type_text), rows).unwrap_err()
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    use ValuesResult as V;
    let cases: Vec<(&str, ColumnResult, &str)> = vec![
        ("int64", node(V::Int64(vec![0])), "column \"x\": node 0 (x): the column holds 1 values, but 2 rows need 2"),
        ("int64", node(V::Int32(vec![0, 0])), "column \"x\": node 0 (x): its values are not in the layout of int64"),
        ("bool", node(V::Bits(vec![0, 0])), "column \"x\": node 0 (x): bits holds 2 bytes, but 2 rows need 1"),
        ("uuid", node(V::Fixed(vec![0; 31])), "column \"x\": node 0 (x): fixed holds 31 bytes, but 2 rows need 32"),
        (
            "decimal(4,2)",
            node(V::Fixed([1i128, 10_000].iter().flat_map(|v| v.to_le_bytes()).collect())),
            "column \"x\": node 0 (x): row 1 has more than the 4 digits of decimal(4,2)",
        ),
        (
            "utf8",
            node(V::Varlen(varlen(&[0, 2, 1], b"ab"))),
            "column \"x\": node 0 (x): offsets descend from 2 to 1 at row 1",
        ),
        (
            "utf8",
            node(V::Varlen(varlen(&[0, 1, 3], b"ab"))),
            "column \"x\": node 0 (x): offsets end at 3, but there are 2 bytes",
        ),
        (
            "binary",
            node(V::Varlen(varlen(&[0, 1], b"ab"))),
            "column \"x\": node 0 (x): offsets holds 2 entries, but 2 rows need 3",
        ),
        ("utf8", node(V::Varlen(varlen(&[0, 1, 2], b"a\xff"))), "column \"x\": node 0 (x): row 1 is not UTF-8"),
        ("utf8", node(V::Varlen(varlen(&[0, 1, 2], "é".as_bytes()))), "column \"x\": node 0 (x): row 0 is not UTF-8"),
        (
            "utf8",
            node(V::Dictionary(DictionaryResult { codes: vec![0, 1], values: varlen(&[0, 1], b"a") })),
            "column \"x\": node 0 (x): row 1 has code 1, but the dictionary holds 1 values",
        ),
        (
            "utf8",
            node(V::Dictionary(DictionaryResult { codes: vec![0, 0], values: varlen(&[0, 1], b"\xff") })),
            "column \"x\": node 0 (x): in the dictionary: row 0 is not UTF-8",
        ),
        ("list<int64>", node(V::Offsets(vec![0, 1, 2])), "column \"x\": it has 1 nodes, but there is none for x.item"),
        ("struct<a: int64>", node(V::None), "column \"x\": it has 1 nodes, but there is none for x.a"),
        ("int64", ColumnResult { nodes: vec![] }, "column \"x\": it has 0 nodes, but there is none for x"),
        (
            "int64",
            ColumnResult { nodes: vec![NodeResult { validity: vec![], values: V::Int64(vec![0, 0]) }; 2] },
            "column \"x\" has 2 nodes, but int64 needs 1",
        ),
        (
            "int64",
            ColumnResult { nodes: vec![NodeResult { validity: vec![1], values: V::Int64(vec![0, 0]) }] },
            "column \"x\": node 0 (x): row 1 is null, but the column is not nullable",
        ),
        (
            "int64?",
            ColumnResult { nodes: vec![NodeResult { validity: vec![1, 1], values: V::Int64(vec![0, 0]) }] },
            "column \"x\": node 0 (x): validity holds 2 bytes, but 2 rows need 1",
        ),
        (
            "list<struct<a: int64>>",
            ColumnResult {
                nodes: vec![
                    NodeResult { validity: vec![], values: V::Offsets(vec![0, 1, 3]) },
                    NodeResult { validity: vec![], values: V::None },
                    NodeResult { validity: vec![0b101], values: V::Int64(vec![0; 3]) },
                ],
            },
            "column \"x\": node 2 (x.item.a): row 1 is null, but the column is not nullable",
        ),
    ];
    for (type_text, given, message) in cases {
        assert_eq!(wrong(type_text, given, 2), message);
    }
}

#[test]
fn text_below_a_struct_or_a_list_may_come_as_a_dictionary() {
    let words =
        || ValuesResult::Dictionary(DictionaryResult { codes: vec![1, 0, 1], values: varlen(&[0, 1, 3], b"abc") });
    let child = || NodeResult { validity: vec![], values: words() };
    for (type_text, values) in
        [("struct<a: utf8>", ValuesResult::None), ("list<utf8>", ValuesResult::Offsets(vec![0, 1, 2, 3]))]
    {
        let given = ColumnResult { nodes: vec![NodeResult { validity: vec![], values }, child()] };
        let array = lift(given, &column(type_text), 3).unwrap();
        assert_eq!(*array.data_type(), arrow_type(&column(type_text).logical));
        let below = array.as_list_opt::<i32>().map_or_else(|| array.as_struct().column(0), |list| list.values());
        assert_eq!(below.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["bc", "a", "bc"]);
    }
}

#[test]
fn a_null_row_may_hold_anything() {
    let null_second = |values| ColumnResult { nodes: vec![NodeResult { validity: vec![0b01], values }] };
    let codes = DictionaryResult { codes: vec![0, 77], values: varlen(&[0, 1], b"a") };
    let text = lift(null_second(ValuesResult::Dictionary(codes)), &column("utf8?"), 2).unwrap();
    assert_eq!(take(&text, &Int32Array::from(vec![1, 0]), None).unwrap().null_count(), 1);
    let digits = [1i128, i128::MAX].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(lift(null_second(ValuesResult::Fixed(digits)), &column("decimal(4,2)?"), 2).is_ok());
}

fn logical_types() -> impl Strategy<Value = Nested> {
    let flat = prop::sample::select(vec![
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal(5,2)",
        "utf8",
        "binary",
        "uuid",
        "date",
        "timestamp(ms)",
    ]);
    let flat = flat.prop_map(|text| text.parse::<LogicalType>().unwrap());
    let logical = flat.prop_recursive(3, 8, 3, |inner| {
        let nested = (inner, any::<bool>()).prop_map(|(logical, nullable)| Nested { logical, nullable });
        prop_oneof![
            nested.clone().prop_map(|item| LogicalType::List(Box::new(item))),
            prop::collection::vec(nested, 1..3).prop_map(|fields| LogicalType::Struct(
                fields.into_iter().enumerate().map(|(n, field)| (format!("f{n}"), field)).collect()
            )),
        ]
    });
    (logical, any::<bool>()).prop_map(|(logical, nullable)| Nested { logical, nullable })
}

/// An array of a type, made from a stream of bytes.
fn array_of(nested: &Nested, rows: usize, seed: &mut impl FnMut() -> u8) -> ArrayRef {
    let nulls = nested.nullable.then(|| NullBuffer::from_iter((0..rows).map(|_| !seed().is_multiple_of(4))));
    fn numbers<T: arrow::datatypes::ArrowPrimitiveType>(
        rows: usize,
        nulls: Option<NullBuffer>,
        mut next: impl FnMut() -> T::Native,
    ) -> arrow::array::PrimitiveArray<T> {
        arrow::array::PrimitiveArray::new((0..rows).map(|_| next()).collect(), nulls)
    }
    match &nested.logical {
        LogicalType::Bool => Arc::new(BooleanArray::new((0..rows).map(|_| seed().is_multiple_of(2)).collect(), nulls)),
        LogicalType::Int8 => Arc::new(numbers::<Int8Type>(rows, nulls, || seed() as i8)),
        LogicalType::Int16 => Arc::new(numbers::<Int16Type>(rows, nulls, || i16::from(seed()))),
        LogicalType::Int32 => Arc::new(numbers::<Int32Type>(rows, nulls, || -i32::from(seed()))),
        LogicalType::Int64 => Arc::new(numbers::<Int64Type>(rows, nulls, || i64::from(seed()) << 40)),
        LogicalType::Float32 => Arc::new(numbers::<Float32Type>(rows, nulls, || f32::from(seed()))),
        LogicalType::Float64 => Arc::new(numbers::<Float64Type>(rows, nulls, || f64::from(seed()) / 7.0)),
        LogicalType::Decimal { precision, scale } => Arc::new(
            numbers::<arrow::datatypes::Decimal128Type>(rows, nulls, || i128::from(seed()))
                .with_precision_and_scale(*precision, *scale as i8)
                .unwrap(),
        ),
        LogicalType::Utf8 | LogicalType::Binary => {
            let texts = ["", "a", "grüß dich", "日本", "long enough to matter"];
            let lengths: Vec<usize> = (0..rows).map(|_| usize::from(seed()) % texts.len()).collect();
            let text: String = lengths.iter().map(|text| texts[*text]).collect();
            let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|text| texts[*text].len()));
            let text = StringArray::new(offsets, text.into_bytes().into(), nulls);
            match nested.logical {
                LogicalType::Binary => Arc::new(BinaryArray::from(text)),
                _ if seed().is_multiple_of(2) => Arc::new(text.iter().collect::<DictionaryArray<Int32Type>>()),
                _ => Arc::new(text),
            }
        }
        LogicalType::Uuid => {
            Arc::new(FixedSizeBinaryArray::new(16, (0..16 * rows).map(|_| seed()).collect::<Vec<_>>().into(), nulls))
        }
        LogicalType::Date => Arc::new(numbers::<Date32Type>(rows, nulls, || i32::from(seed()))),
        LogicalType::Timestamp(TimeUnit::Millisecond) => {
            Arc::new(numbers::<TimestampMillisecondType>(rows, nulls, || i64::from(seed())).with_timezone("UTC"))
        }
        LogicalType::Timestamp(_) => unreachable!("not made above"),
        LogicalType::List(item) => {
            let lengths: Vec<usize> = (0..rows).map(|_| usize::from(seed()) % 4).collect();
            let children = array_of(item, lengths.iter().sum(), seed);
            let children = plain(&children, &item.logical);
            let DataType::List(field) = arrow_type(&nested.logical) else { unreachable!() };
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), children, nulls))
        }
        LogicalType::Struct(fields) => {
            let children =
                fields.iter().map(|(_, field)| plain(&array_of(field, rows, seed), &field.logical)).collect();
            let DataType::Struct(fields) = arrow_type(&nested.logical) else { unreachable!() };
            Arc::new(StructArray::new(fields, children, nulls))
        }
    }
}

fn plain(array: &ArrayRef, logical: &LogicalType) -> ArrayRef {
    if *logical == LogicalType::Utf8 { cast(array, &DataType::Utf8).unwrap() } else { array.clone() }
}

/// Values that may or may not fit anything.
fn garbage() -> impl Strategy<Value = ColumnResult> {
    use ValuesResult as V;
    fn few<T: std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
        prop::collection::vec(item, 0..9)
    }
    let number = prop_oneof![0u32..6, any::<u32>()];
    let offsets = prop_oneof![few(number.clone()), (0u32..9).prop_map(|rows| (0..=rows).collect())].boxed();
    let varlen = (offsets.clone(), few(prop_oneof![0x61u8..0x7a, any::<u8>()]))
        .prop_map(|(offsets, data)| VarlenResult { offsets, data })
        .boxed();
    let values = prop_oneof![
        Just(V::None),
        few(any::<u8>()).prop_map(V::Bits),
        few(any::<i8>()).prop_map(V::Int8),
        few(any::<i64>()).prop_map(V::Int64),
        few(any::<f64>()).prop_map(V::Float64),
        prop::collection::vec(any::<u8>(), 0..70).prop_map(V::Fixed),
        varlen.clone().prop_map(V::Varlen),
        (few(number), varlen).prop_map(|(codes, values)| V::Dictionary(DictionaryResult { codes, values })),
        offsets.prop_map(V::Offsets),
    ];
    let validity = prop_oneof![Just(vec![]), prop::collection::vec(any::<u8>(), 0..3)];
    let node = (validity, values).prop_map(|(validity, values)| NodeResult { validity, values });
    prop::collection::vec(node, 0..5).prop_map(|nodes| ColumnResult { nodes })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_array_of_any_type_comes_back_as_it_went(
        nested in logical_types(), rows in 0usize..20, bytes in prop::collection::vec(any::<u8>(), 64),
        cut in (0usize..20, 0usize..20),
    ) {
        let mut at = 0;
        let array = array_of(&nested, rows, &mut || { at += 1; bytes[at % bytes.len()].wrapping_add((at / 64) as u8) });
        let column = Column { name: "x".into(), logical: nested.logical, nullable: nested.nullable };
        same(&there_and_back(&array, &column), &array);
        let start = cut.0.min(rows);
        let slice = array.slice(start, cut.1.min(rows - start));
        same(&there_and_back(&slice, &column), &slice);
    }

    #[test]
    fn garbage_never_panics_and_what_passes_is_whole(given in garbage(), nested in logical_types(), rows in 0usize..9) {
        let column = Column { name: "x".into(), logical: nested.logical, nullable: nested.nullable };
        if let Ok(array) = lift(given, &column, rows) {
            prop_assert_eq!(array.len(), rows);
            prop_assert!(array.to_data().validate_full().is_ok());
            prop_assert!(column.nullable || array.null_count() == 0);
            same(&there_and_back(&array, &column), &array);
        }
    }
}
