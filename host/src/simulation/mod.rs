//! Thousands of small worlds, each from a seed, in which hosts run the binary's own commit on a disk, a cluster and a clock in
//! memory, and die, stand still and misunderstand each other. At every rest each record has to be there once.
//!
//! No thread and no waiting is in a world: whoever acts is drawn, and time moves when it is told to. So a seed is the same
//! world every time, and the seed of a failure shows it again, step by step:
//! `MILLSTREAM_SEED=17 cargo test --release -p millstream --lib simulation`. `MILLSTREAM_SEEDS` says how many are run.
//!
//! # What is the real thing, and what stands for something
//!
//! | real | stands for something |
//! |---|---|
//! | `commit`: epochs, log, record, adoption, the steps that end a transaction, where the commit topic's reading ends | Kafka's clients and brokers (`kafka`, `group`, `transactions`) |
//! | `service::boundary`: shares merged, epochs of nothing, probation, swap | threads and the coordinator's waiting (`host`) |
//! | `pipeline`, `decode`, `output`: workers, Parquet files, spool, merged tails, rejects | a plugin: one native function (`job`) |
//! | the order of a start, as `service::run` and `service::share` have it | written again in `host`, since theirs speak to Kafka |
//!
//! # What befalls hosts
//!
//! A host dies at any change on its disk and at any question to the cluster, which heard the question or not; all lose power,
//! and what was not synced is there or not; the disk refuses once; an answer gets lost; the brokers are away; a host stands
//! still in the middle of anything, past its session and past its transaction's time, while the others go on; its clock
//! jumps, forward and back; versions of the stage take over and some fail their probation; partitions move. Markers of
//! transactions come late, the commit topic is compacted, and the topic that is read has transactions of its own, some of them aborted.
//!
//! # What is checked
//!
//! Whenever a host came back, when all is read, and once more after everybody lost power (`check`): each record below the
//! committed positions is in the lake and in the topic, as a reader of committed records sees it, exactly as often as one
//! version of the stage makes it; or it is once among the rejects, or counted as left out. Nothing else is there, and nothing of
//! a version that failed. `in + multiplied = out + rejected + filtered`. The group is where the records are, the epochs of a host
//! have no gap, no commit that was made is forgotten, nothing is left in staging. An error that nothing explains fails, and
//! so does a world that does not come to its end.
//!
//! # What it does not show
//!
//! That Kafka and its clients do what `kafka` says of them: `scenarios` shows it step by step on a real one. Threads and the
//! coordinator's waiting. A machine of several that loses power alone: the lake is one disk. Brokers that lose what they acknowledged,
//! topics that are made anew, offsets that retention took. Plugins, dimensions and files as
//! sources. Whether the tests notice a broken protocol is tried by `tests/mutations/run`.

mod check;
mod group;
mod host;
mod job;
mod kafka;
mod machine;
mod scenarios;
mod transactions;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use world::{Seen, World};

/// How many seeds are run, unless `MILLSTREAM_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;

/// The run ends when so many seeds failed.
const MOST_FAILURES: usize = 5;

/// What has to happen in one of 20 worlds at least.
const EXPECTED: [&str; 11] = [
    "compactions",
    "epochs committed",
    "epochs of nothing",
    "hosts died",
    "leftovers adopted",
    "partitions moved",
    "power lost",
    "records read",
    "runs went back",
    "versions failed",
    "versions passed",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What happened in the world of a seed, or what is wrong with it.
fn run(seed: u64) -> Result<Seen, String> {
    let world = World::new(seed, false);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(ended) => ended.map(|()| world.seen()),
        Err(_) => Err("it panicked".to_owned()),
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
    let (failed, seen) = (Mutex::new(Vec::new()), Mutex::new(Seen::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.lock().len() >= MOST_FAILURES {
                        return;
                    }
                    match run(seed) {
                        Ok(of_seed) => {
                            of_seed.iter().for_each(|(what, times)| *seen.lock().entry(what).or_default() += times)
                        }
                        Err(wrong) => failed.lock().push((seed, wrong)),
                    }
                }
            });
        }
    });
    let (failed, seen) = (failed.lock(), seen.lock());
    if let Some((seed, wrong)) = failed.iter().min() {
        panic!(
            "seed {seed}: {wrong}\n{}\n{} of {seeds} seeds failed; `MILLSTREAM_SEED={seed} cargo test --release -p \
             millstream --lib simulation` shows this one again",
            traced(*seed).0.join("\n"),
            failed.len()
        );
    }
    let rare: Vec<_> = EXPECTED.iter().filter(|what| seen.get(*what).copied().unwrap_or(0) < seeds / 20).collect();
    assert!(rare.is_empty(), "a simulation in which this hardly happens shows nothing of it: {rare:?}, {seen:?}");
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in 0..20 {
        assert_eq!(traced(seed), traced(seed), "seed {seed}");
    }
}
