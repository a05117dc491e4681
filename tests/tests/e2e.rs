//! The end-to-end tests, one module a promise, all in one binary: they share one Kafka.

#[path = "e2e/author.rs"]
mod author;
#[path = "e2e/backfill.rs"]
mod backfill;
#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/broker_away.rs"]
mod broker_away;
#[path = "e2e/columns_change.rs"]
mod columns_change;
#[path = "e2e/control.rs"]
mod control;
#[path = "e2e/dimensions.rs"]
mod dimensions;
#[path = "e2e/disk_lies.rs"]
mod disk_lies;
#[path = "e2e/drain.rs"]
mod drain;
#[path = "e2e/examples.rs"]
mod examples;
#[path = "e2e/explain.rs"]
mod explain;
#[path = "e2e/generate.rs"]
mod generate;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/hosts.rs"]
mod hosts;
#[path = "e2e/hot_swap.rs"]
mod hot_swap;
#[path = "e2e/kafka_records.rs"]
mod kafka_records;
#[path = "e2e/languages.rs"]
mod languages;
#[path = "e2e/lost_offsets.rs"]
mod lost_offsets;
#[path = "e2e/moved_offsets.rs"]
mod moved_offsets;
#[path = "e2e/ready_made.rs"]
mod ready_made;
#[path = "e2e/recovery.rs"]
mod recovery;
#[path = "e2e/replay.rs"]
mod replay;
#[path = "e2e/replay_kafka.rs"]
mod replay_kafka;
#[path = "e2e/retention.rs"]
mod retention;
#[path = "e2e/rewind.rs"]
mod rewind;
#[path = "e2e/secured_broker.rs"]
mod secured_broker;
#[path = "e2e/sources.rs"]
mod sources;
#[path = "e2e/topic_writer.rs"]
mod topic_writer;
#[path = "e2e/topics.rs"]
mod topics;
#[path = "e2e/torture.rs"]
mod torture;
#[path = "e2e/two_at_once.rs"]
mod two_at_once;
