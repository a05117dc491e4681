//! Components. Whatever the bytes are, loading them ends, in a plugin or in an error of the kind `Plugin`; and what loads
//! can be asked what it is, which ends as well.

use std::error::Error as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use millstream::error::{Error, ErrorKind};
use millstream::plugin::Engine;

/// Loads the bytes as a component.
///
/// # Panics
/// When a promise does not hold.
pub fn check(bytes: &[u8]) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::new().unwrap_or_else(|error| panic!("no engine: {error}")));
    let refused = match engine.load(bytes, "fuzzed.wasm") {
        Ok(plugin) => plugin.describe().err(),
        Err(error) => Some(error),
    };
    let Some(error) = refused else { return };
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(error.message().contains("fuzzed.wasm"), "the error names the file: {error}");
    mark(&error);
}

/// libFuzzer looks at these bytes beside its own counters. Wasmtime is not instrumented, so its reason for refusing a
/// component stands in for how far it came: an input with a new reason is kept.
#[cfg_attr(feature = "libfuzzer", allow(unsafe_code))] // The section's name is all there is to it.
#[cfg_attr(feature = "libfuzzer", unsafe(link_section = "__libfuzzer_extra_counters"))]
static REASONS: [AtomicU8; 1 << 14] = [const { AtomicU8::new(0) }; 1 << 14];

fn mark(error: &Error) {
    let mut hasher = DefaultHasher::new();
    error.message().len().hash(&mut hasher);
    let mut cause = error.source();
    while let Some(error) = cause {
        // Without numbers: offsets and indexes make no reason a new one.
        error.to_string().chars().filter(|char| !char.is_ascii_digit()).for_each(|char| char.hash(&mut hasher));
        cause = error.source();
    }
    REASONS[(hasher.finish() % (1 << 14)) as usize].store(1, Ordering::Relaxed);
}
