//! The group: partitions that are handed over, members that are gone, and what those may still commit who lost their place.

use super::super::kafka::Refusal::{NotMember, Unstable};
use super::Step::{
    Abort, Begin, Commit, CommitOffsets, Die, HoldAgain, Init, IsMember, IsMoved, Join, Members, Note, Offsets,
    SendOffsets,
};
use super::{Outcome, PARTITIONS, Scenario, all_at, scenario};

fn dealt_all() -> Outcome {
    Outcome::Dealt(PARTITIONS)
}

fn dealt_half() -> Outcome {
    Outcome::Dealt(PARTITIONS / 2)
}

fn dealt_none() -> Outcome {
    Outcome::Dealt(0)
}

fn is_moved() -> Outcome {
    Outcome::IsMoved(true)
}

/// A member that has all partitions.
fn one(name: &'static str) -> Scenario {
    scenario(name).gets(Join("m"), dealt_all())
}

/// Another one came, and waits for its part.
fn two(name: &'static str) -> Scenario {
    one(name).gets(Join("n"), dealt_none()).gets(IsMoved("m"), is_moved())
}

/// Two have half of the partitions each.
fn halves(name: &'static str) -> Scenario {
    two(name).gets(HoldAgain("m"), dealt_half()).gets(IsMoved("n"), is_moved()).gets(HoldAgain("n"), dealt_half())
}

pub fn scenarios() -> Vec<Scenario> {
    [handing_over(), restarts(), gone()].into_iter().flatten().collect()
}

fn handing_over() -> Vec<Scenario> {
    vec![
        halves("partitions are given to another one when the run that reads them is over")
            .gets(Members, Outcome::Members(2)),
        two("who gives partitions back commits its last epoch before")
            .does(&[Note("m", 5), Init("a"), Begin("a"), SendOffsets("a", "m"), Commit("a")])
            .gets(HoldAgain("m"), dealt_half())
            .gets(IsMoved("n"), is_moved())
            .gets(HoldAgain("n"), dealt_half())
            .gets(Offsets, all_at(5)),
        halves("two members commit each its own")
            .does(&[Note("m", 5), Init("a"), Begin("a"), SendOffsets("a", "m"), Commit("a")])
            .does(&[Note("n", 9), Init("b"), Begin("b"), SendOffsets("b", "n"), Commit("b")])
            .gets(Offsets, Outcome::Offsets(vec![(5, PARTITIONS / 2), (9, PARTITIONS / 2)])),
        one("what was noted before another one came is refused")
            .does(&[Note("m", 5), Init("a"), Begin("a")])
            .gets(Join("n"), dealt_none())
            .gets(IsMoved("m"), is_moved())
            .refuses(SendOffsets("a", "m"), NotMember),
        one("a transaction whose offsets were refused can only be aborted")
            .does(&[Note("m", 5), Init("a"), Begin("a")])
            .gets(Join("n"), dealt_none())
            .gets(IsMoved("m"), is_moved())
            .refuses(SendOffsets("a", "m"), NotMember)
            .refuses(Commit("a"), NotMember)
            .does(&[Abort("a")])
            .gets(Offsets, Outcome::Offsets(Vec::new()))
            .does(&[Note("m", 7), Begin("a"), SendOffsets("a", "m"), Commit("a")])
            .gets(Offsets, all_at(7)),
    ]
}

fn restarts() -> Vec<Scenario> {
    vec![
        one("who comes back under its name has its partitions at once")
            .does(&[Die("m")])
            .gets(Join("m'"), dealt_all())
            .gets(Members, Outcome::Members(1)),
        one("who comes under a name that somebody has takes its place")
            .gets(Join("m'"), dealt_all())
            .refuses(IsMember("m"), NotMember)
            .gets(IsMember("m'"), Outcome::Done),
        one("what was noted by who lost its place to its successor is refused")
            .does(&[Note("m", 5), Init("a"), Begin("a")])
            .gets(Join("m'"), dealt_all())
            .refuses(SendOffsets("a", "m"), NotMember),
        one("who lost its place commits no offsets in no transaction either")
            .does(&[Note("m", 5)])
            .gets(Join("m'"), dealt_all())
            .refuses(IsMember("m"), NotMember)
            .refuses(CommitOffsets("m"), NotMember)
            .gets(Offsets, Outcome::Offsets(Vec::new())),
    ]
}

fn gone() -> Vec<Scenario> {
    vec![
        one("what a silent member noted is taken until its session is over")
            .does(&[Note("m", 5), Init("a"), Begin("a"), Die("m"), SendOffsets("a", "m"), Commit("a")])
            .gets(Offsets, all_at(5)),
        one("what a silent member noted is refused when its session is over")
            .does(&[Note("m", 5), Init("a"), Begin("a"), Die("m")])
            .gets(Members, Outcome::Members(0))
            .refuses(SendOffsets("a", "m"), NotMember),
        one("who comes when the session of another one is over has everything at once")
            .does(&[Die("m")])
            .gets(Members, Outcome::Members(0))
            .gets(Join("n"), dealt_all()),
        halves("who is left has the partitions of one that is gone, and that one commits nothing")
            .does(&[Note("n", 9), Init("b"), Begin("b"), Die("n")])
            .gets(IsMoved("m"), is_moved())
            .gets(HoldAgain("m"), dealt_all())
            .refuses(SendOffsets("b", "n"), NotMember)
            .gets(Offsets, Outcome::Offsets(Vec::new())),
        halves("a taker finds offsets of a gone host unstable until it takes its id")
            .does(&[Note("n", 9), Init("b"), Begin("b"), SendOffsets("b", "n"), Die("b"), Die("n")])
            .gets(IsMoved("m"), is_moved())
            .gets(HoldAgain("m"), dealt_all())
            .refuses(Offsets, Unstable)
            .does(&[Init("b'")])
            .gets(Offsets, Outcome::Offsets(Vec::new()))
            .does(&[Note("m", 5), Init("a"), Begin("a"), SendOffsets("a", "m"), Commit("a")])
            .gets(Offsets, all_at(5)),
    ]
}
