//! Hosts: the binary's own commit on a commit topic, and who takes whose place.

use super::super::kafka::Isolation::Uncommitted;
use super::super::kafka::Refusal::NotMember;
use super::super::transactions::{COMMITS, OUTPUT as OUT};
use super::Step::{
    Compact, Die, End, Epoch, GoBack, Half, HostRows, IsMember, Join, LongEpoch, Offsets, Open, Records, Rows,
    SendPlain,
};
use super::{Outcome, PARTITIONS, Scenario, all_at, held, records, scenario, seen};

pub fn scenarios() -> Vec<Scenario> {
    [commits(), deaths()].into_iter().flatten().collect()
}

fn commits() -> Vec<Scenario> {
    vec![
        scenario("the last record of each host counts, in the order of their commits")
            .does(&[Open("a"), Open("b"), Epoch("a", 1), Epoch("b", 1), Epoch("b", 2), Epoch("a", 2)])
            .gets(Records("a"), records(&[("b", 2), ("a", 2)]))
            .does(&[Epoch("b", 3)])
            .gets(Records("a"), records(&[("a", 2), ("b", 3)])),
        scenario("a record that is several messages long is read whole")
            .does(&[Open("a"), LongEpoch("a", 1), LongEpoch("a", 2), Open("b")])
            .gets(Records("b"), records(&[("a", 2)]))
            .does(&[Epoch("a", 3)])
            .gets(Records("b"), records(&[("a", 3)])),
        scenario("the last record of a host outlives the compaction of the topic")
            .does(&[Open("a"), Open("b"), Epoch("a", 1), Epoch("a", 2), Epoch("a", 3), Compact, Epoch("b", 1)])
            .gets(Rows(COMMITS, Uncommitted), seen(2))
            .gets(Records("b"), records(&[("a", 3), ("b", 1)]))
            .does(&[Epoch("a", 4)])
            .gets(Records("b"), records(&[("b", 1), ("a", 4)])),
        scenario("a record that is shorter than the one before is read when the topic was compacted")
            .does(&[Open("a"), Open("b"), LongEpoch("a", 1), LongEpoch("a", 2), Epoch("a", 3), Compact, Epoch("b", 1)])
            .gets(Rows(COMMITS, Uncommitted), seen(5))
            .gets(Records("b"), records(&[("a", 3), ("b", 1)])),
        scenario("rows and offsets and record of an epoch become true together")
            .gets(Join("a"), Outcome::Dealt(PARTITIONS))
            .does(&[Open("a"), HostRows("a", 3), Half("a", 1)])
            .sees(OUT, held(0))
            .does(&[End("a")])
            .sees(OUT, seen(3))
            .gets(Offsets, all_at(10))
            .gets(Records("a"), records(&[("a", 1)])),
    ]
}

fn deaths() -> Vec<Scenario> {
    vec![
        scenario("a host that goes back ends what it has open")
            .does(&[Open("a"), HostRows("a", 3), GoBack("a"), SendPlain(OUT, 1)])
            .sees(OUT, seen(1)),
        scenario("a host that died in a commit finds nothing of it at its next start")
            .gets(Join("a"), Outcome::Dealt(PARTITIONS))
            .does(&[Open("a"), Epoch("a", 1), HostRows("a", 3), Half("a", 2), Die("a")])
            .gets(Join("a'"), Outcome::Dealt(PARTITIONS))
            .does(&[Open("a'")])
            .gets(Records("a'"), records(&[("a", 1)]))
            .sees(OUT, seen(0))
            .gets(Offsets, all_at(10)),
        scenario("a host that died behind a commit finds all of it at its next start")
            .gets(Join("a"), Outcome::Dealt(PARTITIONS))
            .does(&[Open("a"), HostRows("a", 3), Epoch("a", 1), Die("a"), Open("a'")])
            .gets(Records("a'"), records(&[("a", 1)]))
            .sees(OUT, seen(3))
            .gets(Offsets, all_at(10)),
        scenario("a host that died in a commit does not keep others from reading the records")
            .does(&[Open("a"), Epoch("a", 1), Half("a", 2), Die("a"), Open("b")])
            .gets(Records("b"), records(&[("a", 1)])),
        scenario("a commit that others ended because it took too long goes back")
            .does(&[Open("a"), Half("a", 1), Open("b")])
            .gets(End("a"), Outcome::NotCommitted)
            .gets(Records("b"), records(&[])),
        scenario("who takes the place of a host goes on behind its last commit, and that one goes back")
            // One row waits for nothing, and so hears of nothing.
            .does(&[Open("a"), Epoch("a", 1), Open("a'"), HostRows("a", 1)])
            .gets(Epoch("a", 2), Outcome::NotCommitted)
            .does(&[Epoch("a'", 2)])
            .sees(OUT, seen(0))
            .gets(Records("a'"), records(&[("a", 2)])),
        scenario("a host that lost its place in the group commits nothing")
            .gets(Join("a"), Outcome::Dealt(PARTITIONS))
            .does(&[Open("a"), HostRows("a", 3)])
            .gets(Join("a'"), Outcome::Dealt(PARTITIONS))
            .refuses(IsMember("a"), NotMember)
            .gets(Epoch("a", 1), Outcome::NotCommitted)
            .does(&[Open("a'")])
            .sees(OUT, seen(0))
            .gets(Offsets, Outcome::Offsets(Vec::new()))
            .gets(Records("a'"), records(&[])),
    ]
}
