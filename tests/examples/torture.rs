//! Torture on a real Kafka: `tests/example torture --minutes 15`. The same
//! `--seed` does the same in the same order. On a failure it says what is lost or doubled, and keeps the folder.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use millstream::clock::{Clock, SystemClock};
use millstream_tests::torture::{Settings, torture};

fn main() -> std::io::Result<ExitCode> {
    let now = SystemClock.now_ms().unsigned_abs() / 1_000;
    let time = Duration::from_secs_f64(option("--minutes").unwrap_or(1.0) * 60.0);
    let settings = Settings { seed: option("--seed").unwrap_or(now), time, hosts: option("--hosts").unwrap_or(1) };
    let mut out = std::io::stdout();
    writeln!(out, "torture: seed {}, {} s, hosts {}", settings.seed, time.as_secs(), settings.hosts)?;
    match torture(&settings) {
        Ok(report) => writeln!(out, "{report}").map(|()| ExitCode::SUCCESS),
        Err(failure) => writeln!(out, "FAILED with seed {}\n{failure}", settings.seed).map(|()| ExitCode::FAILURE),
    }
}

/// The number behind a word of the command line.
fn option<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut words = std::env::args().skip_while(|word| word != name);
    words.nth(1).and_then(|number| number.parse().ok())
}
