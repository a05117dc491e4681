//! Millstream from end to end. One binary, so that its tests share one Kafka.

#[path = "e2e/sources.rs"]
mod sources;
