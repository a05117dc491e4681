//! The source's membership in its consumer group. The workers read without the group; this one consumer joins it, so that
//! the group exists, its offsets can be committed under its generation, and a second member is noticed.
//!
//! The promise: two hosts never read the same group side by side. A host reads only after it was given all partitions of
//! the topic; when a second member comes, the group's leader deals the partitions out anew, so that the second is given
//! less than all and refuses, and the first loses some and refuses at its next `check`.
//!
//! A host is a static member by its id: after a crash it is let in at once instead of after its old session's end. When
//! somebody else is listed in the group it joins under no id, so that it leaves at once when it refuses.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// The longest wait for the answer to a commit.
const COMMIT: Duration = Duration::from_secs(10);

/// What the group dealt out, as the thread that polls sees it.
#[derive(Default)]
struct State {
    /// None until the first assignment, and between two.
    assigned: Option<BTreeSet<i32>>,
    /// How often partitions were dealt out.
    rounds: u64,
    /// Fewer than all partitions were ours once: somebody else has the others.
    shared: bool,
    /// The group refuses us for good.
    refused: Option<String>,
}

impl State {
    /// Whether the group has not answered yet.
    fn is_waiting(&self) -> bool {
        self.assigned.is_none() && self.refused.is_none() && !self.shared
    }
}

struct MemberContext {
    log: ClientLog,
    known: BTreeSet<i32>,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

impl MemberContext {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, reason: String) {
        self.state().refused.get_or_insert(reason);
        self.changed.notify_all();
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
        let taken = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let done =
            if taken { consumer.assign(dealt).and_then(|()| consumer.pause(dealt)) } else { consumer.unassign() };
        if let Err(error) = done {
            tracing::warn!(owner = %self.log.owner(), %error, "answering the group's rebalance");
        }
        let mut state = self.state();
        state.rounds += 1;
        state.assigned = taken.then(|| dealt.elements().iter().map(|element| element.partition()).collect());
        if state.assigned.as_ref().is_some_and(|assigned| !assigned.is_superset(&self.known)) {
            state.shared = true;
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// A member of a consumer group. Leaves it when dropped.
pub(super) struct Member {
    group: String,
    topic: String,
    brokers: String,
    consumer: Arc<BaseConsumer<MemberContext>>,
    thread: Option<JoinHandle<()>>,
    checked_rounds: Mutex<u64>,
    /// The answer to a commit that did not come in time.
    pending: Mutex<Option<Receiver<KafkaResult<()>>>>,
}

impl Member {
    /// Prepares to join; nothing is sent to the group before `join`.
    pub fn new(
        config: &ClientConfig,
        owner: &str,
        topic: &str,
        partitions: &[i32],
        instance: Option<&str>,
    ) -> Result<Self> {
        let mut config = config.clone();
        if let Some(instance) = instance {
            config.set("group.instance.id", instance);
        }
        let context = MemberContext {
            log: ClientLog::new(owner),
            known: partitions.iter().copied().collect(),
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<_> =
            config.create_with_context(context).map_err(|error| not_created(owner, error))?;
        let setting = |name| config.get(name).unwrap_or_default().to_owned();
        Ok(Self {
            group: setting("group.id"),
            topic: topic.to_owned(),
            brokers: setting("bootstrap.servers"),
            consumer: Arc::new(consumer),
            thread: None,
            checked_rounds: Mutex::default(),
            pending: Mutex::default(),
        })
    }

    /// The offsets that the group committed, as the broker has them.
    pub fn committed(&self, timeout: Duration) -> Result<TopicPartitionList> {
        let mut wanted = TopicPartitionList::new();
        for partition in &self.consumer.context().known {
            wanted.add_partition(&self.topic, *partition);
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self.consumer.committed_offsets(wanted.clone(), Duration::from_secs(5)) {
                Ok(list) => return Ok(list),
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                    return Err(self.refused(&error.to_string()));
                }
                Err(_) if Instant::now() < deadline => drop(self.consumer.poll(POLL)),
                Err(_) => {
                    let log = &self.consumer.context().log;
                    return Err(away(log.owner(), &self.brokers, timeout, log));
                }
            }
        }
    }

    /// Joins the group and waits until it deals out all partitions.
    pub fn join(&mut self, timeout: Duration) -> Result<()> {
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
        let context = self.consumer.context();
        let waited = context.changed.wait_timeout_while(context.state(), timeout, |state| state.is_waiting());
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let (answered, rounds) = (!state.is_waiting(), state.rounds);
        drop(state);
        if !answered {
            return Err(away(context.log.owner(), &self.brokers, timeout, &context.log)
                .help("the brokers answer, but the group's coordinator does not deal out partitions: is the group busy with another member that does not answer?"));
        }
        *self.checked_rounds.lock().unwrap_or_else(PoisonError::into_inner) = rounds;
        self.check_state()
    }

    /// Whether the group still is ours alone. `members` is asked for their number when partitions were dealt out
    /// since the last time.
    pub fn check(&self, members: impl FnOnce() -> Option<usize>) -> Result<()> {
        self.check_state()?;
        let rounds = self.consumer.context().state().rounds;
        let mut checked = self.checked_rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if *checked == rounds {
            return Ok(());
        }
        if members().is_some_and(|members| members > 1) {
            return Err(self.second_member());
        }
        *checked = rounds;
        Ok(())
    }

    fn check_state(&self) -> Result<()> {
        let context = self.consumer.context();
        let state = context.state();
        if let Some(reason) = &state.refused {
            return Err(self.refused(reason));
        }
        if state.shared {
            return Err(self.second_member());
        }
        let added = state.assigned.as_ref().map_or(0, |assigned| assigned.difference(&context.known).count());
        if added > 0 {
            let owner = context.log.owner();
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{owner}: topic {:?} has {added} new partitions, which this run does not read", self.topic),
            )
            .help("start again: the new partitions are then read from their first record on"));
        }
        Ok(())
    }

    /// Offsets for the group, to be committed with a transaction.
    pub fn group_offsets(&self, offsets: impl Iterator<Item = (i32, i64)>) -> Result<Option<GroupOffsets>> {
        let offsets = self.list(offsets)?;
        if offsets.count() == 0 {
            return Ok(None);
        }
        let group = self.consumer.group_metadata().ok_or_else(|| {
            let what = format!("{}: no member of group {:?}", self.consumer.context().log.owner(), self.group);
            Error::new(ErrorKind::Unavailable, what)
        })?;
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
    pub fn commit(&self, offsets: impl Iterator<Item = (i32, i64)>) -> Result<()> {
        let log = &self.consumer.context().log;
        let list = self.list(offsets)?;
        if list.count() == 0 {
            return Ok(());
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Somebody else is in the group.
    pub fn second_member(&self) -> Error {
        let owner = self.consumer.context().log.owner();
        Error::new(
            ErrorKind::Config,
            format!("{owner}: another member reads topic {:?} in group {:?}", self.topic, self.group),
        )
        .help("one host a group: stop the other one (`kafka-consumer-groups.sh --describe --members` names it), or give this pipeline a group of its own")
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
        self.consumer.context().stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!(owner = %self.consumer.context().log.owner(), "the thread of the group member panicked");
        }
    }
}
