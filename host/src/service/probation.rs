//! The probation of a changed stage: its first epoch is made like any other, and held back from the lake until it is
//! known how the stage did. If it did worse than the stage's thresholds allow, the epoch is not committed: nothing of it
//! reached anyone, and its rows are read again under the plan before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::logic::Change;
use crate::config::Swap;
use crate::pipeline::{Counts, Phases};

/// Fewer rows than this say nothing about the time of a row.
pub const TIMED_ROWS: u64 = 1_000;

/// What the first calls of fresh instances may take beside that: their code and memory come in when they are first touched.
const WARM_UP_NS: f64 = 100e6;

/// What stages did over some epochs.
#[derive(Clone, Debug, Default)]
pub struct Record {
    read: u64,
    rejected: BTreeMap<String, u64>,
    cpu_ns: BTreeMap<String, u64>,
}

impl Record {
    /// Adds an epoch.
    pub fn add(&mut self, counts: &Counts, phases: &Phases) {
        self.read += counts.total_read();
        for (stage, reasons) in &counts.rejected {
            *self.rejected.entry(stage.clone()).or_default() += reasons.values().sum::<u64>();
        }
        for (phase, cpu_ns) in phases.iter() {
            if let Some(stage) = phase.strip_prefix("stage ") {
                *self.cpu_ns.entry(stage.to_owned()).or_default() += cpu_ns;
            }
        }
    }

    fn rejected(&self, stage: &str) -> u64 {
        self.rejected.get(stage).copied().unwrap_or(0)
    }

    fn rejected_share(&self, stage: &str) -> f64 {
        if self.read == 0 { 0.0 } else { self.rejected(stage) as f64 / self.read as f64 }
    }

    /// CPU nanoseconds that a stage took for each record that was read; none when too few were.
    fn ns_a_record(&self, stage: &str) -> Option<f64> {
        let cpu_ns = self.cpu_ns.get(stage)?;
        (self.read >= TIMED_ROWS).then(|| *cpu_ns as f64 / self.read as f64)
    }
}

/// Changed stages under watch.
#[derive(Debug)]
pub struct Probation {
    watched: Vec<(Change, Swap)>,
    before: Record,
    since: Record,
    began: Instant,
}

impl Probation {
    /// Begins with the first epoch of a plan. `before` is what the stages did under the plan before.
    pub fn new(watched: Vec<(Change, Swap)>, before: Record) -> Self {
        Self { watched, before, since: Record::default(), began: Instant::now() }
    }

    /// How long the epoch has to be held open yet.
    pub fn left(&self) -> Duration {
        let least = self.watched.iter().map(|(_, swap)| swap.probation).max().unwrap_or_default();
        least.saturating_sub(self.began.elapsed())
    }

    /// Takes an epoch into account. Whether the stages have passed: not before there were rows; and why they failed.
    pub fn judge(&mut self, counts: &Counts, phases: &Phases) -> Result<bool, String> {
        self.since.add(counts, phases);
        for (Change { stage, .. }, thresholds) in &self.watched {
            self.compare(stage, thresholds)?;
        }
        Ok(self.since.read > 0 && self.left().is_zero())
    }

    fn compare(&self, stage: &str, thresholds: &Swap) -> Result<(), String> {
        let share_before = self.before.rejected_share(stage);
        if thresholds.is_too_many(self.since.rejected(stage) as f64, self.since.read, share_before) {
            return Err(format!(
                "stage \"{stage}\" rejected {:.1}% of the rows of its first epoch, before it was {:.1}%, and `swap.rejected` allows {:.1}% more",
                self.since.rejected_share(stage) * 100.0,
                share_before * 100.0,
                thresholds.rejected * 100.0
            ));
        }
        if let (Some(before), Some(since)) = (self.before.ns_a_record(stage), self.since.ns_a_record(stage))
            && (since - before * f64::from(thresholds.slower)) * self.since.read as f64 > WARM_UP_NS
        {
            return Err(format!(
                "stage \"{stage}\" took {since:.0} ns a row in its first epoch, before it was {before:.0} ns, and `swap.slower` allows {} times as long",
                thresholds.slower
            ));
        }
        Ok(())
    }

    /// What is under watch.
    pub fn changes(&self) -> Vec<Change> {
        self.watched.iter().map(|(change, _)| change.clone()).collect()
    }

    /// What is under watch, and how.
    pub fn into_watched(self) -> Vec<(Change, Swap)> {
        self.watched
    }
}

#[cfg(test)]
mod tests {
    use super::super::logic::Version;
    use super::*;

    fn epoch(read: u64, rejected: u64, ns: u64) -> (Counts, Phases) {
        let (mut counts, mut phases) = (Counts::default(), Phases::default());
        counts.add_read("s", read);
        counts.add_rejected("clean", "bad", rejected);
        phases.add("stage clean", ns * read);
        (counts, phases)
    }

    fn probation(swap: Swap) -> Probation {
        let version = |digest: &str| Version { digest: digest.to_owned(), config: None };
        let mut before = Record::default();
        let (counts, phases) = epoch(10_000, 100, 200);
        before.add(&counts, &phases);
        let change = Change { stage: "clean".to_owned(), before: version("1"), next: version("2") };
        Probation::new(vec![(change, swap)], before)
    }

    fn judged(read: u64, rejected: u64, ns: u64) -> Result<bool, String> {
        let (counts, phases) = epoch(read, rejected, ns);
        probation(Swap::default()).judge(&counts, &phases)
    }

    #[test]
    fn a_stage_passes_within_its_thresholds() {
        assert_eq!(judged(10_000, 200, 600), Ok(true));
        assert_eq!(judged(0, 0, 0), Ok(false), "nothing was seen yet");
        assert_eq!(judged(1, 1, 1_000_000), Ok(true), "one row is no pattern");
    }

    #[test]
    fn more_rejects_or_more_time_fail_it() {
        assert!(judged(10_000, 202, 200).unwrap_err().contains("rejected 2.0%"));
        assert!(judged(5, 5, 0).unwrap_err().contains("rejected 100.0%"));
        assert!(judged(10_000_000, 0, 611).unwrap_err().contains("611 ns a row"));
    }

    #[test]
    fn a_cold_start_is_no_slow_stage() {
        assert_eq!(judged(13_500, 0, 1_140), Ok(true), "a month's half of examples/flights, on a busy machine");
        assert_eq!(judged(10_000_000, 0, 609), Ok(true));
        assert!(judged(2_000, 0, 1_000_000).unwrap_err().contains("1000000 ns a row"));
    }

    #[test]
    fn epochs_are_added_up_until_the_time_is_over() {
        let mut probation = probation(Swap { probation: Duration::from_secs(3600), ..Swap::default() });
        let (counts, phases) = epoch(5_000, 100, 200);
        assert_eq!(probation.judge(&counts, &phases), Ok(false));
        let (counts, phases) = epoch(1_000, 500, 200);
        assert!(probation.judge(&counts, &phases).unwrap_err().contains("rejected 10.0%"));
    }
}
