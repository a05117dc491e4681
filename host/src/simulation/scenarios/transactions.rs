//! Transactions: when rows are seen and when they never are, who holds back what, who is fenced by whom.

use super::super::kafka::Isolation::Uncommitted;
use super::super::kafka::Refusal::{Fenced, NotOpen};
use super::super::transactions::OUTPUT as OUT;
use super::Step::{Abort, Begin, Commit, Die, Init, InitBrief, Rows, Send, SendPlain};
use super::{MORE, Scenario, held, scenario, seen};

pub fn scenarios() -> Vec<Scenario> {
    [visibility(), side_by_side(), fencing(), out_of_turn()].into_iter().flatten().collect()
}

fn visibility() -> Vec<Scenario> {
    vec![
        scenario("rows are seen when their transaction is committed and not before")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3)])
            .sees(OUT, held(0))
            .does(&[Commit("a")])
            .sees(OUT, seen(3)),
        scenario("rows of an aborted transaction are never seen")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Abort("a")])
            .sees(OUT, seen(0)),
        scenario("a reader of everything sees rows of open and of aborted transactions")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3)])
            .gets(Rows(OUT, Uncommitted), held(3))
            .does(&[Abort("a")])
            .gets(Rows(OUT, Uncommitted), seen(3)),
        scenario("a producer goes on behind its abort")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Abort("a")])
            .does(&[Begin("a"), Send("a", OUT, 2), Commit("a")])
            .sees(OUT, seen(2)),
        scenario("one transaction right behind the other")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1), Commit("a")])
            .does(&[Begin("a"), Send("a", OUT, 1), Commit("a")])
            .does(&[Begin("a"), Send("a", OUT, 1), Commit("a")])
            .sees(OUT, seen(3)),
        scenario("rows of an id that were aborted between committed ones are not seen")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1), Commit("a")])
            .does(&[Begin("a"), Send("a", OUT, 2), Abort("a")])
            .does(&[Begin("a"), Send("a", OUT, 4), Commit("a")])
            .sees(OUT, seen(5)),
        scenario("what a transaction sent to two topics is seen in both")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 2), Send("a", MORE, 3)])
            .sees(OUT, held(0))
            .sees(MORE, held(0))
            .does(&[Commit("a")])
            .sees(OUT, seen(2))
            .sees(MORE, seen(3)),
        scenario("what an aborted transaction sent to two topics is seen in none")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 2), Send("a", MORE, 3), Abort("a")])
            .sees(OUT, seen(0))
            .sees(MORE, seen(0)),
    ]
}

fn side_by_side() -> Vec<Scenario> {
    vec![
        scenario("an open transaction holds back rows that were committed behind its first one")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1)])
            .does(&[Init("b"), Begin("b"), Send("b", OUT, 2), Commit("b")])
            .sees(OUT, held(0))
            .does(&[Commit("a")])
            .sees(OUT, seen(3)),
        scenario("an open transaction holds back rows of no transaction")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1), SendPlain(OUT, 2)])
            .sees(OUT, held(0))
            .does(&[Abort("a")])
            .sees(OUT, seen(2)),
        scenario("an open transaction does not hold back what lies before it")
            .does(&[Init("b"), Begin("b"), Send("b", OUT, 2), Commit("b")])
            .sees(OUT, seen(2))
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1)])
            .sees(OUT, held(2)),
        scenario("an open transaction does not hold back another topic")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1)])
            .does(&[Init("b"), Begin("b"), Send("b", MORE, 2), Commit("b")])
            .sees(MORE, seen(2))
            .sees(OUT, held(0)),
        scenario("of three transactions in one topic the one that aborts is not seen")
            .does(&[Init("a"), Init("b"), Init("c"), Begin("a"), Begin("b"), Begin("c")])
            .does(&[Send("a", OUT, 1), Send("b", OUT, 2), Send("c", OUT, 4)])
            .does(&[Commit("a"), Abort("b")])
            .sees(OUT, held(1))
            .does(&[Commit("c")])
            .sees(OUT, seen(5)),
        scenario("rows of two transactions that lie between each other are told apart")
            .does(&[Init("a"), Init("b"), Begin("a"), Begin("b")])
            .does(&[Send("a", OUT, 1), Send("b", OUT, 2), Send("a", OUT, 4), Send("b", OUT, 8)])
            .does(&[Abort("a"), Commit("b")])
            .sees(OUT, seen(10)),
    ]
}

