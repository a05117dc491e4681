//! The host's place in a source's consumer group. The workers read without the group; this one consumer joins it: the group
//! deals out the partitions, its offsets are committed under its generation, and who is gone is noticed.
//!
//! The promise: two hosts never commit work on the same partition side by side. A run reads a `Share`, what the group had
//! dealt out when the run began. It holds because
//! - a partition is given away only when the run that reads it is over, its last epoch committed: until then the callback
//!   that gives it away waits (`release`);
//! - partitions that the group took without asking (the host stood still for longer than its session) are noticed before an
//!   epoch is committed, and a commit that got past that look carries the old generation, which the broker refuses;
//! - who takes a partition over waits until no transaction is open that holds its offset (`committed`).
//!
//! | what the group does | what the run does |
//! |---|---|
//! | gives more partitions | ends its epoch, commits, and begins again with all of them |
//! | wants some back | ends its epoch, commits, gives them back, begins again with the rest |
//! | took all of them, for the host was silent | throws its epoch away, and begins again with what it is given then |
//!
//! A host is a static member by its id: after a crash it is let in at once instead of after its old session's end. One that
//! ends while there are others leaves at once, so that they need not wait for that end.
//!
//! A source whose offsets are not in the host's transactions is read *alone*: the host waits for others to be gone before it
//! joins, and refuses when it is not given all partitions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::commit::GroupOffsets;
use crate::error::{Error, ErrorKind, Result};

use super::client::{ClientLog, away, not_created};

/// How long the thread sleeps in a poll at most: the delay of a stop.
const POLL: Duration = Duration::from_millis(100);

/// The longest wait until the group has let go of us.
const LEAVE: Duration = Duration::from_secs(5);

/// The longest wait for the answer to a commit.
const COMMIT: Duration = Duration::from_secs(10);

/// What the group dealt out, as the thread that polls sees it.
#[derive(Default)]
struct State {
    /// None until the first assignment.
    assigned: Option<BTreeSet<i32>>,
    /// How often what is assigned changed.
    rounds: u64,
    /// The round in which partitions were last taken without asking.
    lost: Option<u64>,
    /// Nobody was told of that yet.
    is_lost_news: bool,
    /// The group wants partitions back, and waits for the run to end.
    is_wanted_back: bool,
    /// A run reads what is assigned.
    is_held: bool,
    /// The group refuses us for good.
    refused: Option<String>,
}

impl State {
    /// Whether the group has not answered yet.
    fn is_waiting(&self) -> bool {
        self.refused.is_none() && (self.assigned.is_none() || self.is_wanted_back)
    }
}

/// What a run reads: the partitions that the group had dealt out when it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// The partitions.
    pub partitions: BTreeSet<i32>,
    round: u64,
}

struct MemberContext {
    log: ClientLog,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
    /// Who is woken when partitions come or go.
    moved: Sender<()>,
}

impl MemberContext {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn tell(&self) {
        self.changed.notify_all();
        // One that waits there already says the same.
        let _ = self.moved.try_send(());
    }

    fn refuse(&self, reason: String) {
        self.state().refused.get_or_insert(reason);
        self.tell();
    }

    fn take(&self, dealt: &BTreeSet<i32>) {
        let mut state = self.state();
        let is_first = state.assigned.is_none();
        state.assigned.get_or_insert_default().extend(dealt);
        state.rounds += u64::from(is_first || !dealt.is_empty());
        drop(state);
        self.tell();
    }

    /// Gives partitions back. What is still ours is kept until the run that reads it is over.
    fn give_back(&self, dealt: &BTreeSet<i32>, is_lost: bool) {
        let mut state = self.state();
        if !is_lost && state.is_held {
            state.is_wanted_back = true;
            let _ = self.moved.try_send(());
            let is_read = |state: &mut State| state.is_held && !self.stop.load(Ordering::Relaxed);
            self.changed.wait_while(&mut state, is_read);
        }
        state.is_wanted_back = false;
        state.rounds += 1;
        if is_lost {
            (state.lost, state.is_lost_news) = (Some(state.rounds), true);
        }
        state.assigned.get_or_insert_default().retain(|partition| !dealt.contains(partition));
        drop(state);
        self.tell();
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::GroupAuthorizationFailed) => {
                self.refuse(reason.to_owned())
            }
            _ => self.log.error(&error, reason),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for MemberContext {
    /// Takes what is dealt out, and reads none of it: that is the workers' part.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, dealt: &mut TopicPartitionList) {
        let partitions = dealt.elements().iter().map(|element| element.partition()).collect();
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let done = consumer.incremental_assign(dealt).and_then(|()| consumer.pause(dealt));
            self.take(&partitions);
            done
        } else {
            self.give_back(&partitions, consumer.assignment_lost());
            consumer.incremental_unassign(dealt)
        };
        if let Err(error) = done {
            tracing::warn!(owner = %self.log.owner(), %error, "answering the group's rebalance");
        }
    }
}

