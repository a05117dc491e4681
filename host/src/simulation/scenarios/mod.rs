//! Scripts that the cluster in memory and a real Apache Kafka have to answer alike: what the commit leans on, step by step.
//! Each step says what its answer has to be, so both being wrong together is noticed too.
//!
//! `cargo test --release --workspace --lib scenarios`; with `MILLSTREAM_SCENARIO=text` only those with the text in their name.
//!
//! # How the two are made comparable
//!
//! - *What an actor does* has its answer at once. Clients ask again while something is under way, as the binary's do.
//! - *What is looked at* is waited for (`PATIENCE_MS`; in memory time is moved): a real broker writes markers behind its
//!   answer, and deals partitions out when it likes.
//! - Rows that are seen are counted, and whether something holds back the end that readers of committed records see. Offsets
//!   themselves are not compared: batches and markers of a real log take offsets in another way.
//! - Partitions that a member has are counted: which of them are dealt to whom is the group's own matter.
//! - A producer that is fenced is told so in several ways (`refusal` in `real`); a member that is none any more, too.
//!
//! # Who plays the real part
//!
//! Hosts are the binary's own `commit::Transactions`, members its `KafkaSource`, producers those of its outputs; only what
//! looks is a client of its own. A member that dies is dropped: a static member says no goodbye. A host that dies is
//! forgotten, since dropping it would end its transaction.
//!
//! # What differs on purpose
//!
//! - In memory a session ends after 10 s and a real one after `SESSION_MS`; nobody looks at the time.
//! - An empty transaction of a producer that was fenced is refused in memory; a real client commits it, because it tells the
//!   brokers nothing. A commit of the binary has a record in it.

mod groups;
mod hosts;
mod memory;
mod offsets;
mod real;
mod transactions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millstream_tests::kafka::Kafka;
use parking_lot::Mutex;

use super::kafka::{Isolation, Refusal};
use super::transactions::MOST_VALUE_BYTES;
use crate::commit::topic::{Steps, messages};
use crate::commit::{CommitRecord, PlanStamp, Sharing, Transaction};
use crate::error::Result;
use crate::pipeline::Counts;
use crate::source::{Position, Positions};

use memory::MemoryPlayer;
use real::RealPlayer;

/// How long something that has to happen is waited for.
const PATIENCE_MS: u64 = 30_000;

/// Scenarios that a real broker plays at the same time: most of them wait.
const AT_ONCE: usize = 6;

/// Partitions of the topic that members share.
const PARTITIONS: usize = 6;

/// A second topic to send to.
const MORE: &str = "more";

/// Longer than any scenario takes.
const TRANSACTION_MS: u64 = 60_000;

/// The shortest that Kafka's clients take.
const BRIEF_MS: u64 = 1_000;

/// An actor. Those whose names are the same up to primes have one id: "a'" is who comes behind "a".
type Name = &'static str;

fn id(name: Name) -> &'static str {
    name.trim_end_matches('\'')
}

