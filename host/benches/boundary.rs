//! What one crossing costs, by column type: a batch of 4,096 rows goes into a component that reads nothing of it (`in`),
//! and into one that returns it (`in and out`, with every check of what comes back).
//!
//! `cargo bench --bench boundary`, or with names of types: `cargo bench --bench boundary -- utf8 decimal`.
#![allow(clippy::print_stdout, reason = "a bench reports to who started it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Int32Type};
use millstream::config::Limits;
use millstream::contract::{Call, Given};
use millstream::plugin::{Engine, Plugin, crossing_bytes};
use millstream::schema::{Column, arrow_type};
use millstream_sdk::{LogicalType, Nested};

#[path = "../../tests/components/component.rs"]
mod component;

const ROWS: usize = 4_096;
const DEADLINE: Duration = Duration::from_secs(60);
const MEASURED: Duration = Duration::from_millis(400);

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let plugin = Engine::new().and_then(|engine| engine.load(component::component("hostile"), "hostile.wasm")).unwrap();
    println!(
        "{:<34} {:>12} {:>14} {:>18}",
        "column, 4,096 rows", "bytes a row", "in, ns a row", "in and out, ns a row"
    );
    let nothing = cost(&plugin, "discard", None);
    println!("{:<34} {:>12} {:>14.2} {:>18}", "(no column: the call itself)", 0, nothing, "");
    for (name, type_text, array) in columns() {
        if !asked.is_empty() && !asked.iter().any(|asked| name.contains(asked.as_str())) {
            continue;
        }
        let nested: Nested = type_text.parse().unwrap();
        let column = Column { name: "x".to_owned(), logical: nested.logical, nullable: nested.nullable };
        let bytes = crossing_bytes(&call(Some(&array))) as f64 / ROWS as f64;
        let [into, both] = ["discard", "echo"].map(|deed| cost(&plugin, deed, Some((&column, &array))));
        println!("{name:<34} {bytes:>12.1} {into:>14.2} {both:>18.2}");
    }
}

fn columns() -> Vec<(&'static str, &'static str, ArrayRef)> {
    let ints = || Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 7_919));
    let nulls = || NullBuffer::from_iter((0..ROWS).map(|row| row % 10 != 0));
    let urls = || StringArray::from_iter_values((0..ROWS).map(|row| format!("https://example.com/p/{row:07}?a=b")));
    let few = || (0..ROWS).map(|row| Some(["de", "fr", "se", "us"][row % 4]));
    let grown = StringArray::from_iter_values((0..ROWS).map(|row| format!("Grüße aus Köln, {row:07} mal ß")));
    let lengths = || OffsetBuffer::<i32>::from_lengths((0..ROWS).map(|row| row % 4));
    let items = lengths().last().to_owned() as usize;
    let DataType::List(item) = arrow_type(&logical("list<int64>")) else { unreachable!("a list") };
    let DataType::Struct(fields) = arrow_type(&logical("struct<a: int64, b: utf8>")) else { unreachable!("a struct") };
    let item_values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..items as i64));
    vec![
        ("bool", "bool", Arc::new(BooleanArray::from_iter((0..ROWS).map(|row| Some(row % 3 == 0))))),
        ("int64", "int64", Arc::new(ints())),
        ("int64, a tenth null", "int64?", Arc::new(Int64Array::new(ints().values().clone(), Some(nulls())))),
        ("float64", "float64", Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| row as f64)))),
        (
            "timestamp(ms)",
            "timestamp(ms)",
            Arc::new(ints().reinterpret_cast::<arrow::datatypes::TimestampMillisecondType>().with_timezone("UTC"))
                as Arc<TimestampMillisecondArray>,
        ),
        (
            "decimal(18,2)",
            "decimal(18,2)",
            Arc::new(
                Decimal128Array::from_iter_values((0..ROWS as i128).map(|row| row * 101))
                    .with_precision_and_scale(18, 2)
                    .unwrap(),
            ),
        ),
        ("utf8, 34 bytes of ASCII", "utf8", Arc::new(urls())),
        ("utf8, 33 bytes not all ASCII", "utf8", Arc::new(grown)),
        ("utf8 dictionary, 4 values", "utf8", Arc::new(few().collect::<DictionaryArray<Int32Type>>())),
        ("list<int64>, 1.5 items", "list<int64>", Arc::new(ListArray::new(item, lengths(), item_values, None))),
        (
            "struct<a: int64, b: utf8>",
            "struct<a: int64, b: utf8>",
            Arc::new(StructArray::new(fields, vec![Arc::new(ints()), Arc::new(urls())], None)),
        ),
    ]
}

fn logical(type_text: &str) -> LogicalType {
    type_text.parse().unwrap()
}

fn call(array: Option<&ArrayRef>) -> Call {
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![0; ROWS]));
    let columns = RecordBatch::try_from_iter([("x", array.unwrap_or(&rows).clone())]).unwrap();
    let columns = if array.is_some() { columns } else { columns.project(&[]).unwrap() };
    Call { columns, lookups: vec![], now_ms: 0 }
}

/// Nanoseconds a row of one call.
fn cost(plugin: &Plugin, deed: &str, column: Option<(&Column, &ArrayRef)>) -> f64 {
    let columns = column.iter().map(|(column, _)| (*column).clone()).collect();
    let given = Given { columns, ..Given::default() };
    let limits = Limits { deadline: DEADLINE, trap_calls: 0, ..Limits::default() };
    let (mut instance, contract) =
        plugin.instantiate("bench", &format!("{{\"behaviour\":\"{deed}\"}}"), &given, &limits).unwrap();
    let call = call(column.map(|(_, array)| array));
    let mut process = || instance.process(&call, &contract, &[], DEADLINE).unwrap().unwrap();
    (0..100).for_each(|_| drop(process()));
    // The best of several stretches: what else runs on the machine only ever adds.
    let stretch = || {
        let (start, mut calls) = (Instant::now(), 0u32);
        while start.elapsed() < MEASURED / 8 {
            drop(process());
            calls += 1;
        }
        start.elapsed().as_nanos() as f64 / f64::from(calls) / ROWS as f64
    };
    std::iter::repeat_with(stretch).take(8).fold(f64::INFINITY, f64::min)
}
