//! What one commit says. Its form is versioned: a record of a later version than this host knows is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::output::Token;
use crate::pipeline::Counts;
use crate::record::Partition;
use crate::source::Positions;

/// The version that this host writes.
pub const RECORD_VERSION: u32 = 1;

/// The one record that makes an epoch true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// The version of the form of this record; a higher one than this host knows is refused.
    pub version: u32,
    /// The id of the host's data folder.
    pub host: String,
    /// Counts the starts of this host.
    pub incarnation: u64,
    /// Counts the commits of this host, from 1.
    pub epoch: u64,
    /// The wall clock at the commit, in ms since 1970-01-01 UTC; nothing depends on it.
    pub committed_at_ms: i64,
    /// The plan that made the epoch.
    pub plan: PlanStamp,
    /// Everything that was read since the data folder exists.
    #[serde(with = "positions_as_list")]
    pub positions: Positions,
    /// What each output staged; rejects among them under `rejects`.
    pub outputs: BTreeMap<String, Token>,
    /// This epoch's rows.
    pub counts: Counts,
    /// All rows since the data folder exists.
    pub totals: Counts,
    /// By output, rows of all files that were ever closed, from their footers, and rows that a topic acknowledged.
    pub closed_rows: BTreeMap<String, u64>,
    /// Which hosts it shares its work with.
    pub sharing: Sharing,
}

/// What hosts that share a pipeline's work have to agree on, and what this one had of the work in the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// Source -> the group whose offsets the transactions hold. Hosts with the same groups share the work; others only have
    /// a pipeline of the same name.
    pub groups: BTreeMap<String, String>,
    /// What the groups had dealt out to this host; nothing when somebody has brought its work to an end.
    pub assigned: BTreeSet<Partition>,
    /// Output -> the id of its lake.
    pub lakes: BTreeMap<String, String>,
}

/// What the records of all hosts say of where partitions were read to. A host that takes a partition over goes on from what
/// all say, so the latest position is the farthest one, unless it was taken back.
pub fn positions_of<'a>(records: impl IntoIterator<Item = &'a CommitRecord>) -> Positions {
    let mut positions = Positions::new();
    for (partition, position) in records.into_iter().flat_map(|record| &record.positions) {
        if positions.get(partition).is_none_or(|known| position.rank() > known.rank()) {
            positions.insert(partition.clone(), position.clone());
        }
    }
    positions
}

/// What identifies a plan in commits, in footers and across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStamp {
    /// Its number.
    pub number: u64,
    /// SHA-256 over everything that decides what a row becomes: two plans with the same fingerprint are the same plan.
    pub fingerprint: String,
    /// Stage -> digest of its plugin.
    pub digests: BTreeMap<String, String>,
    /// Stage -> the config that its plugin runs with, secrets not resolved: what footers say.
    #[serde(default)]
    pub in_use: BTreeMap<String, serde_json::Value>,
    /// Stage -> the config that was put in place of the pipeline file's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, ConfigChange>,
}

/// A stage's config that was changed while the pipeline ran. It holds as long as the pipeline file's stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// The config, secrets not resolved.
    pub config: serde_json::Value,
    /// What the pipeline file said when it was changed.
    pub instead_of: serde_json::Value,
}

/// JSON has no maps with keys of two parts.
mod positions_as_list {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::record::Partition;
    use crate::source::{Position, Positions};

    pub(super) fn serialize<S: Serializer>(positions: &Positions, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(positions.iter())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Positions, D::Error> {
        Ok(Vec::<(Partition, Position)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Position, Ranges};

    #[test]
    fn the_latest_position_is_the_farthest_but_for_one_that_was_taken_back() {
        let partition = |key: &str| Partition { source: "s".into(), key: key.into() };
        let read_to = |end: i64| {
            let mut ranges = Ranges::default();
            ranges.add(0, end);
            Position { ranges, ..Position::default() }
        };
        let mut back = read_to(50);
        back.take_back(0);
        assert_eq!(back.ranges.end(), Some(0), "it says where to go on");
        let record = |positions: &[(&str, &Position)]| {
            let positions = positions.iter().map(|(key, position)| (partition(key), (*position).clone())).collect();
            CommitRecord { positions, ..record() }
        };
        let one = record(&[("0", &back), ("1", &read_to(7)), ("2", &read_to(3))]);
        let two = record(&[("0", &read_to(90)), ("1", &read_to(9))]);
        for order in [[&one, &two], [&two, &one]] {
            let known = positions_of(order);
            let ends: Vec<_> = known.values().map(|position| position.ranges.end()).collect();
            assert_eq!(ends, [Some(0), Some(9), Some(3)]);
        }
    }

    fn record() -> CommitRecord {
        CommitRecord {
            version: RECORD_VERSION,
            host: "0badcafe".to_owned(),
            incarnation: 1,
            epoch: 1,
            committed_at_ms: 0,
            plan: PlanStamp::default(),
            positions: Positions::new(),
            outputs: BTreeMap::new(),
            counts: Counts::default(),
            totals: Counts::default(),
            closed_rows: BTreeMap::new(),
            sharing: Sharing::default(),
        }
    }
}