/// A member of a consumer group, over all runs of the process.
pub struct Member {
    group: String,
    topic: String,
    brokers: String,
    consumer: Arc<BaseConsumer<MemberContext>>,
    thread: Option<JoinHandle<()>>,
    /// The answer to a commit that did not come in time.
    pending: Mutex<Option<Receiver<KafkaResult<()>>>>,
}

impl Member {
    /// Joins the group as `host`; `moved` is told when partitions come or go.
    pub(super) fn join(config: &ClientConfig, owner: &str, topic: &str, host: &str, moved: Sender<()>) -> Result<Self> {
        let mut config = config.clone();
        config.set("group.instance.id", host);
        let context = MemberContext {
            log: ClientLog::new(owner),
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            moved,
        };
        let consumer: BaseConsumer<_> =
            config.create_with_context(context).map_err(|error| not_created(owner, error))?;
        let setting = |name| config.get(name).unwrap_or_default().to_owned();
        let mut member = Self {
            group: setting("group.id"),
            topic: topic.to_owned(),
            brokers: setting("bootstrap.servers"),
            consumer: Arc::new(consumer),
            thread: None,
            pending: Mutex::default(),
        };
        member.subscribe()?;
        Ok(member)
    }

    fn subscribe(&mut self) -> Result<()> {
        let unavailable = |error: String| {
            let what = format!("{}: group {:?} cannot be joined", self.consumer.context().log.owner(), self.group);
            Error::new(ErrorKind::Unavailable, format!("{what}: {error}"))
        };
        self.consumer.subscribe(&[&self.topic]).map_err(|error| unavailable(error.to_string()))?;
        let consumer = self.consumer.clone();
        let poll = move || {
            while !consumer.context().stop.load(Ordering::Relaxed) {
                if let Some(Err(error)) = consumer.poll(POLL) {
                    take_error(&consumer, &error);
                }
            }
        };
        let thread = std::thread::Builder::new().name("kafka-member".to_owned()).spawn(poll);
        self.thread = Some(thread.map_err(|error| unavailable(error.to_string()))?);
        Ok(())
    }

