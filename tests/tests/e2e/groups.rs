//! Promise: the group deals the partitions of a topic out, and what a run reads is given away only when the run is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream::config::{self, Start};
use millstream::error::ErrorKind;
use millstream::record::Partition;
use millstream::source::Positions;
use millstream::source::kafka::{From, Reads};
use millstream_tests::kafka::Kafka;

use super::{Options, caught_up, count, following, join, numbers, read_to_end, refused, settings, sharing, values};

#[test]
fn a_second_member_is_refused_where_one_host_reads_alone_and_disturbs_nobody() {
    let kafka = Kafka::shared();
    kafka.create_topic("alone", 2);
    let settings = settings(kafka, "alone");
    let first = join(&settings, &Positions::new(), &following()).unwrap();
    let second = Options { host: "host2", timeout: Duration::from_secs(2), ..following() };
    let error = refused(join(&settings, &Positions::new(), &second));
    assert!(error.message().contains("another member") && error.message().contains("\"alone\""), "{error}");
    assert!(error.way_out().unwrap().contains("one host reads it alone"), "{:?}", error.way_out());
    first.check_membership().unwrap();
    assert!(!first.is_moved(), "the first one goes on");
    assert_eq!(first.partitions(), ["0", "1"]);
}

#[test]
fn hosts_of_a_group_divide_the_partitions_and_give_away_only_what_no_run_reads() {
    let kafka = Kafka::shared();
    kafka.create_topic("divided-hosts", 4);
    let settings = settings(kafka, "divided-hosts");
    let first = join(&settings, &Positions::new(), &sharing("host1", None)).unwrap();
    assert_eq!(first.partitions(), ["0", "1", "2", "3"]);
    let second = join(&settings, &Positions::new(), &sharing("host2", None)).unwrap();
    assert_eq!(second.partitions(), Vec::<String>::new(), "the first one's run still reads them");
    first.await_move();
    first.check_membership().expect("what it reads is still its own");
    assert!(!second.is_moved(), "nothing is given away while it is read");
    let first = first.again(&settings, &Positions::new(), &sharing("host1", None)).unwrap();
    second.await_move();
    let second = second.again(&settings, &Positions::new(), &sharing("host2", None)).unwrap();
    assert_eq!((first.partitions().len(), second.partitions().len()), (2, 2));
    let mut all = [first.partitions(), second.partitions()].concat();
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3"], "each has one reader");
    assert_eq!(second.group_hosts().unwrap(), ["host1", "host2"].map(str::to_owned).into());
    second.leave("host2");
    first.await_move();
    let first = first.again(&settings, &Positions::new(), &sharing("host1", None)).unwrap();
    assert_eq!(first.partitions().len(), 4, "who leaves gives its partitions back at once");
}

#[test]
fn moved_offsets_are_refused_and_shown_until_somebody_says_what_counts() {
    let kafka = Kafka::shared();
    kafka.create_topic("moved", 1);
    kafka.produce("moved", 1, numbers(0..10));
    let settings = settings(kafka, "moved");
    let mut committed = Positions::new();
    committed.entry(Partition { source: "clicks".into(), key: "0".into() }).or_default().ranges.add(0, 7);
    let first = join(&settings, &Positions::new(), &following()).unwrap();
    let mut moved = Positions::new();
    moved.entry(Partition { source: "clicks".into(), key: "0".into() }).or_default().ranges.add(0, 3);
    first.commit_offsets(&moved).unwrap();
    drop(first);
    let error = refused(join(&settings, &committed, &sharing("host1", None)));
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("partition 0: the group 3, the commits 7"), "{error}");
    assert!(error.way_out().unwrap().contains("--from commit"), "{:?}", error.way_out());
    for (from, first) in [(From::Group, 3), (From::Commit, 7)] {
        let source = join(&settings, &committed, &sharing("host1", Some(from))).unwrap();
        assert_eq!(values(&read_to_end(&mut source.readers(1).unwrap()[0])), numbers(first..10));
    }
}

#[test]
fn a_host_that_vanished_is_let_in_again_at_once() {
    let kafka = Kafka::shared();
    kafka.create_topic("vanished", 2);
    let settings = config::KafkaSource {
        properties: BTreeMap::from([("session.timeout.ms".to_owned(), "45000".to_owned())]),
        ..settings(kafka, "vanished")
    };
    drop(join(&settings, &Positions::new(), &following()).unwrap());
    let begin = Instant::now();
    join(&settings, &Positions::new(), &following()).unwrap().check_membership().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "it waited for its old session's end: {:?}", begin.elapsed());
}

#[test]
fn looking_joins_no_group() {
    let kafka = Kafka::shared();
    kafka.create_topic("looked", 1);
    kafka.produce("looked", 1, numbers(0..10));
    let looking = Options { reads: Reads::Looking, ..caught_up() };
    let source = join(&settings(kafka, "looked"), &Positions::new(), &looking).unwrap();
    assert_eq!(count(&read_to_end(&mut source.readers(1).unwrap()[0])), 10);
    source.check_membership().unwrap();
    assert_eq!(kafka.committed_offsets("looked", "looked", 1), [None]);
}

#[test]
fn new_partitions_are_read_from_their_start() {
    let kafka = Kafka::shared();
    kafka.create_topic("wider", 1);
    kafka.produce("wider", 1, numbers(0..10));
    let properties = BTreeMap::from([("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned())]);
    let settings = config::KafkaSource { start: Start::Latest, properties, ..settings(kafka, "wider") };
    let source = join(&settings, &Positions::new(), &following()).unwrap();
    kafka.grow_topic("wider", 2);
    source.await_move();
    kafka.produce("wider", 2, numbers(10..20));
    let source = source.again(&settings, &Positions::new(), &caught_up()).unwrap();
    assert_eq!(values(&read_to_end(&mut source.readers(1).unwrap()[0])), numbers(10..20));
}
