//! The ready-made plugins beside stages that were written by hand for the same work (tests/components/hand-written), on
//! the same 4,096 rows in the same sandbox, by the time of the processor.
//!
//! `make plugins && tests/example ready_made [STAGE..]`
#![allow(clippy::print_stdout, reason = "a measurement reports to who started it")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::json::ReaderBuilder;
use cpu_time::ThreadTime;
use millstream::config::Limits;
use millstream::contract::{Call, Given};
use millstream::plugin::{Engine, Instance};
use millstream::schema::{Column, arrow_type};
use millstream_tests::host::{component, repository};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROWS: usize = 4_096;
const DEADLINE: Duration = Duration::from_secs(60);
const STRETCH: Duration = Duration::from_millis(50);
const STRETCHES: usize = 30;

fn main() -> Result<()> {
    println!("| stage, 4,096 rows a call | ready-made, ns a row | by hand, ns a row | ratio |\n|---|---|---|---|");
    let emails = texts(|row| Some(format!("{}User{row}@Example.com", if row % 3 == 0 { " " } else { "" })));
    let ages = texts(|row| (row % 7 != 0).then(|| (row % 130).to_string()));
    let placed = texts(|row| Some(format!("2025-06-{:02}T12:{:02}:{:02}Z", row % 30 + 1, row / 60 % 60, row % 60)));
    let prices = texts(|row| Some(format!("{}.{:02}", row % 1000 + 1, row % 100)));
    let countries = texts(|row| (row % 9 != 0).then(|| ["de", "fr", "gb", "us", "jp"][row % 5].to_owned()));
    let rules = json!({ "columns": {
        "email": { "trim": true, "case": "lower", "required": true },
        "age": { "trim": true, "cast": "int16", "min": 0, "max": 120, "invalid": "null" },
        "placed": { "cast": "timestamp(ms)" },
        "price": { "cast": "decimal(8,2)", "min": "0.01" },
        "country": { "trim": true, "case": "upper", "empty": "null", "default": "??" },
    } });
    let columns: [(&str, &str, ArrayRef); 5] = [
        ("email", "utf8?", emails.clone()),
        ("age", "utf8?", ages),
        ("placed", "utf8", placed),
        ("price", "utf8", prices),
        ("country", "utf8?", countries.clone()),
    ];
    measure("clean", &rules, &columns, &[])?;

    let urls = texts(|row| {
        let tracking = if row % 2 == 0 { "utm_source=mail&gclid=abc&" } else { "" };
        Some(format!("https://shop{}.example/products/{row}?{tracking}q=green%20tea&page={row}", row % 20))
    });
    let parts =
        json!({ "column": "url", "host": "host", "path": "path", "query": "query", "parameters": { "q": "search" } });
    measure("url", &parts, &[("url", "utf8", urls)], &[])?;

    let user_ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 7919)));
    let ips = texts(|row| {
        Some(if row % 4 == 0 { format!("2001:db8:{row:x}::1") } else { format!("10.{}.{}.7", row / 256, row % 256) })
    });
    let masks = json!({ "key": "correct horse battery staple 0123", "columns": {
        "user_id": "hash", "email": "tokenize", "ip": "truncate_ip", "note": "drop",
    } });
    let columns: [(&str, &str, ArrayRef); 4] = [
        ("user_id", "int64", Arc::clone(&user_ids)),
        ("email", "utf8?", emails),
        ("ip", "utf8?", ips),
        ("note", "utf8?", countries.clone()),
    ];
    measure("mask", &masks, &columns, &[])?;

    let kinds = texts(|row| Some(["view", "view", "view", "purchase", "view", "refund", "other"][row % 7].to_owned()));
    let rules = json!({ "default": "others", "rules": [
        { "when": "kind = 'refund'", "reject": "refund" },
        { "when": "kind = 'purchase' AND (country IN ('de', 'fr', 'gb') OR user_id % 5 = 1)", "to": "purchases" },
        { "when": "kind LIKE 'vie%' AND country IS NOT NULL", "to": "views" },
    ] });
    let columns: [(&str, &str, ArrayRef); 3] =
        [("kind", "utf8", kinds), ("country", "utf8?", countries), ("user_id", "int64", user_ids)];
    measure("route", &rules, &columns, &["purchases", "views", "others"])?;

    let baskets = (0..ROWS).map(|row| {
        let item = |line| json!({ "sku": format!("sku-{}", (row + line) % 500), "quantity": line + 1 });
        json!({ "items": (0..row % 5).map(item).collect::<Vec<_>>() })
    });
    let items = "list<struct<sku: utf8, quantity: int32?>>";
    let array = from_json(items, &baskets.collect::<Vec<_>>())?;
    let exploding = json!({ "column": "items", "fields": { "sku": "sku", "quantity": "quantity" }, "index": "line" });
    measure("explode", &exploding, &[("items", &format!("{items}?"), array)], &[])
}

