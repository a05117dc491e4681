//! Promise: whatever is killed, frozen, stopped, restarted, swapped or reloaded, in whatever order, every record is in the
//! end where it belongs, exactly once. `make torture MINUTES=n` goes on for longer.

use std::time::Duration;

use millstream_tests::torture::{Settings, torture};

#[test]
fn a_minute_of_torture_loses_and_doubles_nothing() {
    let settings = Settings { seed: 5, time: Duration::from_secs(60), hosts: 1 };
    if let Err(failure) = torture(&settings) {
        panic!("seed {}: {failure}", settings.seed);
    }
}
