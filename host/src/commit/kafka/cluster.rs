//! The brokers of a pipeline's transactions.

use std::collections::BTreeMap;

/// The brokers that hold a pipeline's transactions, and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// As the pipeline file has them.
    pub brokers: String,
    /// librdkafka's settings.
    pub properties: BTreeMap<String, String>,
}

impl Cluster {
    /// The one that a source reads from: of its settings those that say how brokers are reached.
    pub fn of_reader(brokers: &str, properties: &BTreeMap<String, String>) -> Self {
        let reaches = |name: &str| REACHING.iter().any(|prefix| name.starts_with(prefix));
        let properties = properties.iter().filter(|(name, _)| reaches(name));
        let properties = properties.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { brokers: brokers.to_owned(), properties }
    }
}

/// How librdkafka's settings begin that producers and consumers have alike, and that say how brokers are reached.
const REACHING: [&str; 10] = [
    "security.",
    "sasl.",
    "ssl.",
    "enable.ssl.",
    "enable.sasl.",
    "https.",
    "socket.",
    "broker.",
    "client.",
    "reconnect.",
];