fn texts(text: impl Fn(usize) -> Option<String>) -> ArrayRef {
    Arc::new((0..ROWS).map(text).collect::<StringArray>())
}

fn column(name: &str, logical: &str) -> Column {
    let (logical, nullable) = logical.strip_suffix('?').map_or((logical, false), |logical| (logical, true));
    Column { name: name.into(), logical: logical.parse().expect("a type"), nullable }
}

/// A column of the JSON objects' field `items`.
fn from_json(logical: &str, rows: &[Value]) -> Result<ArrayRef> {
    let field = arrow::datatypes::Field::new("items", arrow_type(&column("items", logical).logical), false);
    let mut decoder = ReaderBuilder::new(Arc::new(arrow::datatypes::Schema::new(vec![field])))
        .with_batch_size(rows.len())
        .build_decoder()?;
    decoder.serialize(rows)?;
    Ok(Arc::clone(decoder.flush()?.ok_or("no rows")?.column(0)))
}

/// Prints a stage's line: both configured, warmed up, and then measured in turn.
fn measure(stage: &str, config: &Value, columns: &[(&str, &str, ArrayRef)], outputs: &[&str]) -> Result<()> {
    let given = Given {
        columns: columns.iter().map(|(name, logical, _)| column(name, logical)).collect(),
        outputs: outputs.iter().map(|output| (*output).into()).collect(),
        ..Given::default()
    };
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == stage) {
        return Ok(());
    }
    let ready = repository().join(format!("plugins/{stage}/millstream_plugin_{stage}.wasm"));
    let ready =
        std::fs::read(&ready).map_err(|error| format!("{}: {error}; `make plugins` makes it", ready.display()))?;
    let mut ready = Measured::new(&ready, &config.to_string(), &given, columns)?;
    let by_hand = json!({ "stage": stage }).to_string();
    let mut by_hand = Measured::new(&component("hand-written"), &by_hand, &given, columns)?;
    let (mut best_ready, mut best_by_hand) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..STRETCHES {
        best_ready = best_ready.min(ready.stretch()?);
        best_by_hand = best_by_hand.min(by_hand.stretch()?);
    }
    println!("| {stage} | {best_ready:.0} | {best_by_hand:.0} | {:.2} |", best_ready / best_by_hand);
    Ok(())
}

struct Measured {
    instance: Instance,
    contract: millstream::contract::Contract,
    call: Call,
}

impl Measured {
    fn new(component: &[u8], config: &str, given: &Given, columns: &[(&str, &str, ArrayRef)]) -> Result<Self> {
        let plugin = Engine::new()?.load(component, "the component")?;
        let limits = Limits { deadline: DEADLINE, trap_calls: 0, ..Limits::default() };
        let (instance, contract) = plugin.instantiate("measured", config, given, &limits)?;
        let mut read = Vec::with_capacity(contract.reads.len());
        for wanted in &contract.reads {
            let (name, _, array) =
                columns.iter().find(|(name, ..)| *name == &*wanted.name).ok_or("a column that is not there")?;
            read.push((*name, Arc::clone(array)));
        }
        let call = Call { columns: RecordBatch::try_from_iter(read)?, lookups: vec![], now_ms: 0 };
        let mut measured = Self { instance, contract, call };
        for _ in 0..20 {
            measured.once()?;
        }
        Ok(measured)
    }

    fn once(&mut self) -> Result<()> {
        self.instance.process(&self.call, &self.contract, &[], DEADLINE)?.map_err(|failure| failure.to_string())?;
        Ok(())
    }

    /// Nanoseconds a row over a stretch of time. The best of several counts: what else runs only ever adds.
    fn stretch(&mut self) -> Result<f64> {
        let (start, mut calls) = (ThreadTime::now(), 0_u32);
        while start.elapsed() < STRETCH {
            self.once()?;
            calls += 1;
        }
        Ok(start.elapsed().as_nanos() as f64 / f64::from(calls) / ROWS as f64)
    }
}
