//! The memory of one table: its resident indexes and block caches, over all generations that somebody still holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a table may hold in memory (`memory` in the pipeline file).
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

/// A part of the budget; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicU64::new(0) })
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// What is in use.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Takes a part, if it is free.
    pub(super) fn lease(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Lease { budget: self.clone(), bytes })
    }

    /// Takes what is free, up to `most_bytes`.
    pub(super) fn lease_up_to(self: &Arc<Self>, most_bytes: u64) -> Lease {
        let mut bytes = 0;
        let take = |used: u64| {
            bytes = self.limit_bytes.saturating_sub(used).min(most_bytes);
            used.checked_add(bytes)
        };
        if self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            bytes = 0;
        }
        Lease { budget: self.clone(), bytes }
    }
}

impl Lease {
    /// How large the part is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_no_more_than_it_has_and_takes_back() {
        let budget = Budget::new(100);
        let first = budget.lease(60).unwrap();
        assert!(budget.lease(41).is_none());
        assert_eq!(budget.lease_up_to(50).bytes(), 40);
        drop(first);
        assert!(budget.lease(100).is_some());
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(budget.lease_up_to(50).bytes(), 50);
    }
}
