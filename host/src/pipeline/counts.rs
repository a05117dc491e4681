//! Conservation: `in + multiplied = out + rejected + filtered`, counted where rows are made, not derived from one another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Reasons that a place may name before the rest is counted as [`OTHER`].
const MAX_REASONS: usize = 64;

/// The reason under which further reasons are counted.
pub const OTHER: &str = "other";

/// The reason of rows that reached a place from which nothing reads.
pub const UNREAD: &str = "unread";

/// Rows by reason.
pub type Reasons = BTreeMap<String, u64>;

/// What became of the records that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that were handed to a decoder, by source.
    pub read: BTreeMap<String, u64>,
    /// Rows beyond one a record: made by stages, and by places that several stages or outputs read.
    pub multiplied: u64,
    /// Rows written, by output.
    pub out: BTreeMap<String, u64>,
    /// Rows refused, by `source.NAME` or stage, and by reason.
    pub rejected: BTreeMap<String, Reasons>,
    /// Rows left out on purpose, by place and reason.
    pub filtered: BTreeMap<String, Reasons>,
    /// Fields of records that no column names.
    pub unknown_fields: u64,
}

impl Counts {
    /// Counts records of a source.
    pub fn add_read(&mut self, source: &str, records: u64) {
        add(&mut self.read, source, records);
    }

    /// Counts rows of an output.
    pub fn add_out(&mut self, output: &str, rows: u64) {
        add(&mut self.out, output, rows);
    }

    /// Counts refused rows.
    pub fn add_rejected(&mut self, place: &str, reason: &str, rows: u64) {
        add_reason(&mut self.rejected, place, reason, rows);
    }

    /// Counts rows left out on purpose.
    pub fn add_filtered(&mut self, place: &str, reason: &str, rows: u64) {
        add_reason(&mut self.filtered, place, reason, rows);
    }

    /// Adds all of another count.
    pub fn merge(&mut self, other: &Self) {
        other.read.iter().for_each(|(source, records)| self.add_read(source, *records));
        other.out.iter().for_each(|(output, rows)| self.add_out(output, *rows));
        for (place, reason, rows) in each_reason(&other.rejected) {
            self.add_rejected(place, reason, rows);
        }
        for (place, reason, rows) in each_reason(&other.filtered) {
            self.add_filtered(place, reason, rows);
        }
        self.multiplied += other.multiplied;
        self.unknown_fields += other.unknown_fields;
    }

    /// All records that were read.
    pub fn total_read(&self) -> u64 {
        self.read.values().sum()
    }

    /// All rows that were written.
    pub fn total_out(&self) -> u64 {
        self.out.values().sum()
    }

    /// All rows that were refused.
    pub fn total_rejected(&self) -> u64 {
        each_reason(&self.rejected).map(|(_, _, rows)| rows).sum()
    }

    /// All rows that were left out on purpose.
    pub fn total_filtered(&self) -> u64 {
        each_reason(&self.filtered).map(|(_, _, rows)| rows).sum()
    }

    /// Whether `in + multiplied = out + rejected + filtered`.
    pub fn is_conserved(&self) -> bool {
        self.total_read() + self.multiplied == self.total_out() + self.total_rejected() + self.total_filtered()
    }

    /// The equation with its numbers.
    pub fn equation(&self) -> String {
        format!(
            "in {} + multiplied {} = out {} + rejected {} + filtered {}",
            self.total_read(),
            self.multiplied,
            self.total_out(),
            self.total_rejected(),
            self.total_filtered()
        )
    }
}

/// Every place, reason and number of rows.
pub fn each_reason(counts: &BTreeMap<String, Reasons>) -> impl Iterator<Item = (&str, &str, u64)> {
    counts
        .iter()
        .flat_map(|(place, reasons)| reasons.iter().map(|(reason, rows)| (place.as_str(), reason.as_str(), *rows)))
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, number: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += number,
        None => {
            counts.insert(name.to_owned(), number);
        }
    }
}

fn add_reason(counts: &mut BTreeMap<String, Reasons>, place: &str, reason: &str, rows: u64) {
    if rows == 0 {
        return;
    }
    if !counts.contains_key(place) {
        counts.insert(place.to_owned(), Reasons::new());
    }
    if let Some(reasons) = counts.get_mut(place) {
        let known = reasons.len() < MAX_REASONS || reasons.contains_key(reason);
        add(reasons, if known { reason } else { OTHER }, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_refused_or_left_out() {
        let mut counts = Counts::default();
        counts.add_read("clicks", 10);
        counts.multiplied = 2;
        counts.add_out("views", 9);
        counts.add_rejected("source.clicks", "bad_json", 1);
        assert!(!counts.is_conserved());
        counts.add_filtered("clean", "bot", 2);
        assert!(counts.is_conserved(), "{}", counts.equation());
        let mut twice = counts.clone();
        twice.merge(&counts);
        assert!(twice.is_conserved() && twice.total_read() == 20);
    }

    #[test]
    fn reasons_without_end_are_counted_as_other() {
        let mut counts = Counts::default();
        for reason in 0..1_000 {
            counts.add_rejected("clean", &format!("reason {reason}"), 1);
        }
        assert_eq!(counts.rejected["clean"].len(), MAX_REASONS + 1);
        assert_eq!(counts.total_rejected(), 1_000);
    }
}
