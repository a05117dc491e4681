//! What the end-to-end tests need: a real Kafka. The tests themselves are in `tests/e2e`, one binary.

pub mod kafka;
