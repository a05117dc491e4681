//! The stages of examples/clicks on the same 4,096 rows, as components in the sandbox and as the same code linked into
//! this program: what the boundary costs. `tests/bench/clicks.py` runs it.
//!
//! `tests/example native_stages FOLDER`, where the folder holds what `millstream
//! generate clicks --out FOLDER/clicks.jsonl --dimensions FOLDER` made.
#![allow(clippy::print_stdout, reason = "a measurement reports to who started it")]

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Int32Type, Int64Type};
use clean_clicks::CleanClicks;
use enrich_clicks::EnrichClicks;
use millstream::config::Limits;
use millstream::contract::{Call, Given, Joined};
use millstream::plugin::{Crossing, Engine};
use millstream_sdk::{Batch, Column, Dictionary, Node, Plugin, Values, Varlen, native};
use millstream_tests::host::repository;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use route_clicks::RouteClicks;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROWS: usize = 4_096;
const DEADLINE: Duration = Duration::from_secs(60);
const STRETCH: Duration = Duration::from_millis(200);
const STRETCHES: usize = 8;
const TIMED_CALLS: usize = 500;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name the folder with clicks.jsonl and the tables")?);
    let clicks = Clicks::read(&folder)?;
    println!(
        "| stage, 4,096 rows a call | in the sandbox, ns a row | of it lowering | the call | checking | linked natively |"
    );
    println!("|---|---|---|---|---|---|");
    let config =
        json!({ "bots": ["Googlebot", "bingbot", "AhrefsBot", "curl/"], "tracking": ["utm_", "gclid", "fbclid"] });
    measure::<CleanClicks>("clean", &config, &[("url", clicks.urls), ("user_agent", clicks.agents)], &[])?;
    measure::<EnrichClicks>(
        "enrich",
        &json!({ "discounts": { "plus": 5, "pro": 15 } }),
        &[],
        &[clicks.users, clicks.pages],
    )?;
    measure::<RouteClicks>("route", &json!({}), &[("kind", clicks.kinds)], &[])
}

/// Prints a stage's line.
fn measure<P: Plugin>(stage: &str, config: &Value, reads: &[(&str, Vec<String>)], lookups: &[Looked]) -> Result<()> {
    let (config, rows) = (config.to_string(), ROWS as u32);
    let mut linked = native::configure::<P>(&config, &millstream_sdk::Given::default())?;
    let batch = Batch {
        rows,
        columns: reads.iter().map(|(_, texts)| column(Values::Varlen(varlen(texts)))).collect(),
        lookups: lookups.iter().map(Looked::native).collect(),
    };
    let wasm = repository().join(format!("examples/clicks/plugins/{stage}/{stage}_clicks.wasm"));
    let plugin = Engine::new()?.load(&std::fs::read(&wasm)?, &wasm.display().to_string())?;
    let limits = Limits { deadline: DEADLINE, trap_calls: 0, ..Limits::default() };
    let (mut sandboxed, contract) = plugin.instantiate(stage, &config, &Given::default(), &limits)?;
    let arrays = reads.iter().map(|(name, texts)| (*name, Arc::new(StringArray::from_iter_values(texts)) as ArrayRef));
    let columns = if reads.is_empty() {
        RecordBatch::try_from_iter([("row", Arc::new(Int32Array::from(vec![0; ROWS])) as ArrayRef)])?.project(&[])?
    } else {
        RecordBatch::try_from_iter(arrays)?
    };
    let call = Call { columns, lookups: lookups.iter().map(Looked::arrow).collect(), now_ms: 0 };
    let sandbox = ns_a_row(|| sandboxed.process(&call, &contract, &[], DEADLINE).map(drop).is_ok());
    // A batch is taken by value, and the host would make it anew as well: the copy counts.
    let native = ns_a_row(|| linked.process(batch.clone()).is_ok());
    let parts =
        parts_ns_a_row(|| sandboxed.process_timed(&call, &contract, &[], DEADLINE).map(|(_, crossing)| crossing))?;
    let [lowering, crossing, checking] = parts;
    println!("| {stage} | {sandbox:.0} | {lowering:.0} | {crossing:.0} | {checking:.0} | {native:.0} |");
    Ok(())
}

/// The best of several stretches: what else runs on the machine only ever adds.
fn ns_a_row(mut call: impl FnMut() -> bool) -> f64 {
    assert!((0..50).all(|_| call()), "the stage failed");
    let stretch = || {
        let (start, mut calls) = (Instant::now(), 0u32);
        while start.elapsed() < STRETCH {
            call();
            calls += 1;
        }
        start.elapsed().as_nanos() as f64 / f64::from(calls) / ROWS as f64
    };
    std::iter::repeat_with(stretch).take(STRETCHES).fold(f64::INFINITY, f64::min)
}

/// Where the time of a call goes: lowering, the call, checking. The best of each in some hundred calls.
fn parts_ns_a_row(mut call: impl FnMut() -> millstream::error::Result<Crossing>) -> Result<[f64; 3]> {
    let mut best = [Duration::MAX; 3];
    for _ in 0..TIMED_CALLS {
        let crossing = call()?;
        for (best, part) in best.iter_mut().zip([crossing.lowering, crossing.call, crossing.checking]) {
            *best = part.min(*best);
        }
    }
    Ok(best.map(|part| part.as_nanos() as f64 / ROWS as f64))
}

