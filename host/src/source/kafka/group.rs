//! The host's place in the groups of its sources: taken, kept over runs, and left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer;

use super::member::{Member, Share};
use super::{JoinOptions, KafkaSource, Reads};
use crate::error::{Error, ErrorKind, Result};

/// The host's places in its sources' groups: they outlive a run, so that a run that begins again need not join again.
pub struct Members {
    /// By source.
    members: Mutex<BTreeMap<String, Arc<Member>>>,
    pub(super) moved: Sender<()>,
    /// Says when partitions came or are wanted back.
    pub is_moved: Receiver<()>,
}

impl Default for Members {
    fn default() -> Self {
        let (moved, is_moved) = bounded(1);
        Self { members: Mutex::default(), moved, is_moved }
    }
}

impl Members {
    /// Whether a group took partitions without asking since this was asked last.
    pub fn were_lost(&self) -> bool {
        let members = self.members.lock();
        // Each is asked: what one says is said once.
        members.values().filter(|member| member.was_lost()).count() > 0
    }
}

impl KafkaSource {
    /// Takes what the group deals out; joins it first, if this is the process's first run.
    pub(super) fn hold(
        &self,
        options: &JoinOptions<'_>,
        owner: &str,
        partitions: &[i32],
    ) -> Result<(Arc<Member>, Share)> {
        let mut members = options.members.members.lock();
        let member = match members.get(&*self.name) {
            Some(member) => Arc::clone(member),
            None => {
                if self.reads == Reads::Alone {
                    self.await_others_gone(options.host)?;
                }
                let mut config = self.config.clone();
                config.set("group.id", &self.settings.group.value);
                let moved = options.members.moved.clone();
                let member = Arc::new(Member::join(&config, owner, &self.topic, options.host, moved)?);
                members.insert(self.name.to_string(), Arc::clone(&member));
                member
            }
        };
        let share = member.hold(self.timeout)?;
        // Partitions that were added meanwhile may not be dealt out yet: what counts is whether somebody else has some.
        let has_all = partitions.iter().all(|partition| share.partitions.contains(partition));
        if self.reads == Reads::Alone && !has_all && self.group_hosts()?.iter().any(|other| other != options.host) {
            member.leave(|| self.is_gone(options.host));
            members.remove(&*self.name);
            return Err(self.second_member());
        }
        Ok((member, share))
    }

    /// A host that reads alone joins when nobody else is there: so it disturbs nobody.
    fn await_others_gone(&self, host: &str) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        // One that was killed is gone at the end of its session.
        while self.group_hosts()?.iter().any(|other| other != host) {
            if Instant::now() >= deadline {
                return Err(self.second_member());
            }
            self.client.poll(Duration::from_millis(100));
        }
        Ok(())
    }

    fn second_member(&self) -> Error {
        let (topic, group) = (&self.topic, &self.settings.group.value);
        Error::new(
            ErrorKind::Config,
            format!("source {:?}: another member reads topic {topic:?} in group {group:?}", self.name),
        )
        .help("its offsets are in no transaction, so one host reads it alone: stop the other one (`kafka-consumer-groups.sh --describe --members` names it), or give this pipeline a group of its own")
    }

    /// The hosts in the source's group.
    pub fn group_hosts(&self) -> Result<BTreeSet<String>> {
        let group = &self.settings.group.value;
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.client.fetch_group_list(Some(group), Duration::from_secs(5)) {
                Ok(list) => {
                    let members = list.groups().iter().flat_map(|group| group.members());
                    return Ok(members.map(|member| host_of(member.id()).to_owned()).collect());
                }
                // A refusal comes at once, and may be of a coordinator that is about to change: this is the pause.
                Err(_) if Instant::now() < deadline => drop(self.client.poll(Duration::from_millis(100))),
                Err(error) => {
                    let what = format!("source {:?}: the members of group {group:?} cannot be listed", self.name);
                    return Err(Error::new(ErrorKind::Unavailable, what)
                        .caused_by(error)
                        .help("may the user of `properties_file` DESCRIBE the group?"));
                }
            }
        }
    }

    fn is_gone(&self, host: &str) -> bool {
        self.group_hosts().is_ok_and(|hosts| !hosts.contains(host))
    }

    /// Leaves the group, if others are there who can go on at once with what this host read.
    pub fn leave(&self, host: &str) {
        if let Some((member, _)) = &self.held
            && self.group_hosts().is_ok_and(|hosts| hosts.iter().any(|other| other != host))
        {
            member.leave(|| self.is_gone(host));
        }
    }
}

/// The host in a member's id: brokers make a static member's id of its instance's name, which is the host's id, and a uuid.
fn host_of(member: &str) -> &str {
    member.len().checked_sub(UUID_AND_DASH).and_then(|end| member.get(..end)).unwrap_or(member)
}

const UUID_AND_DASH: usize = 37;
