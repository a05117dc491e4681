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
    /// What the groups had dealt out to this host: on these partitions its positions are the last word.
    pub assigned: BTreeSet<Partition>,
    /// Output -> the id of its lake.
    pub lakes: BTreeMap<String, String>,
}

/// What the records of all hosts, in the order of their commits, say of where partitions were read to: the last host that
/// had a partition knows; where the record of that commit is gone, the farthest position is the last.
pub fn positions_of(records: &[&CommitRecord]) -> Positions {
    let mut positions = Positions::new();
    for record in records {
        for (partition, position) in &record.positions {
            let known = positions.entry(partition.clone()).or_default();
            if position.ranges.end() > known.ranges.end() {
                known.clone_from(position);
            }
        }
    }
    for record in records {
        let assigned = record.positions.iter().filter(|(partition, _)| record.sharing.assigned.contains(partition));
        positions.extend(assigned.map(|(partition, position)| (partition.clone(), position.clone())));
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