/// A step of a script.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A producer takes its id.
    Init(Name),
    /// As `Init`; its transactions may last `BRIEF_MS`.
    InitBrief(Name),
    Begin(Name),
    /// So many rows to a topic, in the producer's transaction.
    Send(Name, &'static str, usize),
    /// So many rows to a topic, in no transaction.
    SendPlain(&'static str, usize),
    /// The offsets that a member noted, in the producer's transaction.
    SendOffsets(Name, Name),
    Commit(Name),
    Abort(Name),
    /// A producer, a member or a host is no more, and says nothing.
    Die(Name),
    /// What a reader sees of a topic.
    Rows(&'static str, Isolation),
    /// The group's offsets.
    Offsets,
    /// A member joins, and holds what it is dealt.
    Join(Name),
    /// The run of a member is over: it gives back what is wanted back, and holds what it is dealt then.
    HoldAgain(Name),
    /// Whether partitions come, or are wanted back.
    IsMoved(Name),
    /// A member notes an offset for each of its partitions, and what it is in the group.
    Note(Name, i64),
    /// Commits what a member noted, in no transaction.
    CommitOffsets(Name),
    /// Whether a member is one.
    IsMember(Name),
    Members,
    /// A host opens its transactions, with the place in the group of the member of its name.
    Open(Name),
    /// A host sends so many rows.
    HostRows(Name, usize),
    /// A host commits an epoch. A member's offsets are ten times its number.
    Epoch(Name, u64),
    /// As `Epoch`, with a record that does not fit into one message.
    LongEpoch(Name, u64),
    /// As `Epoch`, but for the end.
    Half(Name, u64),
    /// The end that `Half` left out.
    End(Name),
    /// A host goes back to its last commit, in the same process: it gives up what it has open.
    GoBack(Name),
    /// The commit topic is compacted, but for what is sent from now on; `Rows` sees it.
    Compact,
    /// The hosts' last records, as a host reads them.
    Records(Name),
}

impl Step {
    /// Whether it changes nothing, and what it sees may yet come.
    fn is_look(self) -> bool {
        matches!(self, Self::Rows(..) | Self::Offsets | Self::IsMoved(_) | Self::IsMember(_) | Self::Members)
    }
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(Refusal),
    /// The host goes back to its last commit, or gives up: it has work that was not committed.
    NotCommitted,
    Rows {
        seen: usize,
        /// Whether a transaction that has not ended holds the end back.
        is_held: bool,
    },
    /// Each offset, and how many partitions have it.
    Offsets(Vec<(i64, usize)>),
    /// So many partitions.
    Dealt(usize),
    IsMoved(bool),
    Members(usize),
    /// Hosts and their epochs, the one that was committed last at the end.
    Records(Vec<(String, u64)>),
}

/// Rows that are seen while nothing holds the end back.
fn seen(seen: usize) -> Outcome {
    Outcome::Rows { seen, is_held: false }
}

/// Rows that are seen in front of those of a transaction that has not ended.
fn held(seen: usize) -> Outcome {
    Outcome::Rows { seen, is_held: true }
}

/// All partitions have this offset.
fn all_at(offset: i64) -> Outcome {
    Outcome::Offsets(vec![(offset, PARTITIONS)])
}

fn records(records: &[(&str, u64)]) -> Outcome {
    Outcome::Records(records.iter().map(|(host, epoch)| ((*host).to_owned(), *epoch)).collect())
}

/// A script.
struct Scenario {
    name: &'static str,
    steps: Vec<(Step, Outcome)>,
}

fn scenario(name: &'static str) -> Scenario {
    Scenario { name, steps: Vec::new() }
}

impl Scenario {
    /// Steps that are done as they are asked for.
    fn does(mut self, steps: &[Step]) -> Self {
        self.steps.extend(steps.iter().map(|step| (*step, Outcome::Done)));
        self
    }

    /// A step and its answer.
    fn gets(mut self, step: Step, outcome: Outcome) -> Self {
        self.steps.push((step, outcome));
        self
    }

    /// A step that is refused.
    fn refuses(self, step: Step, refusal: Refusal) -> Self {
        self.gets(step, Outcome::Refused(refusal))
    }

    /// What a reader of committed records sees of a topic.
    fn sees(self, topic: &'static str, rows: Outcome) -> Self {
        self.gets(Step::Rows(topic, Isolation::Committed), rows)
    }
}

fn scenarios() -> Vec<Scenario> {
    let all = [transactions::scenarios(), offsets::scenarios(), groups::scenarios(), hosts::scenarios()];
    all.into_iter().flatten().collect()
}

/// All, or those that are asked for.
fn wanted() -> Vec<Scenario> {
    let text = std::env::var("MILLSTREAM_SCENARIO").unwrap_or_default();
    scenarios().into_iter().filter(|scenario| scenario.name.contains(&text)).collect()
}

/// Plays steps on a cluster.
trait Player {
    /// Does a step, once.
    fn take(&mut self, step: Step) -> Outcome;

    /// Lets a moment pass.
    fn wait(&mut self);

    fn now_ms(&self) -> u64;
}

fn play(player: &mut impl Player, scenario: &Scenario) -> Vec<Outcome> {
    let steps = scenario.steps.iter().map(|(step, expected)| {
        let until_ms = player.now_ms() + PATIENCE_MS;
        loop {
            let outcome = player.take(*step);
            if outcome == *expected || !step.is_look() || player.now_ms() >= until_ms {
                return outcome;
            }
            player.wait();
        }
    });
    steps.collect()
}

fn in_memory(scenario: &Scenario) -> Vec<Outcome> {
    play(&mut MemoryPlayer::new(), scenario)
}

/// What a trace says that the script does not.
fn differs(scenario: &Scenario, whose: &str, trace: &[Outcome]) -> Option<String> {
    let mut wrong = scenario.steps.iter().zip(trace).filter(|((_, expected), outcome)| expected != *outcome);
    let ((step, expected), outcome) = wrong.next()?;
    Some(format!("{}: {step:?}: {expected:?} is expected, {whose} says {outcome:?}", scenario.name))
}

/// A record of a host's epoch.
fn record(host: &str, epoch: u64, fingerprint: &str) -> CommitRecord {
    CommitRecord {
        version: 1,
        host: host.to_owned(),
        incarnation: 1,
        epoch,
        committed_at_ms: 0,
        plan: PlanStamp { number: 1, fingerprint: fingerprint.to_owned(), ..PlanStamp::default() },
        positions: positions(epoch as i64 * 10),
        outputs: Default::default(),
        counts: Counts::default(),
        totals: Counts::default(),
        closed_rows: Default::default(),
        sharing: Sharing::default(),
    }
}

/// A host's record that is some messages long.
fn long_record(host: &str, epoch: u64) -> CommitRecord {
    record(host, epoch, &"f".repeat(3 * MOST_VALUE_BYTES))
}

/// Everything below an offset was read, of each partition.
fn positions(offset: i64) -> Positions {
    let position = |partition| {
        let mut position = Position::default();
        position.ranges.add(0, offset);
        (super::transactions::partition(partition), position)
    };
    (0..PARTITIONS).map(position).collect()
}

/// A step that is a host's own, whoever plays it.
fn host_takes<H: Transaction + Steps>(hosts: &mut BTreeMap<Name, Arc<H>>, step: Step) -> Result<()> {
    match step {
        Step::Epoch(name, epoch) => hosts[name].commit(&record(id(name), epoch, "")),
        Step::LongEpoch(name, epoch) => hosts[name].commit(&long_record(id(name), epoch)),
        Step::Half(name, epoch) => {
            let (host, record) = (&*hosts[name], record(id(name), epoch, ""));
            Steps::begin(host)?;
            messages(&record, MOST_VALUE_BYTES)?.iter().try_for_each(|(key, value)| host.send(key, value))?;
            host.send_offsets(&record.positions)?;
            host.flush()
        }
        Step::End(name) => hosts[name].end(),
        Step::GoBack(name) => {
            drop(hosts.remove(name));
            Ok(())
        }
        other => unreachable!("{other:?} is no step of a host alone"),
    }
}

fn heads(records: &[CommitRecord]) -> Outcome {
    Outcome::Records(records.iter().map(|record| (record.host.clone(), record.epoch)).collect())
}

/// How often each offset is there.
fn tally(mut offsets: Vec<i64>) -> Outcome {
    offsets.sort_unstable();
    let chunks = offsets.chunk_by(|one, other| one == other);
    Outcome::Offsets(chunks.map(|chunk| (chunk[0], chunk.len())).collect())
}

#[test]
fn the_cluster_in_memory_answers_as_the_scripts_say() {
    let wrong: Vec<_> =
        wanted().iter().filter_map(|scenario| differs(scenario, "memory", &in_memory(scenario))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_real_kafka_answers_as_the_cluster_in_memory() {
    let kafka = Kafka::shared();
    let scenarios = wanted();
    let (left, wrong) = (Mutex::new(scenarios.iter().enumerate().collect::<VecDeque<_>>()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((number, scenario)) = left.lock().pop_front() else { return };
                    let memory = in_memory(scenario);
                    let played = AssertUnwindSafe(|| play(&mut RealPlayer::new(kafka, number), scenario));
                    let unlike = match catch_unwind(played) {
                        Ok(real) => differs(scenario, "Kafka", &real)
                            .or((real != memory).then(|| format!("{}: memory says {memory:?}", scenario.name))),
                        Err(_) => Some(format!("{}: it panicked", scenario.name)),
                    };
                    wrong.lock().extend(unlike);
                }
            });
        }
    });
    let wrong = wrong.lock();
    assert!(wrong.is_empty(), "{} of {} scenarios:\n{}", wrong.len(), scenarios.len(), wrong.join("\n"));
}

#[test]
fn there_are_fifty_scenarios_and_no_two_of_a_name() {
    let names: BTreeSet<_> = scenarios().into_iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), scenarios().len());
    assert!(names.len() >= 50, "{}", names.len());
}