/// The first rows of the events that have what the stages read, and what their lookups answer.
#[derive(Default)]
struct Clicks {
    urls: Vec<String>,
    agents: Vec<String>,
    kinds: Vec<String>,
    users: Looked,
    pages: Looked,
}

impl Clicks {
    fn read(folder: &Path) -> Result<Self> {
        let (mut clicks, mut ids, mut paths) = (Self::default(), Vec::new(), Vec::new());
        for line in BufReader::new(File::open(folder.join("clicks.jsonl"))?).lines() {
            let Ok(event) = serde_json::from_str::<Value>(&line?) else { continue };
            let text = |name: &str| event[name].as_str().map(str::to_owned);
            let (Some(url), Some(agent), Some(kind)) = (text("url"), text("user_agent"), text("kind")) else {
                continue;
            };
            let Some(id) = event["user_id"].as_i64() else { continue };
            let page = url.split('?').next().unwrap_or_default().trim_start_matches("https://");
            paths.push(page.find('/').map_or("", |slash| &page[slash..]).to_owned());
            ids.push(id.to_string());
            clicks.urls.push(url);
            clicks.agents.push(agent);
            clicks.kinds.push(kind);
            if ids.len() == ROWS {
                clicks.users = Looked::up(&folder.join("users.parquet"), &ids, &["country", "plan"], None)?;
                clicks.pages = Looked::up(&folder.join("urls.parquet"), &paths, &["category"], Some("price_cents"))?;
                return Ok(clicks);
            }
        }
        Err(format!("{} has fewer than {ROWS} good events", folder.display()).into())
    }
}

/// What a table answers for each row: text columns, then a column of numbers if there is one.
#[derive(Default)]
struct Looked {
    found: Vec<bool>,
    texts: Vec<Vec<Option<String>>>,
    numbers: Option<Vec<Option<i32>>>,
}

impl Looked {
    /// Looks keys up in a table whose first column is the key.
    fn up(path: &Path, keys: &[String], texts: &[&str], number: Option<&str>) -> Result<Self> {
        let mut rows: HashMap<String, (Vec<Option<String>>, Option<i32>)> = HashMap::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()? {
            let batch = batch?;
            let key = |row| match batch.column(0).as_primitive_opt::<Int64Type>() {
                Some(ids) => ids.value(row).to_string(),
                None => batch.column(0).as_string::<i32>().value(row).to_owned(),
            };
            for row in 0..batch.num_rows() {
                let text = |name: &&str| {
                    let column = batch.column_by_name(name)?.as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                };
                let number = number.and_then(|name| batch.column_by_name(name)).map(AsArray::as_primitive::<Int32Type>);
                let number = number.filter(|column| column.is_valid(row)).map(|column| column.value(row));
                rows.insert(key(row), (texts.iter().map(text).collect(), number));
            }
        }
        let row = |key: &String| rows.get(key);
        let text = |index: usize| keys.iter().map(|key| row(key).and_then(|(texts, _)| texts[index].clone())).collect();
        Ok(Self {
            found: keys.iter().map(|key| row(key).is_some()).collect(),
            texts: (0..texts.len()).map(text).collect(),
            numbers: number.map(|_| keys.iter().map(|key| row(key).and_then(|(_, number)| *number)).collect()),
        })
    }

    fn arrow(&self) -> Joined {
        let texts = self.texts.iter().map(|texts| {
            Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>()) as ArrayRef
        });
        let numbers = self.numbers.iter().map(|numbers| Arc::new(Int32Array::from(numbers.clone())) as ArrayRef);
        Joined { found: self.found.iter().copied().collect::<BooleanBuffer>(), columns: texts.chain(numbers).collect() }
    }

    fn native(&self) -> millstream_sdk::Joined {
        let texts = self.texts.iter().map(|texts| {
            let array: DictionaryArray<Int32Type> = texts.iter().map(Option::as_deref).collect();
            let values: Vec<String> = array.values().as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            let codes = array.keys().iter().map(|code| code.unwrap_or_default() as u32).collect();
            nullable(
                Values::Dictionary(Dictionary { codes, values: varlen(&values) }),
                texts.iter().map(Option::is_some),
            )
        });
        let numbers = self.numbers.iter().map(|numbers| {
            let values = numbers.iter().map(|number| number.unwrap_or_default()).collect();
            nullable(Values::Int32(values), numbers.iter().map(Option::is_some))
        });
        millstream_sdk::Joined { found: bits(self.found.iter().copied()), columns: texts.chain(numbers).collect() }
    }
}

fn column(values: Values) -> Column {
    Column { nodes: vec![values.into()] }
}

fn nullable(values: Values, valid: impl Iterator<Item = bool>) -> Column {
    Column { nodes: vec![Node { validity: bits(valid), values }] }
}

fn bits(set: impl Iterator<Item = bool>) -> Vec<u8> {
    set.collect::<BooleanBuffer>().values().to_vec()
}

fn varlen(texts: &[String]) -> Varlen {
    let mut varlen = Varlen { offsets: vec![0], data: Vec::new() };
    for text in texts {
        varlen.data.extend_from_slice(text.as_bytes());
        varlen.offsets.push(varlen.data.len() as u32);
    }
    varlen
}
