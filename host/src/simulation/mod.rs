//! The simulation (page to be written).

mod check;
mod group;
mod host;
mod job;
mod kafka;
mod machine;
mod transactions;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use world::World;

/// How many seeds are run, unless `MILLSTREAM_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is wrong with the world of a seed.
fn fails(seed: u64) -> Option<String> {
    let run = || World::new(seed, false).run();
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(wrong)) => Some(wrong),
        Err(_) => Some("it panicked".to_owned()),
    }
}

/// The trace of a seed, and what is wrong with it.
fn traced(seed: u64) -> (Vec<String>, Result<(), String>) {
    let world = World::new(seed, true);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|_| Err("it panicked".to_owned()));
    (world.trace(), ended)
}

#[test]
fn whatever_befalls_hosts_each_record_is_there_once() {
    if let Some(seed) = number("MILLSTREAM_SEED") {
        let (trace, ended) = traced(seed);
        assert_eq!(ended, Ok(()), "seed {seed}:\n{}", trace.join("\n"));
        return;
    }
    let (seeds, next) = (number("MILLSTREAM_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let failures = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failures().len() >= 5 {
                        return;
                    }
                    if let Some(wrong) = fails(seed) {
                        failures().push((seed, wrong));
                    }
                }
            });
        }
    });
    let failed = failures();
    let Some((seed, wrong)) = failed.iter().min() else { return };
    panic!(
        "seed {seed}: {wrong}\n{}\n{} seeds failed; `MILLSTREAM_SEED={seed} cargo test --release -p millstream --lib \
         simulation` shows this one again",
        traced(*seed).0.join("\n"),
        failed.len()
    );
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in 0..20 {
        assert_eq!(traced(seed), traced(seed), "seed {seed}");
    }
}
