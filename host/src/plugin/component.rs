//! Bytes of a plugin to compiled code, through the cache.
//!
//! One of the host's files with unsafe code: `Component::deserialize` believes the bytes that it is handed, as if it
//! had compiled them itself.
//!
//! Why it is sound: the bytes are `Proven`, which only `CodeCache::read` makes (see there), so they are what
//! `Component::serialize` gave in `keep` below, for an engine with the same compatibility hash: the same version of
//! Wasmtime, the same settings, the same target. Wasmtime checks version, settings and the processor's features again.
#![allow(unsafe_code)]

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::cache::{CodeCache, Proven};
use crate::digest::hex;

/// How many hex digits of an engine's hash are in an entry's name.
const ENGINE_DIGITS: usize = 32;

/// The code that was kept for a plugin.
pub fn kept(cache: &CodeCache, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
    let proven: Proven = cache.read(digest, &engine_hash(engine))?;
    // SAFETY: see the head of this file.
    let component = unsafe { Component::deserialize(engine, proven.code()) };
    component
        .inspect_err(|error| tracing::warn!(digest, %error, "kept code does not load, the plugin is compiled"))
        .ok()
}

/// Keeps a plugin's code for the next start.
pub fn keep(cache: &CodeCache, engine: &wasmtime::Engine, digest: &str, component: &Component) {
    match component.serialize() {
        Ok(code) => cache.keep(digest, &engine_hash(engine), &code),
        Err(error) => tracing::warn!(digest, %error, "compiled code has no form that can be kept"),
    }
}

/// Everything that decides whether an engine can run compiled code, as text: Wasmtime's version, settings, target.
pub fn engine_hash(engine: &wasmtime::Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut text = hex(&hasher.0.finalize());
    text.truncate(ENGINE_DIGITS);
    text
}

/// What is hashed, as SHA-256: the standard library's hashers may change with its version.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The first eight bytes.
    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
