//! Says over which row a plugin panicked, so that the host need not look for it: the last line that a plugin writes to
//! stderr before it traps may be `millstream: row N`, N counted in the batch from 0.

use std::sync::atomic::{AtomicU32, Ordering};

/// No row is being worked on.
const NONE: u32 = u32::MAX;

static ROW: AtomicU32 = AtomicU32::new(NONE);

/// Notes which row is worked on now.
#[inline(always)]
pub(crate) fn at(row: u32) {
    ROW.store(row, Ordering::Relaxed);
}

/// Notes that no row is worked on any more.
pub(crate) fn done() {
    at(NONE);
}

/// Has panics say their row.
#[cfg(target_family = "wasm")]
pub(crate) fn tell() {
    std::panic::set_hook(Box::new(|panic| {
        use std::io::Write;
        // One write: each is a call of the host. Nothing is to be done when it fails: the plugin traps.
        let _ = std::io::stderr().write_all(told(panic, ROW.load(Ordering::Relaxed)).as_bytes());
    }));
}

#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
fn told(panic: impl std::fmt::Display, row: u32) -> String {
    if row == NONE { format!("{panic}\n") } else { format!("{panic}\nmillstream: row {row}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_the_last_line() {
        assert_eq!(told("panicked at a:\nno", 7), "panicked at a:\nno\nmillstream: row 7\n");
        assert_eq!(told("no", NONE), "no\n");
    }
}
