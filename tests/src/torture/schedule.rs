//! What is done when: it follows from the seed.

use std::time::Duration;

use crate::random::Random;

/// The version of the plugin that settles what is left; none that is swapped in while it goes on.
pub const LAST_VERSION: u32 = 7_999;

/// Something that is done to hosts, broker, plugin or table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Starts a host.
    Start(usize),
    /// `kill -9`.
    Kill(usize),
    /// SIGTERM.
    Stop(usize),
    /// SIGSTOP.
    Freeze(usize),
    /// SIGCONT.
    Thaw(usize),
    /// Kills the broker.
    BrokerDown,
    /// Starts it again.
    BrokerUp,
    /// Puts another version of the plugin in place.
    Swap(u32),
    /// Puts half of a plugin in place.
    Tear(u32),
    /// Puts another table in place.
    Reload(u32),
}

impl Step {
    /// All names.
    pub const NAMES: [&'static str; 8] =
        ["starts", "kills", "stops", "freezes", "broker restarts", "swaps", "torn plugins", "reloads"];

    /// What it is counted as; what ends another step is not counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start(_) => "starts",
            Self::Kill(_) => "kills",
            Self::Stop(_) => "stops",
            Self::Freeze(_) => "freezes",
            Self::BrokerDown => "broker restarts",
            Self::Swap(_) => "swaps",
            Self::Tear(_) => "torn plugins",
            Self::Reload(_) => "reloads",
            Self::Thaw(_) | Self::BrokerUp => "",
        }
    }
}

/// All steps in order, each with its time after the beginning. At the end the broker is up and no host is frozen.
pub fn schedule(seed: u64, time: Duration, hosts: usize) -> Vec<(Duration, Step)> {
    let mut random = Random::new(seed);
    let end_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut steps = Vec::new();
    for host in 0..hosts {
        of_host(&mut random, host, end_ms, &mut steps);
    }
    let mut at_ms = random.between(8_000, 15_000);
    while at_ms < end_ms {
        steps.push((at_ms, Step::BrokerDown));
        at_ms += random.between(200, 4_000);
        steps.push((at_ms, Step::BrokerUp));
        at_ms += random.between(20_000, 50_000);
    }
    let mut at_ms = 0;
    for number in 2..LAST_VERSION {
        at_ms += random.between(2_000, 8_000);
        let step = if random.below(5) == 0 { Step::Tear(number) } else { Step::Swap(number) };
        steps.push((at_ms, step));
        if at_ms > end_ms {
            break;
        }
    }
    let mut at_ms = 0;
    for number in 2.. {
        at_ms += random.between(3_000, 10_000);
        steps.push((at_ms, Step::Reload(number)));
        if at_ms > end_ms {
            break;
        }
    }
    steps.sort_by_key(|(at_ms, _)| *at_ms);
    steps.into_iter().map(|(at_ms, step)| (Duration::from_millis(at_ms), step)).collect()
}

fn of_host(random: &mut Random, host: usize, end_ms: u64, steps: &mut Vec<(u64, Step)>) {
    let mut at_ms = random.below(2_000);
    steps.push((at_ms, Step::Start(host)));
    loop {
        // A start takes seconds on a busy machine: some time to work is left behind it.
        at_ms += random.between(500, 20_000);
        if at_ms > end_ms {
            return;
        }
        let (down, up, longest_ms) = match random.below(10) {
            0..=4 => (Step::Kill(host), Step::Start(host), 3_000),
            5..=6 => (Step::Stop(host), Step::Start(host), 2_000),
            // Twice as long as a session.
            _ => (Step::Freeze(host), Step::Thaw(host), 12_000),
        };
        steps.push((at_ms, down));
        at_ms += random.between(50, longest_ms);
        steps.push((at_ms, up));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_steps_and_leaves_nothing_down() {
        let of = |seed| schedule(seed, Duration::from_secs(300), 3);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let number = |wanted: &str| of(7).iter().filter(|(_, step)| step.name() == wanted).count();
        assert!(Step::NAMES.iter().all(|name| number(name) > 0), "each step is done");
        for host in 0..3 {
            let mut is_up = false;
            for (_, step) in of(7) {
                match step {
                    Step::Start(of) | Step::Thaw(of) if of == host => assert!(!std::mem::replace(&mut is_up, true)),
                    Step::Kill(of) | Step::Stop(of) | Step::Freeze(of) if of == host => {
                        assert!(std::mem::replace(&mut is_up, false));
                    }
                    _ => {}
                }
            }
            assert!(is_up);
        }
    }
}