    /// The offsets that the group committed. Waits for transactions that hold some of them to end.
    pub(super) fn committed(&self, partitions: &BTreeSet<i32>, timeout: Duration) -> Result<TopicPartitionList> {
        let mut wanted = TopicPartitionList::new();
        for partition in partitions {
            wanted.add_partition(&self.topic, *partition);
        }
        let log = &self.consumer.context().log;
        let deadline = Instant::now() + timeout;
        loop {
            match self.consumer.committed_offsets(wanted.clone(), Duration::from_secs(5)) {
                Ok(list) if list.elements().iter().all(|element| element.error().is_ok()) => return Ok(list),
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                    return Err(self.refused(&error.to_string()));
                }
                // The thread that polls takes errors and log lines; the request has waited by itself.
                _ if Instant::now() < deadline => {}
                Ok(_) => {
                    let what =
                        format!("{}: the offsets of group {:?} are held by a transaction", log.owner(), self.group);
                    return Err(Error::new(ErrorKind::Unavailable, what)
                        .help("it ends by itself after its `transaction.timeout.ms`"));
                }
                Err(_) => return Err(away(log.owner(), &self.brokers, timeout, log)),
            }
        }
    }

    /// Waits until the group has dealt out partitions, and takes them for a run.
    pub(super) fn hold(&self, timeout: Duration) -> Result<Share> {
        let context = self.consumer.context();
        let mut state = context.state();
        context.changed.wait_while_for(&mut state, |state| state.is_waiting(), timeout);
        if let Some(reason) = &state.refused {
            return Err(self.refused(reason));
        }
        match state.assigned.clone() {
            Some(partitions) if !state.is_wanted_back => {
                state.is_held = true;
                Ok(Share { partitions, round: state.rounds })
            }
            _ => Err(away(context.log.owner(), &self.brokers, timeout, &context.log)
                .help("the brokers answer, but the group's coordinator does not deal out partitions: is the group busy with another member that does not answer?")),
        }
    }

    /// The run is over: partitions may go.
    pub(super) fn release(&self) {
        let context = self.consumer.context();
        context.state().is_held = false;
        context.changed.notify_all();
    }

    /// Whether partitions came or are wanted back since the run began.
    pub(super) fn is_moved(&self, share: &Share) -> bool {
        let state = self.consumer.context().state();
        state.is_wanted_back || state.rounds != share.round
    }

    /// Fails when the group refuses this host, or has taken partitions of the run without asking.
    pub(super) fn check(&self, share: &Share) -> Result<()> {
        let context = self.consumer.context();
        let state = context.state();
        if let Some(reason) = &state.refused {
            return Err(self.refused(reason));
        }
        if state.lost.is_some_and(|round| round > share.round) {
            let owner = context.log.owner();
            let what = format!("{owner}: group {:?} took this host's partitions, for it was silent", self.group);
            return Err(Error::new(ErrorKind::Unavailable, what).help(
                "did the host stand still for longer than `session.timeout.ms`? What it had read is read again",
            ));
        }
        Ok(())
    }

    /// Whether partitions were taken without asking since the run with this share began.
    pub(super) fn is_lost(&self, share: &Share) -> bool {
        self.consumer.context().state().lost.is_some_and(|round| round > share.round)
    }

    /// Whether partitions were taken without asking since this was asked last.
    pub(super) fn was_lost(&self) -> bool {
        std::mem::take(&mut self.consumer.context().state().is_lost_news)
    }

    /// Leaves the group at once, so that others need not wait for the end of the session.
    pub(super) fn leave(&self, is_gone: impl Fn() -> bool) {
        self.release();
        self.consumer.unsubscribe();
        let deadline = Instant::now() + LEAVE;
        // Each look is a request to the brokers: nothing spins here.
        while !is_gone() && Instant::now() < deadline {}
    }

    /// Offsets for the group, to be committed with a transaction.
    /// The generation is asked for first and the share is looked at then: partitions that were taken before the look are
    /// seen, and those that are taken behind it make the generation an old one, which the broker refuses.
    pub(super) fn group_offsets(
        &self,
        share: &Share,
        offsets: impl Iterator<Item = (i32, i64)>,
    ) -> Result<Option<GroupOffsets>> {
        let offsets = self.list(offsets)?;
        if offsets.count() == 0 {
            return Ok(None);
        }
        let group = self.consumer.group_metadata().ok_or_else(|| {
            let what = format!("{}: no member of group {:?}", self.consumer.context().log.owner(), self.group);
            Error::new(ErrorKind::Unavailable, what)
        })?;
        self.check(share)?;
        Ok(Some(GroupOffsets { offsets, group }))
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, i64)>) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let added = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset));
            added.map_err(|error| self.not_committed(error))?;
        }
        Ok(list)
    }

    fn not_committed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let what = format!("{}: offsets of group {:?} not committed", self.consumer.context().log.owner(), self.group);
        Error::new(ErrorKind::Unavailable, what).caused_by(error)
    }

    /// Commits offsets for the group: what others see of our progress, and where a host without our commit goes on.
    pub(super) fn commit(&self, offsets: impl Iterator<Item = (i32, i64)>) -> Result<()> {
        let log = &self.consumer.context().log;
        let list = self.list(offsets)?;
        if list.count() == 0 {
            return Ok(());
        }
        let mut pending = self.pending.lock();
        if pending.as_ref().is_some_and(|answer| matches!(answer.try_recv(), Err(TryRecvError::Empty))) {
            return Err(away(log.owner(), &self.brokers, COMMIT, log));
        }
        let answer = self.send_commit(list).map_err(|error| self.not_committed(error))?;
        match answer.recv_timeout(COMMIT) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) => {
                Err(self.refused(&error.to_string()))
            }
            Ok(Err(error)) => Err(self.not_committed(error)),
            Err(_) => {
                *pending = Some(answer);
                Err(away(log.owner(), &self.brokers, COMMIT, log))
            }
        }
    }

    /// Commits on a thread of its own: librdkafka waits for its answer for as long as the brokers are away, and has none
    /// for a commit that does not wait.
    fn send_commit(&self, list: TopicPartitionList) -> std::io::Result<Receiver<KafkaResult<()>>> {
        let (sender, answer) = sync_channel(1);
        let consumer = self.consumer.clone();
        std::thread::Builder::new().name("kafka-commit".to_owned()).spawn(move || {
            let result = consumer.commit(&list, CommitMode::Sync);
            drop(consumer);
            // Nobody waits any more when the source is gone.
            let _ = sender.send(result);
        })?;
        Ok(answer)
    }

    fn refused(&self, reason: &str) -> Error {
        let owner = self.consumer.context().log.owner();
        Error::new(ErrorKind::Config, format!("{owner}: group {:?} refuses this host: {reason}", self.group))
            .help("does another process run with this data folder, or has the user no right to READ the group?")
    }
}

fn take_error(consumer: &BaseConsumer<MemberContext>, error: &KafkaError) {
    let context = consumer.context();
    match error.rdkafka_error_code() {
        _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
            let reason = consumer.client().fatal_error().map(|(_, reason)| reason);
            context.refuse(reason.unwrap_or_else(|| error.to_string()));
        }
        Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::FencedInstanceId) => {
            context.refuse(error.to_string());
        }
        _ => tracing::debug!(owner = %context.log.owner(), %error, "group member"),
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let context = self.consumer.context();
        context.stop.store(true, Ordering::Relaxed);
        // Behind the lock: who is about to wait has seen it, or is woken.
        drop(context.state());
        context.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!(owner = %self.consumer.context().log.owner(), "the thread of the group member panicked");
        }
    }
}
