//! The commit topic, read to its end; who holds its end up is ended.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::Array;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;

use super::{ALLOWANCE, CALL, Cluster, OWNER, TIMEOUT, Transactions, answered, id_of};
use crate::commit::record::CommitRecord;
use crate::commit::topic::{self, CommitTopic, Each};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::producer::{self, Transactional};
use crate::record::Records;
use crate::source::kafka::client::Context;
use crate::source::kafka::{PartsReader, part_client};

/// A commit of another host that is under way is over by then.
const STUCK: Duration = Duration::from_secs(3);

impl Transactions {
    /// The last record of each host of the pipeline, as they are now; the one that was committed last at the end.
    pub fn read_records(&self) -> Result<Vec<CommitRecord>> {
        topic::read_records(&TopicReader {
            transactions: self,
            deadline: Instant::now() + TIMEOUT,
            stuck: Cell::new(Instant::now() + STUCK),
            of_all: self.reader("read_uncommitted")?,
            of_committed: self.reader("read_committed")?,
        })
    }

    /// Of these records those of hosts with the same groups: they share the work.
    pub fn read_records_of(&self, groups: &BTreeMap<String, String>) -> Result<Vec<CommitRecord>> {
        let mut records = self.read_records()?;
        records.retain(|record| record.sharing.groups == *groups);
        Ok(records)
    }

    /// Ends the transaction that holds up readers of committed records at this offset of the commit topic, before `end`: a host
    /// that was killed in the middle of a commit would do so until its transaction times out. One that is only slow throws its
    /// epoch away and comes back. What others have behind it may be committed already.
    fn end_stuck(&self, stable_end: i64, end: i64, deadline: Instant) -> Result<()> {
        if stable_end >= end {
            return Ok(());
        }
        let mut holder = None;
        self.read(self.reader("read_uncommitted")?, (stable_end, end), deadline, &mut |_, key, _| {
            holder = holder.take().or_else(|| topic::host_and_part(key).map(|(host, _)| host.to_owned()));
            Ok(())
        })?;
        let Some(host) = holder.filter(|host| *host != self.host) else { return Ok(()) };
        tracing::info!(host, "a host's transaction stays open: it is ended in its place");
        let transactional = Transactional { id: id_of(&self.pipeline, &host), timeout: ALLOWANCE };
        let Cluster { brokers, properties } = &self.cluster;
        let producer = producer::producer(OWNER, brokers, properties, Some(&transactional))?;
        answered(|| producer.init_transactions(CALL))
            .map_err(|error| self.failed("a transaction that stays open cannot be ended", error))
    }

    /// Reads the commit topic from one offset to another: offset, key and value of each message.
    pub(super) fn read(
        &self,
        client: BaseConsumer<Context>,
        (from, end): (i64, i64),
        deadline: Instant,
        take: &mut Each<'_>,
    ) -> Result<()> {
        let each = |records: &Records| {
            records.offsets.iter().enumerate().try_for_each(|(index, offset)| {
                let keys = records.keys.as_ref().filter(|keys| keys.is_valid(index));
                take(*offset, keys.map(|keys| keys.value(index)), records.value(index))
            })
        };
        let patience = |_| if Instant::now() < deadline { Ok(()) } else { Err(self.away()) };
        PartsReader::start(OWNER, &self.topic, client, &[(0, from, end)])?.read(each, patience)
    }

    pub(super) fn reader(&self, isolation: &str) -> Result<BaseConsumer<Context>> {
        part_client(self.client.clone(), OWNER, isolation)
    }

    /// The first offset of the commit topic and its end, as this reader sees it.
    pub(super) fn bounds(&self, reader: &BaseConsumer<Context>, deadline: Instant) -> Result<(i64, i64)> {
        loop {
            match reader.fetch_watermarks(&self.topic, 0, CALL) {
                Ok(bounds) => return Ok(bounds),
                Err(error) if Instant::now() >= deadline => return Err(self.away().caused_by(error)),
                // A topic that was just made is not known everywhere at once.
                Err(_) => drop(reader.poll(Duration::from_millis(100))),
            }
        }
    }
}

/// The commit topic, as it is read once.
struct TopicReader<'a> {
    transactions: &'a Transactions,
    deadline: Instant,
    /// Until when a transaction that is open is taken for one that is about to end.
    stuck: Cell<Instant>,
    of_all: BaseConsumer<Context>,
    of_committed: BaseConsumer<Context>,
}

impl CommitTopic for TopicReader<'_> {
    fn end(&self) -> Result<i64> {
        Ok(self.transactions.bounds(&self.of_all, self.deadline)?.1)
    }

    fn stable_end(&self) -> Result<i64> {
        Ok(self.transactions.bounds(&self.of_committed, self.deadline)?.1)
    }

    fn wait(&self, end: i64) -> Result<()> {
        if Instant::now() >= self.deadline {
            let what = format!("{OWNER}: somebody's transaction in topic {:?} stays open", self.transactions.topic);
            return Err(Error::new(ErrorKind::Unavailable, what).help(
                "it ends by itself after its `transaction.timeout.ms`; does another host of this pipeline hang?",
            ));
        }
        if Instant::now() >= self.stuck.get() {
            self.transactions.end_stuck(self.stable_end()?, end, self.deadline)?;
            self.stuck.set(Instant::now() + STUCK);
        }
        drop(self.of_committed.poll(Duration::from_millis(100)));
        Ok(())
    }

    fn read(&self, each: &mut Each<'_>) -> Result<()> {
        let bounds = self.transactions.bounds(&self.of_committed, self.deadline)?;
        self.transactions.read(self.transactions.reader("read_committed")?, bounds, self.deadline, each)
    }
}
