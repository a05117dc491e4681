//! Time to decode a click, beside serde_json into a struct: `cargo bench -p millstream --bench decode`, the best of many
//! rounds. A word behind `--` picks the lines that contain it.
#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::BinaryArray;
use millstream::config::{ColumnFrom, Format, Located, SourceColumn, Unknown};
use millstream::decode::Decoder;
use millstream::record::{Partition, Payload, Records};
use millstream_sdk::Nested;

/// Few enough that a round ends before the scheduler ends it, on a machine that is shared.
const ROWS: usize = 512;
const ROUNDS: usize = 2000;

const COLUMNS: &[(&str, &str)] = &[
    ("event_id", "utf8"),
    ("ts", "timestamp(ms)"),
    ("user_id", "int64"),
    ("session", "utf8"),
    ("url", "utf8"),
    ("referrer", "utf8?"),
    ("device_id", "int64"),
    ("action", "utf8"),
    ("amount", "decimal(12,2)?"),
    ("duration_ms", "int32"),
];

#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Click<'a> {
    event_id: &'a str,
    ts: i64,
    user_id: i64,
    session: &'a str,
    url: &'a str,
    referrer: Option<&'a str>,
    device_id: i64,
    action: &'a str,
    amount: Option<f64>,
    duration_ms: i32,
}

fn click(n: usize) -> String {
    let amount = if n.is_multiple_of(10) { format!("{}.{:02}", n % 500, n % 100) } else { "null".to_owned() };
    format!(
        r#"{{"event_id":"e{:015x}","ts":{},"user_id":{},"session":"s{:08x}","url":"https://shop.example/p/{}?utm_source=mail","referrer":"https://www.example.org/","device_id":{},"action":"view","amount":{amount},"duration_ms":{},"ip":"10.0.{}.{}","v":2}}"#,
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        1_700_000_000_000_u64 + n as u64 * 7,
        n * 7919 % 1_000_000,
        n * 31,
        n * 104_729 % 100_000,
        n * 613 % 1_000_000,
        n % 60_000,
        n / 256 % 256,
        n % 256
    )
}

fn block(records: &[String]) -> Records {
    Records {
        partition: Partition { source: "clicks".into(), key: "0".into() },
        partition_number: 0,
        payload: Payload::Bytes(BinaryArray::from_iter_values(records)),
        csv_header: None,
        offsets: (0..).take(records.len()).collect(),
        next_offset: 0,
        timestamps_ms: Vec::new(),
        keys: None,
        headers: Vec::new(),
    }
}

fn column(name: &str, logical: &str) -> SourceColumn {
    let Nested { logical, nullable } = logical.parse().expect("a type");
    SourceColumn {
        name: Located { value: name.to_owned(), span: 0..0 },
        logical,
        nullable,
        from: ColumnFrom::Field(vec![name.to_owned()]),
    }
}

fn measure(what: &str, rows: usize, mut run: impl FnMut()) {
    if std::env::args().skip(1).any(|filter| !filter.starts_with("--") && !what.contains(&filter)) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_nanos() as f64 / rows as f64);
    }
    println!("{what:64} {best:8.1} ns a record");
}

fn decode(what: &str, columns: &[SourceColumn], needed: &[bool], format: Format, records: &Records) {
    let mut decoder = Decoder::new(columns, format, &Unknown::Ignore, needed).expect("a decoder");
    let rows = decoder.decode(records).expect("decoded").columns.num_rows();
    assert_eq!(rows, records.len(), "{what}");
    measure(what, rows, || drop(black_box(decoder.decode(black_box(records)).expect("decoded"))));
}

fn main() {
    let texts: Vec<String> = (0..ROWS).map(click).collect();
    let bytes = texts.iter().map(String::len).sum::<usize>() / ROWS;
    println!("{ROWS} records of {bytes} bytes, best of {ROUNDS} rounds");
    let records = block(&texts);
    let columns: Vec<_> = COLUMNS.iter().map(|(name, logical)| column(name, logical)).collect();
    let unused: Vec<_> = (0..50).map(|n| column(&format!("unused_{n}"), "utf8?")).collect();
    let wide: Vec<_> = columns.iter().chain(&unused).cloned().collect();
    let only_first: Vec<_> = (0..wide.len()).map(|index| index < columns.len()).collect();

    decode("10 of 12 fields", &columns, &[true; 10], Format::Json, &records);
    decode("... 50 more declared, needed by nobody, not in the records", &wide, &only_first, Format::Json, &records);
    let filled: Vec<String> = texts
        .iter()
        .map(|text| {
            let more: Vec<_> = (0..50).map(|n| format!(",\"unused_{n}\":\"value {n}\"")).collect();
            format!("{}{}}}", &text[..text.len() - 1], more.concat())
        })
        .collect();
    let filled = block(&filled);
    decode(
        "... 50 more declared, needed by nobody, in the records (24 bytes each)",
        &wide,
        &only_first,
        Format::Json,
        &filled,
    );
    decode("... 50 more not declared, in the records (24 bytes each)", &columns, &[true; 10], Format::Json, &filled);
    decode("... the same, all 60 read", &wide, &[true; 60], Format::Json, &filled);
    decode(
        "3 of 12 fields",
        &columns,
        &[true, true, true, false, false, false, false, false, false, false],
        Format::Json,
        &records,
    );
    let spaced: Vec<String> = texts.iter().map(|text| text.replace("\":", "\": ").replace(",\"", ", \"")).collect();
    decode("10 of 12 fields, with blanks (Python's json.dumps)", &columns, &[true; 10], Format::Json, &block(&spaced));
    let optional: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| if n % 10 == 0 { text.clone() } else { text.replace("\"amount\":null,", "") })
        .collect();
    decode("10 of 12 fields, one of them missing in 90%", &columns, &[true; 10], Format::Json, &block(&optional));
    measure("serde_json into a struct that borrows", ROWS, || {
        for text in &texts {
            black_box(serde_json::from_str::<Click<'_>>(black_box(text)).expect("a click"));
        }
    });
    measure("serde_json into a value", ROWS, || {
        for text in &texts {
            drop(black_box(serde_json::from_str::<serde_json::Value>(black_box(text)).expect("json")));
        }
    });
    let csv: Vec<String> = (0..ROWS)
        .map(|n| {
            format!(
                "e{n:015x},{},{},s{n:08x},https://shop.example/p/{n},,{},view,{},{}",
                1_700_000_000_000_u64 + n as u64,
                n * 7919 % 1_000_000,
                n % 1000,
                if n % 10 == 0 { "12.50" } else { "" },
                n % 60_000
            )
        })
        .collect();
    let mut csv = block(&csv);
    csv.csv_header = Some(Arc::from(COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()));
    decode("CSV, 10 fields", &columns, &[true; 10], Format::Csv, &csv);
}
