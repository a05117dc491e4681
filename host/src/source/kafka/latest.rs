//! What `start = "latest"` means: the end of every partition at the first start of all hosts. It is made fast then, in the
//! group's offsets, for the whole topic; so each host tells partitions that were there from those that are added later, which
//! are read from their first record on.
//!
//! One host decides, the one with the first partition; others that know of nothing wait for it. When partitions move
//! meanwhile, somebody else may decide, and has perhaps begun: this run then reads none, and the next one sees.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::KafkaSource;
use super::member::{Member, Share};
use super::topic::{Gap, Known, Start, Topic, known_offsets};
use crate::error::{Error, ErrorKind, Result};

impl KafkaSource {
    /// Where partitions start, and that is made fast; none: partitions move, this run reads none of them.
    pub(super) fn starts_at_latest(
        &self,
        topic: &Topic<'_>,
        partitions: &[i32],
        known: &mut Known,
    ) -> Result<Option<(Vec<Start>, Vec<Gap>)>> {
        known.from_end = known.committed.is_empty() && known.group.is_empty();
        let held = self.held.as_ref().filter(|(_, share)| !share.partitions.is_empty());
        let Some((member, share)) = held else {
            return topic.starts(partitions, known, self.until_caught_up).map(Some);
        };
        if known.from_end && !self.settle_first(member, share, known)? {
            return Ok(None);
        }
        let (starts, gaps) = topic.starts(partitions, known, self.until_caught_up)?;
        let is_new = starts.iter().filter(|start| start.is_new);
        let mut fixed: BTreeMap<i32, i64> = is_new.map(|start| (start.partition, start.offset)).collect();
        if known.from_end {
            for partition in self.partitions.iter().filter(|partition| !share.partitions.contains(partition)) {
                fixed.insert(*partition, topic.bounds(*partition)?.1);
            }
        }
        // Others may have begun where this host has stood still.
        if !fixed.is_empty() && member.is_moved(share) {
            return Ok(None);
        }
        member.commit(fixed.into_iter())?;
        Ok(Some((starts, gaps)))
    }

    /// Nothing is known of the partitions of this host: finds out whether that is so for the whole topic. False: partitions move.
    fn settle_first(&self, member: &Member, share: &Share, known: &mut Known) -> Result<bool> {
        let is_decided_here = self.partitions.first().is_some_and(|first| share.partitions.contains(first));
        let all = self.partitions.iter().copied().collect();
        let deadline = Instant::now() + self.timeout;
        loop {
            known.group = known_offsets(&member.committed(&all, self.timeout)?);
            known.from_end = known.group.is_empty();
            if !known.from_end || is_decided_here {
                return Ok(true);
            }
            if member.is_moved(share) {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                let what = format!(
                    "source {:?}: the host with the first partition of topic {:?} has not fixed yet where `latest` is",
                    self.name, self.topic
                );
                return Err(Error::new(ErrorKind::Unavailable, what));
            }
            drop(self.client.poll(Duration::from_millis(100)));
        }
    }
}
