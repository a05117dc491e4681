//! Waiting for what nobody tells: looked at again and again.

use std::time::{Duration, Instant};

/// How long a test waits for something that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What is found within a time. Looks once more when it is over.
#[expect(clippy::disallowed_methods, reason = "this is how tests wait")]
pub fn find_within<T>(time: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match find() {
            None if !left.is_zero() => std::thread::sleep(PAUSE.min(left)),
            found => return found,
        }
    }
}

/// Waits until something is so.
///
/// # Panics
///
/// With what did not come, after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(find_within(PATIENCE, || is_so().then_some(())).is_some(), "{what}: not after {} s", PATIENCE.as_secs());
}
