//! Where a worker's CPU time goes: its own thread's, so that neither other work on the machine nor waiting counts.

use std::collections::BTreeMap;

use rustix::time::{ClockId, clock_gettime};

/// CPU nanoseconds by phase: `read`, `decode`, `stage NAME`, `output NAME`, `prepare`, `commit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Phases(BTreeMap<String, u64>);

impl Phases {
    /// Adds time to a phase.
    pub fn add(&mut self, phase: &str, cpu_ns: u64) {
        match self.0.get_mut(phase) {
            Some(sum) => *sum += cpu_ns,
            None => {
                self.0.insert(phase.to_owned(), cpu_ns);
            }
        }
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(phase, cpu_ns)| self.add(phase, *cpu_ns));
    }

    /// The phases and their CPU nanoseconds, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(phase, cpu_ns)| (phase.as_str(), *cpu_ns))
    }
}

/// Measures phases that follow one another on one thread.
#[derive(Debug)]
pub struct Stopwatch(u64);

impl Stopwatch {
    /// Starts.
    pub fn start() -> Self {
        Self(thread_cpu_ns())
    }

    /// The CPU time since the start or the last lap.
    pub fn lap_ns(&mut self) -> u64 {
        let now = thread_cpu_ns();
        let lap = now.saturating_sub(self.0);
        self.0 = now;
        lap
    }
}

fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// The CPU time of the whole process, all threads, user and system.
pub fn process_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
