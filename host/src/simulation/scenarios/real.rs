//! Plays scenarios on a real broker, with the binary's own hosts, members and producers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_tests::kafka::Kafka;
use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::super::kafka::{Isolation, Refusal};
use super::super::transactions::{COMMITS, INPUT, MOST_VALUE_BYTES, OUTPUT};
use super::{
    BRIEF_MS, MORE, Name, Outcome, PARTITIONS, Player, Step, TRANSACTION_MS, heads, host_takes, id, positions, tally,
};
use crate::commit::{Cluster, Fenced, GroupOffsets, Transactions};
use crate::config::{self, Located};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::producer::{self, RowProducer, Transactional};
use crate::output::kafka::{Rows, TopicQueue, flush};
use crate::record::Records;
use crate::source::Positions;
use crate::source::kafka::client::{Context, configure, reader};
use crate::source::kafka::{JoinOptions, KafkaSource, Members, PartsReader, Reads, Wanted, part_client};

/// How long a member may be silent: long enough for what is done before that time is over, on a busy machine.
const SESSION_MS: u64 = 5_000;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long offsets are asked for until they count as unstable: the client asks the brokers again and again.
const UNSTABLE: Duration = Duration::from_secs(1);

/// What passes while somebody waits.
const MOMENT: Duration = Duration::from_millis(50);

/// What is sent from now on is in a segment of its own; the cleaner takes what lies before it.
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.01")];

/// Of a message, beside its value: what `output::kafka::producer` leaves for it.
const OVERHEAD_BYTES: usize = 1024;

/// Who is there in one scenario, on a broker that others use too.
pub struct RealPlayer {
    kafka: &'static Kafka,
    /// Tells the scenario's topics, groups and ids from others'.
    prefix: String,
    began: Instant,
    /// In the group, as one that looks.
    observer: BaseConsumer<Context>,
    of_all: BaseConsumer<Context>,
    of_committed: BaseConsumer<Context>,
    producers: BTreeMap<Name, Arc<RowProducer>>,
    members: BTreeMap<Name, Member>,
    hosts: BTreeMap<Name, Arc<Transactions>>,
}

/// What a run reads; none between two runs.
type Held = Arc<Mutex<Option<KafkaSource>>>;

struct Member {
    members: Members,
    held: Held,
    /// For a transaction, and what it says.
    noted: Option<(GroupOffsets, Positions)>,
}

