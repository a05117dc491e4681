//! What calls that fail may cost. Rows that a plugin cannot bear are worth being looked for as long as others go through;
//! a plugin that fails on everything is not, and has to be found out soon.

use std::time::Duration;

/// A call more for every so many rows that went through: poison of 1% goes on for ever, of 10% does not.
const ROWS_PER_CALL: u64 = 8;
/// Time that failed calls may take in an epoch beside what others took, or four times the stage's deadline.
pub const LOST_MAX: Duration = Duration::from_secs(8);
/// So many calls of the limit allow one guilty row behind another ..
const CALLS_PER_GUILTY_IN_A_ROW: u32 = 4;
/// .. but never fewer than these.
const GUILTY_IN_A_ROW_MIN: u32 = 16;

/// What failed calls may cost, and did.
#[derive(Debug)]
pub struct Patience {
    trap_calls: u32,
    lost_max: Duration,
    spent: Spent,
    /// Not of the epoch: a slow stream may bring a row an epoch.
    guilty_in_a_row: u32,
}

/// What was spent in an epoch.
#[derive(Debug, Default)]
struct Spent {
    calls: u64,
    passed_rows: u64,
    lost: Duration,
    useful: Duration,
}

impl Patience {
    /// All of it. `trap_calls` and `deadline` are the stage's limits.
    pub fn new(trap_calls: u32, deadline: Duration) -> Self {
        let lost_max = LOST_MAX.max(deadline.saturating_mul(4));
        Self { trap_calls, lost_max, spent: Spent::default(), guilty_in_a_row: 0 }
    }

    /// Begins an epoch.
    pub fn begin_epoch(&mut self) {
        self.spent = Spent::default();
    }

    /// Rows went through, in this time.
    pub fn passed(&mut self, rows: usize, time: Duration) {
        self.spent.passed_rows += rows as u64;
        self.spent.useful += time;
        self.guilty_in_a_row = 0;
    }

    /// A call failed, in this time.
    pub fn failed(&mut self, time: Duration) {
        self.spent.lost += time;
    }

    /// A row was found guilty.
    pub fn guilty(&mut self) {
        self.guilty_in_a_row = self.guilty_in_a_row.saturating_add(1);
    }

    /// Asks for a call more, to find out which rows are guilty. The error says on what patience is lost.
    pub fn take_call(&mut self) -> Result<(), String> {
        let calls = u64::from(self.trap_calls) + self.spent.passed_rows / ROWS_PER_CALL;
        if self.spent.calls >= calls {
            return Err(format!("{calls} calls in this epoch went into finding guilty rows"));
        }
        if self.spent.lost > self.lost_max + self.spent.useful {
            return Err(format!("{:.1?} of this epoch went into calls that failed", self.spent.lost));
        }
        let in_a_row = (self.trap_calls / CALLS_PER_GUILTY_IN_A_ROW).max(GUILTY_IN_A_ROW_MIN);
        if self.guilty_in_a_row >= in_a_row {
            return Err(format!("{in_a_row} rows one behind the other were guilty"));
        }
        self.spent.calls += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(2);

    #[test]
    fn rows_that_go_through_pay_for_calls() {
        let mut patience = Patience::new(3, DEADLINE);
        (0..3).for_each(|_| patience.take_call().unwrap());
        assert_eq!(patience.take_call().unwrap_err(), "3 calls in this epoch went into finding guilty rows");
        patience.passed(16, Duration::ZERO);
        (0..2).for_each(|_| patience.take_call().unwrap());
        assert!(patience.take_call().is_err());
        patience.begin_epoch();
        patience.take_call().unwrap();
    }

    #[test]
    fn time_is_lost_only_so_long() {
        let mut patience = Patience::new(1_000, DEADLINE);
        patience.failed(LOST_MAX);
        patience.take_call().unwrap();
        patience.failed(Duration::from_secs(1));
        assert_eq!(patience.take_call().unwrap_err(), "9.0s of this epoch went into calls that failed");
        patience.passed(1, Duration::from_secs(1));
        patience.take_call().unwrap();
    }

    #[test]
    fn a_row_an_epoch_that_is_always_guilty_is_found_out() {
        let mut patience = Patience::new(100, DEADLINE);
        for _ in 0..25 {
            patience.take_call().unwrap();
            patience.guilty();
            patience.begin_epoch();
        }
        assert_eq!(patience.take_call().unwrap_err(), "25 rows one behind the other were guilty");
    }
}
