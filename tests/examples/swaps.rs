//! Swaps under load: `tests/example swaps 1000`. Rows come from a real Kafka
//! as fast as they can, to two workers with epochs of 200 ms; at the end every row is in the lake once.

use std::io::Write;
use std::time::Duration;

use millstream_tests::kafka::Kafka;
use millstream_tests::tag::{Swapped, swap_under_load};

fn main() -> std::io::Result<()> {
    let swaps = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(1000);
    let Swapped { rows, mut times, mut pauses, .. } = swap_under_load(&Kafka::start(), "swaps", swaps);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{swaps} swaps, {rows} rows: each in the lake once, each file made by one version\n")?;
    writeln!(out, "| ms | median | 99% | longest |\n|---|---|---|---|")?;
    for (what, values) in [("file in place to in effect", &mut times), ("all workers stand still", &mut pauses)] {
        values.sort();
        let at = |share: f64| values.get((values.len() as f64 * share) as usize).map_or(0, Duration::as_millis);
        let longest = values.last().map_or(0, Duration::as_millis);
        writeln!(out, "| {what} | {} | {} | {longest} |", at(0.5), at(0.99))?;
    }
    Ok(())
}