fn fencing() -> Vec<Scenario> {
    vec![
        scenario("who takes an id ends what was open")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Init("a'")])
            .sees(OUT, seen(0)),
        scenario("who lost its id in a transaction commits nothing")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Init("a'")])
            .refuses(Commit("a"), Fenced)
            .sees(OUT, seen(0)),
        scenario("who lost its id in a transaction sends nothing more")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Init("a'")])
            .refuses(Send("a", OUT, 2), Fenced)
            .refuses(Commit("a"), Fenced)
            .sees(OUT, seen(0)),
        scenario("who lost its id between two transactions hears of it with the first row")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Commit("a"), Init("a'"), Begin("a")])
            .refuses(Send("a", OUT, 2), Fenced)
            .sees(OUT, seen(3)),
        scenario("who lost its id does not abort what its successor does")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3)])
            .does(&[Init("a'"), Begin("a'"), Send("a'", OUT, 2)])
            .refuses(Abort("a"), Fenced)
            .does(&[Commit("a'")])
            .sees(OUT, seen(2)),
        scenario("what was committed stays when the id is taken at once")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Commit("a"), Init("a'")])
            .sees(OUT, seen(3)),
        scenario("a dead producer's transaction stays open until its id is taken")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Die("a"), SendPlain(OUT, 1)])
            .sees(OUT, held(0))
            .does(&[Init("a'")])
            .sees(OUT, seen(1))
            .does(&[Begin("a'"), Send("a'", OUT, 2), Commit("a'")])
            .sees(OUT, seen(3)),
        scenario("of three that took an id only the last one counts")
            .does(&[Init("a"), Init("a'"), Begin("a'"), Send("a'", OUT, 1), Init("a''"), Begin("a''")])
            .refuses(Send("a'", OUT, 2), Fenced)
            .does(&[Send("a''", OUT, 4), Commit("a''")])
            .sees(OUT, seen(4)),
        scenario("who takes an id ends nothing of other ids")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 1)])
            .does(&[Init("b"), Begin("b"), Send("b", OUT, 2), Init("b'"), Commit("a")])
            .sees(OUT, seen(1)),
        scenario("a transaction that lasts too long is aborted and its producer is fenced")
            .does(&[InitBrief("a"), Begin("a"), Send("a", OUT, 3)])
            .sees(OUT, seen(0))
            .refuses(Commit("a"), Fenced),
        scenario("rows behind a transaction that lasted too long are refused")
            .does(&[InitBrief("a"), Begin("a"), Send("a", OUT, 3)])
            .sees(OUT, seen(0))
            .refuses(Send("a", OUT, 2), Fenced)
            .does(&[Init("a'"), Begin("a'"), Send("a'", OUT, 1), Commit("a'")])
            .sees(OUT, seen(1)),
    ]
}

fn out_of_turn() -> Vec<Scenario> {
    vec![
        scenario("a commit needs a transaction").does(&[Init("a")]).refuses(Commit("a"), NotOpen),
        scenario("a row needs a transaction").does(&[Init("a")]).refuses(Send("a", OUT, 1), NotOpen),
        scenario("a transaction is committed once")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Commit("a")])
            .refuses(Commit("a"), NotOpen)
            .refuses(Abort("a"), NotOpen)
            .sees(OUT, seen(3)),
        scenario("an abort is not taken back by a commit")
            .does(&[Init("a"), Begin("a"), Send("a", OUT, 3), Abort("a")])
            .refuses(Commit("a"), NotOpen)
            .sees(OUT, seen(0)),
        scenario("a transaction of nothing is committed")
            .does(&[Init("a"), Begin("a"), Commit("a"), Begin("a"), Send("a", OUT, 1), Commit("a")])
            .sees(OUT, seen(1)),
    ]
}
