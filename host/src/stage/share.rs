//! The limit on the share of rows that a stage may reject: over a time, so that a bad minute stops the pipeline and a bad
//! row does not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config::RejectedShare;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Refusal;

/// The time is counted in so many slices.
const SLICES: u32 = 30;
/// A share of fewer rows than these is not judged before the whole time has passed.
const JUDGED_MIN_ROWS: u64 = 1_000;
/// Most reasons that are counted in a slice; further ones count as `other`.
const MAX_REASONS: usize = 64;
/// How many reasons the error names.
const NAMED_REASONS: usize = 3;

/// The rows that a stage saw and rejected lately.
#[derive(Debug)]
pub struct RejectedRows {
    stage: Arc<str>,
    limit: RejectedShare,
    began: Option<Duration>,
    slices: VecDeque<Slice>,
}

#[derive(Debug, Default)]
struct Slice {
    number: u128,
    rows: u64,
    rejected: u64,
    reasons: BTreeMap<String, u64>,
}

impl RejectedRows {
    /// Nothing was seen yet.
    pub fn new(stage: &Arc<str>, limit: RejectedShare) -> Self {
        Self { stage: Arc::clone(stage), limit, began: None, slices: VecDeque::new() }
    }

    /// Counts a batch at the worker's time `elapsed`.
    ///
    /// # Errors
    /// `Plugin` when the share over the time is above the limit: with the share and the most frequent reasons.
    pub fn count(&mut self, elapsed: Duration, rows: usize, rejects: &[Refusal]) -> Result<()> {
        let began = *self.began.get_or_insert(elapsed);
        let slice = (self.limit.over / SLICES).max(Duration::from_millis(1));
        let number = elapsed.as_nanos() / slice.as_nanos();
        // Slices from the future are of before somebody set the clock back.
        self.slices.retain(|old| old.number <= number && old.number + u128::from(SLICES) > number);
        if self.slices.back().is_none_or(|last| last.number != number) {
            self.slices.push_back(Slice { number, ..Slice::default() });
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.count(rows, rejects);
        }
        let seen: u64 = self.slices.iter().map(|slice| slice.rows).sum();
        let rejected: u64 = self.slices.iter().map(|slice| slice.rejected).sum();
        let judged = seen >= JUDGED_MIN_ROWS || elapsed.saturating_sub(began) >= self.limit.over;
        if judged && seen > 0 && rejected as f64 > seen as f64 * self.limit.share {
            return Err(self.above(seen, rejected));
        }
        Ok(())
    }

    fn above(&self, seen: u64, rejected: u64) -> Error {
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in self.slices.iter().flat_map(|slice| &slice.reasons) {
            *reasons.entry(reason).or_default() += count;
        }
        let mut reasons: Vec<(&str, u64)> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named = reasons.iter().take(NAMED_REASONS).map(|(reason, count)| format!("{reason} ({count})"));
        let named = named.collect::<Vec<_>>().join(", ");
        let (share, limit) = (100.0 * rejected as f64 / seen as f64, 100.0 * self.limit.share);
        let message = format!(
            "stage \"{}\" rejected {share:.1}% of {seen} rows over {:?}, more than its limit of {limit}%; most often: {named}",
            self.stage, self.limit.over
        );
        Error::new(ErrorKind::Plugin, message)
            .help("look at the rejects, mend the plugin or the source, or raise `limits = { rejected = \"..\" }`")
    }
}

impl Slice {
    fn count(&mut self, rows: usize, rejects: &[Refusal]) {
        self.rows += rows as u64;
        self.rejected += rejects.len() as u64;
        for reject in rejects {
            if let Some(count) = self.reasons.get_mut(&reject.reason) {
                *count += 1;
            } else {
                let reason = if self.reasons.len() < MAX_REASONS { reject.reason.as_str() } else { "other" };
                *self.reasons.entry(reason.to_owned()).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(share: f64) -> RejectedRows {
        RejectedRows::new(&Arc::from("clean"), RejectedShare { share, over: Duration::from_secs(60) })
    }

    fn rejects(count: u32) -> Vec<Refusal> {
        (0..count).map(|row| Refusal { row, reason: "bad_url".to_owned(), detail: String::new() }).collect()
    }

    #[test]
    fn a_share_above_the_limit_is_an_error_that_says_why() {
        let mut seen = rows(0.05);
        seen.count(Duration::ZERO, 1_000, &rejects(50)).unwrap();
        let error = seen.count(Duration::from_secs(1), 1_000, &rejects(60)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(
            error.message(),
            "stage \"clean\" rejected 5.5% of 2000 rows over 60s, more than its limit of 5%; most often: bad_url (110)"
        );
    }

    #[test]
    fn few_rows_are_judged_when_the_time_has_passed() {
        let mut seen = rows(0.05);
        for second in 0..60 {
            seen.count(Duration::from_secs(second), 1, &rejects(1)).unwrap();
        }
        assert!(seen.count(Duration::from_secs(60), 1, &rejects(1)).is_err());
    }

    #[test]
    fn what_is_older_than_the_time_does_not_count() {
        let mut seen = rows(0.05);
        seen.count(Duration::ZERO, 900, &rejects(900)).unwrap();
        seen.count(Duration::from_secs(61), 10_000, &[]).unwrap();
        assert!(seen.slices.len() <= SLICES as usize);
    }
}
