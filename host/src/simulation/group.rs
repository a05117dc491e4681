//! A consumer group of the cluster in memory: members with sessions, partitions dealt out cooperatively, offsets.

use std::collections::{BTreeMap, BTreeSet};

use super::kafka::{Refusal, TopicPartition};

/// How long a member may be silent.
pub const SESSION_MS: i64 = 10_000;

/// A group.
#[derive(Debug, Default)]
pub struct Group {
    offsets: BTreeMap<TopicPartition, Committed>,
    written: u64,
    generation: u32,
    joined: u32,
    members: BTreeMap<String, Member>,
}

/// An offset of a group. Of two, the one that was written later counts, even if its transaction ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    written: u64,
    offset: i64,
}

#[derive(Debug)]
struct Member {
    seen_ms: i64,
    owned: BTreeSet<usize>,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// The group's generation.
    pub generation: u32,
    /// The partitions that the member is to read: it gives up what is not among them, and takes what nobody else owns.
    pub partitions: BTreeSet<usize>,
    /// Those of them that it may take now.
    pub free: BTreeSet<usize>,
}

impl Group {
    /// Somebody comes, in the place of who had the name before; the answer is who it is from now on.
    pub fn join(&mut self, host: &str, now_ms: i64) -> String {
        let own = format!("{host}#");
        self.members.retain(|member, _| !member.starts_with(&own));
        self.joined += 1;
        self.generation += 1;
        let member = format!("{host}#{}", self.joined);
        self.members.insert(member.clone(), Member { seen_ms: now_ms, owned: BTreeSet::new() });
        member
    }

    /// A member is there, and owns these partitions; none when it was thrown out.
    pub fn heartbeat(&mut self, member: &str, owned: &BTreeSet<usize>, all: usize, now_ms: i64) -> Option<Dealt> {
        let known = self.members.get_mut(member)?;
        known.seen_ms = now_ms;
        if known.owned != *owned {
            known.owned.clone_from(owned);
            self.generation += 1;
        }
        let place = self.members.keys().position(|other| other == member)?;
        let partitions: BTreeSet<usize> =
            (0..all).filter(|partition| partition % self.members.len() == place).collect();
        let taken = |partition: &usize| {
            self.members.iter().any(|(other, known)| other != member && known.owned.contains(partition))
        };
        let free = partitions.iter().copied().filter(|partition| !taken(partition)).collect();
        Some(Dealt { generation: self.generation, partitions, free })
    }

    /// The hosts that are in it.
    pub fn hosts(&self) -> BTreeSet<String> {
        self.members.keys().filter_map(|member| Some(member.split_once('#')?.0.to_owned())).collect()
    }

    /// Whether somebody is a member still.
    pub fn is_known(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    /// What is committed.
    pub fn offsets(&self) -> BTreeMap<TopicPartition, i64> {
        self.offsets.iter().map(|(partition, committed)| (partition.clone(), committed.offset)).collect()
    }

    /// Writes offsets down, for a member of this generation. They count when they are committed.
    pub fn write(
        &mut self,
        member: &str,
        generation: u32,
        offsets: BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Committed>, Refusal> {
        if self.generation != generation || !self.members.contains_key(member) {
            return Err(Refusal::NotMember);
        }
        self.written += 1;
        let written = self.written;
        Ok(offsets.into_iter().map(|(partition, offset)| (partition, Committed { written, offset })).collect())
    }

    /// Commits what was written.
    pub fn commit(&mut self, written: BTreeMap<TopicPartition, Committed>) {
        for (partition, committed) in written {
            let known = self.offsets.entry(partition).or_insert(committed);
            *known = committed.max(*known);
        }
    }

    /// Throws out who was silent for too long.
    pub fn look(&mut self, now_ms: i64) {
        let before = self.members.len();
        self.members.retain(|_, member| member.seen_ms + SESSION_MS > now_ms);
        if self.members.len() != before {
            self.generation += 1;
        }
    }
}
