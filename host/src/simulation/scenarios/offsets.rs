//! A group's offsets: in transactions and in none, and while nobody knows yet.

use super::super::kafka::Refusal::{Fenced, Unstable};
use super::super::transactions::OUTPUT as OUT;
use super::Step::{Abort, Begin, Commit, CommitOffsets, Die, Init, InitBrief, Join, Note, Offsets, Send, SendOffsets};
use super::{Outcome, PARTITIONS, Scenario, all_at, held, scenario, seen};

/// A member that has all partitions.
fn member(name: &'static str) -> Scenario {
    scenario(name).gets(Join("m"), Outcome::Dealt(PARTITIONS)).does(&[Init("a"), Begin("a"), Note("m", 5)])
}

fn none() -> Outcome {
    Outcome::Offsets(Vec::new())
}

pub fn scenarios() -> Vec<Scenario> {
    [in_transactions(), of_gone_producers(), beside_transactions()].into_iter().flatten().collect()
}

fn in_transactions() -> Vec<Scenario> {
    vec![
        member("offsets are unstable until their transaction is committed")
            .gets(Offsets, none())
            .does(&[SendOffsets("a", "m")])
            .refuses(Offsets, Unstable)
            .does(&[Commit("a")])
            .gets(Offsets, all_at(5)),
        member("offsets of an aborted transaction never were")
            .does(&[SendOffsets("a", "m"), Commit("a"), Begin("a"), Note("m", 9), SendOffsets("a", "m"), Abort("a")])
            .gets(Offsets, all_at(5)),
        member("rows and offsets become true together")
            .does(&[Send("a", OUT, 3), SendOffsets("a", "m")])
            .sees(OUT, held(0))
            .refuses(Offsets, Unstable)
            .does(&[Commit("a")])
            .sees(OUT, seen(3))
            .gets(Offsets, all_at(5)),
        member("of offsets that are sent twice in a transaction the later ones count")
            .does(&[SendOffsets("a", "m"), Note("m", 9), SendOffsets("a", "m"), Commit("a")])
            .gets(Offsets, all_at(9)),
        member("of two transactions with a partition's offset the one that sent it later counts")
            .does(&[SendOffsets("a", "m"), Init("b"), Begin("b"), Note("m", 9), SendOffsets("b", "m"), Commit("b")])
            .refuses(Offsets, Unstable)
            .does(&[Commit("a")])
            .gets(Offsets, all_at(9)),
    ]
}

fn of_gone_producers() -> Vec<Scenario> {
    vec![
        member("offsets of a dead producer are settled by who takes its id")
            .does(&[SendOffsets("a", "m"), Die("a")])
            .refuses(Offsets, Unstable)
            .does(&[Init("a'")])
            .gets(Offsets, none()),
        member("offsets that a dead producer committed are there for who takes its id")
            .does(&[SendOffsets("a", "m"), Commit("a"), Die("a"), Init("a'")])
            .gets(Offsets, all_at(5)),
        member("offsets of a producer that lost its id are refused")
            .does(&[Send("a", OUT, 1), Init("a'")])
            .refuses(SendOffsets("a", "m"), Fenced)
            .gets(Offsets, none()),
        scenario("offsets of a transaction that lasts too long never were")
            .gets(Join("m"), Outcome::Dealt(PARTITIONS))
            .does(&[InitBrief("a"), Begin("a"), Note("m", 5), SendOffsets("a", "m")])
            .gets(Offsets, none())
            .refuses(Commit("a"), Fenced),
    ]
}

fn beside_transactions() -> Vec<Scenario> {
    vec![
        member("offsets in no transaction count at once").does(&[CommitOffsets("m")]).gets(Offsets, all_at(5)),
        member("offsets that were committed while older ones were in a transaction count")
            .does(&[SendOffsets("a", "m"), Note("m", 9), CommitOffsets("m")])
            .refuses(Offsets, Unstable)
            .does(&[Commit("a")])
            .gets(Offsets, all_at(9)),
    ]
}
