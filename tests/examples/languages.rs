//! One stage in several languages, on the same 4,096 rows: size, time to compile, time and memory of an instance, time a
//! row. Times are the processor's, but that of compiling, which uses all cores.
//!
//! `tests/example languages CLICKS.jsonl COMPONENT..`, where the components read
//! `url` and `user_agent`, as those of examples/clicks/plugins/clean* do.
#![allow(clippy::print_stdout, reason = "a measurement reports to who started it")]

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use cpu_time::ThreadTime;
use millstream::config::Limits;
use millstream::contract::{Call, Given};
use millstream::plugin::Engine;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROWS: usize = 4_096;
const DEADLINE: Duration = Duration::from_secs(60);
/// Batches before anything is measured, and in each measured stretch.
const WARM_UP: usize = 100;
const STRETCH: u32 = 50;
const STRETCHES: usize = 10;
const MIB: f64 = (1 << 20) as f64;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let events = arguments.next().ok_or("name the file with clicks, and components")?;
    let call = Call { columns: columns(&events)?, lookups: Vec::new(), now_ms: 0 };
    println!(
        "| component | MiB | compile, s | start, ms | memory at the start, MiB | after 600 batches, MiB | ns a row |"
    );
    println!("|---|---|---|---|---|---|---|");
    for component in arguments {
        measure(Path::new(&component), &call)?;
    }
    Ok(())
}

fn measure(path: &Path, call: &Call) -> Result<()> {
    let bytes = std::fs::read(path)?;
    // A new engine: nothing is compiled yet.
    let engine = Engine::new()?;
    let began = Instant::now();
    let plugin = engine.load(&bytes, &path.display().to_string())?;
    let compile = began.elapsed();
    let config =
        json!({ "bots": ["Googlebot", "bingbot", "AhrefsBot", "curl/"], "tracking": ["utm_", "gclid", "fbclid"] });
    let limits = Limits { memory_bytes: 1 << 30, deadline: DEADLINE, trap_calls: 0, ..Limits::default() };
    let start = || plugin.instantiate("clean", &config.to_string(), &Given::default(), &limits);
    let began = ThreadTime::now();
    let (mut instance, contract) = start()?;
    let started = began.elapsed();
    let at_start = instance.memory_bytes();
    let ns_a_row = ns_a_row(|| instance.process(call, &contract, &[], DEADLINE).is_ok_and(|patch| patch.is_ok()))?;
    println!(
        "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {ns_a_row:.0} |",
        path.file_name().unwrap_or_default().display(),
        bytes.len() as f64 / MIB,
        compile.as_secs_f64(),
        started.as_secs_f64() * 1e3,
        at_start as f64 / MIB,
        instance.memory_bytes() as f64 / MIB,
    );
    Ok(())
}

/// The best of several stretches: what else runs on the machine only ever adds.
fn ns_a_row(mut call: impl FnMut() -> bool) -> Result<f64> {
    if !(0..WARM_UP).all(|_| call()) {
        return Err("the stage failed".into());
    }
    let mut best = f64::INFINITY;
    for _ in 0..STRETCHES {
        let began = ThreadTime::now();
        for _ in 0..STRETCH {
            call();
        }
        best = best.min(began.elapsed().as_nanos() as f64 / f64::from(STRETCH) / ROWS as f64);
    }
    Ok(best)
}

/// The first rows of the events that have what the stages read.
fn columns(events: &str) -> Result<RecordBatch> {
    let (mut urls, mut agents) = (Vec::new(), Vec::new());
    for line in BufReader::new(File::open(events)?).lines() {
        let Ok(event) = serde_json::from_str::<Value>(&line?) else { continue };
        if let (Some(url), Some(agent)) = (event["url"].as_str(), event["user_agent"].as_str()) {
            urls.push(url.to_owned());
            agents.push(agent.to_owned());
        }
        if urls.len() == ROWS {
            let column = |texts: &[String]| Arc::new(StringArray::from_iter_values(texts)) as ArrayRef;
            return Ok(RecordBatch::try_from_iter([("url", column(&urls)), ("user_agent", column(&agents))])?);
        }
    }
    Err(format!("{events} has fewer than {ROWS} good events").into())
}
