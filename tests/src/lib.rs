//! What the end-to-end tests need: a real Kafka, and the binary as its user has it.

pub mod delivery;
pub mod host;
pub mod kafka;
pub mod lake;
pub mod patience;
mod random;
pub mod shape;
pub mod tag;
pub mod torture;