fn config_of(brokers: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = configure("the scenario", brokers, &BTreeMap::new(), &[], &[]).expect("settings");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

fn reader_of(brokers: &str, isolation: Isolation) -> BaseConsumer<Context> {
    let isolation = match isolation {
        Isolation::Committed => "read_committed",
        Isolation::Uncommitted => "read_uncommitted",
    };
    part_client(config_of(brokers, &[]), "the scenario", isolation).expect("a reader")
}

impl RealPlayer {
    /// Nobody is there; the scenario's number tells its topics from those of others.
    pub fn new(kafka: &'static Kafka, number: usize) -> Self {
        let (prefix, brokers) = (format!("scenario-{number}"), kafka.brokers());
        for (topic, partitions) in [(INPUT, PARTITIONS), (OUTPUT, 1), (MORE, 1)] {
            kafka.create_topic(&format!("{prefix}-{topic}"), partitions as i32);
        }
        let in_group = [("group.id", prefix.as_str()), ("isolation.level", "read_committed")];
        Self {
            kafka,
            began: Instant::now(),
            observer: reader(&config_of(&brokers, &in_group), "the scenario").expect("an observer"),
            of_all: reader_of(&brokers, Isolation::Uncommitted),
            of_committed: reader_of(&brokers, Isolation::Committed),
            producers: BTreeMap::new(),
            members: BTreeMap::new(),
            hosts: BTreeMap::new(),
            prefix,
        }
    }

    fn topic(&self, topic: &str) -> String {
        if topic == COMMITS {
            format!("millstream-commits-{}", self.prefix)
        } else {
            format!("{}-{topic}", self.prefix)
        }
    }

    fn init(&mut self, name: Name, timeout_ms: u64) -> Outcome {
        let transactional = Transactional { id: self.topic(id(name)), timeout: Duration::from_millis(timeout_ms) };
        let made = producer::producer("the scenario", &self.kafka.brokers(), &BTreeMap::new(), Some(&transactional));
        let producer = made.expect("a producer");
        let outcome = answered(|| producer.init_transactions(ANSWER));
        self.producers.insert(name, producer);
        outcome
    }

    fn send(&self, name: Name, topic: &str, rows: usize) -> Outcome {
        let producer = &self.producers[name];
        let queue = TopicQueue::new(producer, "the scenario", &self.topic(topic), Some(0)).expect("a topic");
        let mut why = None;
        let unsaid = |_, error| {
            why = Some(refused(&error));
            Error::new(ErrorKind::Unavailable, "a row is not taken")
        };
        let put = queue.put(&some_rows(rows), unsaid);
        if let Some(why) = why {
            return why;
        }
        assert!(put.is_ok() || producer.client().fatal_error().is_some(), "{put:?}");
        let is_done = || Ok(producer.in_flight_count() == 0 || producer.client().fatal_error().is_some());
        flush(producer, ANSWER, is_done).expect("a flush");
        match producer.client().fatal_error() {
            Some((code, _)) => Outcome::Refused(refusal(code)),
            None => {
                assert!(producer.is_delivered().expect("rows that are taken"));
                Outcome::Done
            }
        }
    }

    fn send_plain(&self, topic: &str, rows: usize) -> Outcome {
        let producer = self.kafka.producer(&[]);
        for _ in 0..rows {
            millstream_tests::kafka::send(
                &producer,
                rdkafka::producer::BaseRecord::to(&self.topic(topic)).partition(0).key(b"".as_slice()).payload(b"row"),
            );
        }
        producer.flush(ANSWER).expect("acknowledgements");
        Outcome::Done
    }

    fn send_offsets(&self, producer: Name, member: Name) -> Outcome {
        let (GroupOffsets { offsets, group }, _) = self.noted(member);
        let producer = &self.producers[producer];
        answered(|| producer.send_offsets_to_transaction(offsets, group, ANSWER))
    }

    fn rows(&self, topic: &str, isolation: Isolation) -> Outcome {
        let topic = self.topic(topic);
        let bounds = |of: &BaseConsumer<Context>| of.fetch_watermarks(&topic, 0, ANSWER).expect("offsets");
        let ((first, stable), (_, end)) = (bounds(&self.of_committed), bounds(&self.of_all));
        let to = if isolation == Isolation::Committed { stable } else { end };
        let client = reader_of(&self.kafka.brokers(), isolation);
        let reader = PartsReader::start("the scenario", &topic, client, &[(0, first, to)]).expect("a reader");
        let mut seen = 0;
        let each = |records: &Records| {
            seen += records.len();
            Ok(())
        };
        let patience = |silence| {
            assert!(silence < ANSWER, "{topic} is not read to its end");
            Ok(())
        };
        reader.read(each, patience).expect("rows");
        Outcome::Rows { seen, is_held: stable < end }
    }

    fn offsets(&self) -> Outcome {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(&self.topic(INPUT), 0, PARTITIONS as i32 - 1);
        let list = match self.observer.committed_offsets(wanted, UNSTABLE) {
            Ok(list) => list,
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) => {
                return Outcome::Refused(Refusal::Unstable);
            }
            Err(error) => panic!("the group's offsets: {error}"),
        };
        if list.elements().iter().any(|element| element.error().is_err()) {
            return Outcome::Refused(Refusal::Unstable);
        }
        tally(list.elements().iter().filter_map(|element| element.offset().to_raw().filter(|raw| *raw >= 0)).collect())
    }

    fn group_size(&self) -> usize {
        let list = self.observer.fetch_group_list(Some(&self.prefix), ANSWER).expect("the group");
        list.groups().iter().map(|group| group.members().len()).sum()
    }

    fn join(&mut self, name: Name) -> Outcome {
        self.members.insert(name, Member { members: Members::default(), held: Held::default(), noted: None });
        self.hold(name)
    }

    /// The run before is over, if there was one.
    fn hold(&self, name: Name) -> Outcome {
        let Member { members, held, .. } = &self.members[name];
        drop(held.lock().take());
        let located = |value: String| Located { value, span: 0..0 };
        let properties = [("session.timeout.ms", SESSION_MS.to_string()), ("heartbeat.interval.ms", "300".to_owned())];
        let settings = config::KafkaSource {
            brokers: located(self.kafka.brokers()),
            topic: located(self.topic(INPUT)),
            group: located(self.prefix.clone()),
            start: config::Start::Earliest,
            lost: config::Lost::Fail,
            properties: properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let options = JoinOptions {
            host: id(name),
            members,
            reads: Reads::Sharing(None),
            until_caught_up: false,
            wanted: Wanted::default(),
            timeout: ANSWER,
        };
        let source = KafkaSource::join(INPUT, &settings, &options).expect("a member");
        let dealt = source.group_offsets(&positions(1)).expect("a member's offsets");
        *held.lock() = Some(source);
        Outcome::Dealt(dealt.map_or(0, |dealt| dealt.offsets.count()))
    }

    fn with_source<T>(&self, name: Name, ask: impl FnOnce(&KafkaSource) -> T) -> T {
        ask(self.members[name].held.lock().as_ref().expect("a member that holds partitions"))
    }

    fn note(&mut self, name: Name, offset: i64) -> Outcome {
        let positions = positions(offset);
        let noted = self.with_source(name, |source| source.group_offsets(&positions)).expect("a member");
        if let (Some(member), Some(noted)) = (self.members.get_mut(name), noted) {
            member.noted = Some((noted, positions));
        }
        Outcome::Done
    }

    fn noted(&self, name: Name) -> &(GroupOffsets, Positions) {
        self.members[name].noted.as_ref().expect("a member that noted something")
    }

    fn open(&mut self, name: Name) -> Outcome {
        let properties =
            BTreeMap::from([("message.max.bytes".to_owned(), (MOST_VALUE_BYTES + OVERHEAD_BYTES).to_string())]);
        let cluster = Cluster { brokers: self.kafka.brokers(), properties };
        let epoch = Duration::from_secs(1);
        let opened = Transactions::open(&self.prefix, id(name), &cluster, epoch, &Fenced::default());
        went(opened.map(|transactions| {
            if let Some(held) = self.members.get(name).map(|member| Arc::clone(&member.held)) {
                transactions.set_groups(move |positions| {
                    let held = held.lock();
                    let offsets = held.as_ref().map(|source| source.group_offsets(positions)).transpose()?;
                    Ok(offsets.flatten().into_iter().collect())
                });
            }
            self.hosts.insert(name, transactions);
        }))
    }

    fn host_rows(&self, name: Name, rows: usize) -> Result<()> {
        let (host, topic) = (&self.hosts[name], self.topic(OUTPUT));
        host.begin()?;
        let refused = |_, error| Error::new(ErrorKind::Unavailable, "a row cannot be sent").caused_by(error);
        let queue = TopicQueue::new(host.producer(), "the scenario", &topic, Some(0))?;
        queue.put(&some_rows(rows), refused)
    }

    fn die(&mut self, name: Name) -> Outcome {
        self.producers.remove(name);
        if let Some(host) = self.hosts.remove(name) {
            std::mem::forget(host);
        }
        if let Some(member) = self.members.get_mut(name) {
            // The run first: it is in the group's way.
            drop(member.held.lock().take());
            member.members = Members::default();
        }
        Outcome::Done
    }

    fn producer(&self, name: Name) -> &RowProducer {
        &self.producers[name]
    }
}

fn some_rows(count: usize) -> Rows {
    let mut rows = Rows::default();
    (0..count).for_each(|_| rows.push(Some(b""), |value| value.extend_from_slice(b"row")));
    rows
}

/// Asks again for as long as the answer may yet come.
fn answered(ask: impl Fn() -> KafkaResult<()>) -> Outcome {
    loop {
        match ask() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            Err(error) => return refused(&error),
            Ok(()) => return Outcome::Done,
        }
    }
}

