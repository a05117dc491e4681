//! How often a host's producer was fenced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A host that is fenced so often, so soon, is not alone.
const FENCED_OFTEN: usize = 3;
const FENCED_SOON: Duration = Duration::from_secs(60);

/// When the host's producer was fenced, the last times: outlives a run that goes back.
#[derive(Clone, Debug, Default)]
pub struct Fenced(Arc<Mutex<Vec<Instant>>>);

impl Fenced {
    /// It was for a reason: the host had lost its place in the group.
    pub fn forget(&self) {
        self.times().clear();
    }

    /// Notes one more time; whether it was too often.
    pub(super) fn add(&self) -> bool {
        let mut times = self.times();
        times.retain(|time| time.elapsed() < FENCED_SOON);
        times.push(Instant::now());
        times.len() >= FENCED_OFTEN
    }

    fn times(&self) -> parking_lot::MutexGuard<'_, Vec<Instant>> {
        self.0.lock()
    }
}
