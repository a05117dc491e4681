//! `swap` of a stage: how a changed plugin or config takes over.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::Value;
use super::keys::{Field, Keys, SWAP};
use super::reader::Reader;
use super::{Decision, Swap, units};

const SLOWER: RangeInclusive<u64> = 1..=1_000;
const PROBATION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
const DECISIONS: [(&str, Decision); 2] = [("auto", Decision::Auto), ("manual", Decision::Manual)];

impl Default for Swap {
    fn default() -> Self {
        Self { decision: Decision::Auto, rejected: 0.01, slower: 3, probation: Duration::ZERO }
    }
}

impl Swap {
    /// Whether so many rows of `rows` are too many to be rejected, where a share of them was before. One row more is no
    /// pattern.
    pub fn is_too_many(&self, rejected: f64, rows: u64, share_before: f64) -> bool {
        rejected > (share_before + self.rejected) * rows as f64 + 1.0
    }
}

/// `"auto"`, `"manual"`, or a table.
pub(super) fn swap(reader: &mut Reader<'_>, field: Option<&Field<'_>>) -> Option<Swap> {
    let default = Swap::default();
    let Some(field) = field else { return Some(default) };
    if matches!(field.node.value, Value::String(_)) {
        return Some(Swap { decision: reader.word(field, &DECISIONS)?, ..default });
    }
    let mut keys = Keys::of(reader, field, &SWAP, "\"manual\", or { decision = \"auto\", rejected = \"1%\" }")?;
    let decision = keys.optional(reader, "decision", default.decision, |reader, field| reader.word(field, &DECISIONS));
    let rejected =
        keys.optional(reader, "rejected", default.rejected, |reader, field| reader.unit(field, "\"1%\"", units::share));
    let slower = keys
        .optional(reader, "slower", default.slower, |reader, field| u32::try_from(reader.integer(field, SLOWER)?).ok());
    let probation =
        keys.optional(reader, "probation", default.probation, |reader, field| reader.duration(field, PROBATION));
    keys.finish(reader);
    Some(Swap { decision: decision?, rejected: rejected?, slower: slower?, probation: probation? })
}