fn refused(error: &KafkaError) -> Outcome {
    let code = error.rdkafka_error_code();
    Outcome::Refused(refusal(code.unwrap_or_else(|| panic!("{error}"))))
}

/// What brokers and their client say of one thing in several ways.
fn refusal(code: RDKafkaErrorCode) -> Refusal {
    match code {
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch => {
            Refusal::Fenced
        }
        RDKafkaErrorCode::IllegalGeneration
        | RDKafkaErrorCode::UnknownMemberId
        | RDKafkaErrorCode::FencedInstanceId => Refusal::NotMember,
        RDKafkaErrorCode::State => Refusal::NotOpen,
        other => panic!("{other:?}: {other}"),
    }
}

/// What became of a host's work.
fn went(done: Result<()>) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Config) => Outcome::NotCommitted,
        Err(error) => panic!("{error:?}"),
    }
}

fn is_member(answer: Result<()>) -> Outcome {
    if answer.is_ok() { Outcome::Done } else { Outcome::Refused(Refusal::NotMember) }
}

impl Player for RealPlayer {
    fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Init(name) => self.init(name, TRANSACTION_MS),
            Step::InitBrief(name) => self.init(name, BRIEF_MS),
            Step::Begin(name) => answered(|| self.producer(name).begin_transaction()),
            Step::Send(name, topic, rows) => self.send(name, topic, rows),
            Step::SendPlain(topic, rows) => self.send_plain(topic, rows),
            Step::SendOffsets(producer, member) => self.send_offsets(producer, member),
            Step::Commit(name) => answered(|| self.producer(name).commit_transaction(ANSWER)),
            Step::Abort(name) => answered(|| self.producer(name).abort_transaction(ANSWER)),
            Step::Die(name) => self.die(name),
            Step::Rows(topic, isolation) => self.rows(topic, isolation),
            Step::Offsets => self.offsets(),
            Step::Join(name) => self.join(name),
            Step::HoldAgain(name) => self.hold(name),
            Step::IsMoved(name) => Outcome::IsMoved(self.with_source(name, KafkaSource::is_moved)),
            Step::Note(name, offset) => self.note(name, offset),
            Step::CommitOffsets(name) => {
                is_member(self.with_source(name, |source| source.commit_offsets(&self.noted(name).1)))
            }
            Step::IsMember(name) => is_member(self.with_source(name, KafkaSource::check_membership)),
            Step::Members => Outcome::Members(self.group_size()),
            Step::Open(name) => self.open(name),
            Step::HostRows(name, rows) => went(self.host_rows(name, rows)),
            Step::Epoch(..) | Step::LongEpoch(..) | Step::Half(..) | Step::End(_) | Step::GoBack(_) => {
                went(host_takes(&mut self.hosts, step))
            }
            Step::Compact => {
                self.kafka.configure_topic(&self.topic(COMMITS), &COMPACTED);
                Outcome::Done
            }
            Step::Records(name) => match self.hosts[name].read_records() {
                Ok(records) => heads(&records),
                Err(error) => went(Err(error)),
            },
        }
    }

    fn wait(&mut self) {
        // Takes what the client has to say; there are no rows for it.
        drop(self.observer.poll(MOMENT));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
