//! What every Kafka client of the host shares: settings with those that hold our promises fixed, librdkafka's log lines in
//! our log, and its errors in words that a person can act on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Error, ErrorKind, Result};

/// A librdkafka setting that the pipeline file may not change, and why.
pub(crate) struct Fixed {
    /// librdkafka's name.
    pub name: &'static str,
    /// What it is set to; none: it is set from elsewhere, or not at all.
    pub value: Option<&'static str>,
    /// Why, as the end of a sentence.
    pub reason: &'static str,
}

/// Settings that no client may have from `properties`.
const ALWAYS_FIXED: &[Fixed] = &[
    Fixed { name: "bootstrap.servers", value: None, reason: "`brokers` says where they are" },
    Fixed { name: "metadata.broker.list", value: None, reason: "`brokers` says where they are" },
];

/// A client's settings: `defaults`, then the pipeline file's `properties`, then what is fixed. `owner` names the client in
/// errors: `source "clicks"`.
pub(crate) fn configure(
    owner: &str,
    brokers: &str,
    properties: &BTreeMap<String, String>,
    defaults: &[(&str, &str)],
    fixed: &[Fixed],
) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info).set("client.id", "millstream");
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in properties {
        let forbidden = ALWAYS_FIXED.iter().chain(fixed).find(|fixed| fixed.name == name);
        if let Some(fixed) = forbidden.filter(|fixed| fixed.value != Some(value)) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("{owner}: the Kafka property {name} cannot be set: {}", fixed.reason),
            )
            .help("take it out of `properties` and `properties_file`"));
        }
        config.set(name, value);
    }
    for fixed in fixed {
        if let Some(value) = fixed.value {
            config.set(fixed.name, value);
        }
    }
    config.set("bootstrap.servers", brokers);
    Ok(config)
}

/// The error of a client that could not be made: a property that librdkafka does not know or take.
pub(crate) fn not_created(owner: &str, error: KafkaError) -> Error {
    let message = match &error {
        KafkaError::ClientConfig(_, text, name, _) => format!("{owner}: Kafka property {name}: {text}"),
        other => format!("{owner}: the Kafka client cannot be made: {other}"),
    };
    Error::new(ErrorKind::Config, message)
        .help("`properties` takes librdkafka's names: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md")
}

/// Brokers that did not answer in time.
pub(crate) fn away(owner: &str, brokers: &str, waited: Duration, log: &ClientLog) -> Error {
    let last = log.last_error().map(|error| format!(" ({error})")).unwrap_or_default();
    Error::new(
        ErrorKind::Unavailable,
        format!("{owner}: no answer from the Kafka brokers {brokers} for {} s{last}", waited.as_secs()),
    )
    .help("are the brokers up, is the address right, do they want TLS or SASL (`properties_file`)?")
}

/// Waits until a broker answers. One that does not want us says so soon: a wrong password is not waited out.
pub(crate) fn reach<Noted: Send + Sync + 'static>(
    client: &Client<Context<Noted>>,
    brokers: &str,
    timeout: Duration,
    serve: impl Fn(),
) -> Result<()> {
    let log = &client.context().log;
    let deadline = Instant::now() + timeout;
    // The id is in the first answer that a client gets; asked for later, it is at hand.
    while client.fetch_cluster_id(ANSWER).is_none() {
        serve();
        log.check_refused(brokers)?;
        if Instant::now() >= deadline {
            return Err(away(log.owner(), brokers, timeout, log));
        }
    }
    log.answered();
    Ok(())
}

/// How long one look for an answer takes.
const ANSWER: Duration = Duration::from_millis(500);

/// Brokers that refuse us for so long do not only start just now.
const REFUSED: Duration = Duration::from_secs(3);

/// How often a client's warnings reach the log; what comes between is logged at debug level.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Takes what a client has to say: into the log, and the last error for our own messages.
pub(crate) struct ClientLog {
    owner: String,
    last_error: Mutex<Option<String>>,
    last_warning: Mutex<Option<Instant>>,
    away: AtomicBool,
    /// Since when a broker refuses to know us, and why.
    refused: Mutex<Option<(Instant, String)>>,
    is_refused: AtomicBool,
}

impl ClientLog {
    /// For the client that `owner` names.
    pub fn new(owner: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            last_error: Mutex::default(),
            last_warning: Mutex::default(),
            away: AtomicBool::new(false),
            refused: Mutex::default(),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Who the client belongs to.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The last thing that went wrong.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// Fails when brokers refuse us for what we say of ourselves, or we them, for some time now.
    pub fn check_refused(&self, brokers: &str) -> Result<()> {
        let refused = self.refused.lock();
        let Some((_, reason)) = refused.as_ref().filter(|(since, _)| since.elapsed() >= REFUSED) else { return Ok(()) };
        let what = format!("{}: no connection to the Kafka brokers {brokers}: {reason}", self.owner);
        Err(Error::new(ErrorKind::Config, what).help(
            "mend `properties_file`: sasl.username, sasl.password and sasl.mechanism for who we are, ssl.ca.location for the \
             authority that signed the brokers' certificates",
        ))
    }

    /// Notes that a broker answered.
    pub fn answered(&self) {
        if self.is_refused.load(Ordering::Relaxed) && self.is_refused.swap(false, Ordering::Relaxed) {
            *self.refused.lock() = None;
        }
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(owner = %self.owner, "the Kafka brokers answer again");
        }
    }

    /// A line of librdkafka's log.
    pub fn line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // FAIL and ERROR come again as errors, which are reported once for the whole time that brokers are away.
        let serious = (level as i32) <= RDKafkaLogLevel::Warning as i32 && facility != "FAIL" && facility != "ERROR";
        if serious && self.may_warn() {
            tracing::warn!(owner = %self.owner, facility, "{text}");
        } else {
            tracing::debug!(owner = %self.owner, facility, "{text}");
        }
    }

    /// An error of a client as a whole. librdkafka goes on trying by itself.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        // A group that has committed nothing yet: `start` says where to begin. The code is that of lost offsets too.
        if reason.starts_with(NOTHING_COMMITTED) {
            tracing::debug!(owner = %self.owner, reason, "Kafka client");
            return;
        }
        if let Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) = error.rdkafka_error_code() {
            self.refused.lock().get_or_insert_with(|| (Instant::now(), reason.to_owned()));
            self.is_refused.store(true, Ordering::Relaxed);
        }
        *self.last_error.lock() = Some(reason.to_owned());
        let all_down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if all_down && !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(owner = %self.owner, reason, "the Kafka brokers are away; trying until they answer");
        } else if !all_down && !self.away.load(Ordering::Relaxed) && self.may_warn() {
            tracing::warn!(owner = %self.owner, reason, "Kafka client");
        } else {
            tracing::debug!(owner = %self.owner, reason, "Kafka client");
        }
    }

    fn may_warn(&self) -> bool {
        let mut last = self.last_warning.lock();
        let may = last.is_none_or(|last| last.elapsed() >= WARN_EVERY);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

/// How librdkafka begins to say that a group has no offset (`rd_kafka_offset_query_tmr_cb` and its neighbours).
const NOTHING_COMMITTED: &str = "no previously committed offset available";

/// What clients have: their log, and some note more.
pub(crate) struct Context<Noted = ()> {
    pub log: ClientLog,
    pub noted: Noted,
}

impl<Noted: Default> Context<Noted> {
    /// Of a client that `owner` names in errors.
    pub fn new(owner: &str) -> Self {
        Self { log: ClientLog::new(owner), noted: Noted::default() }
    }
}

impl<Noted: Send + Sync + 'static> ClientContext for Context<Noted> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(&error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Context {}

/// A client that reads, under no group of its own. `owner` names it in errors.
pub(crate) fn reader(config: &ClientConfig, owner: &str) -> Result<BaseConsumer<Context>> {
    config.create_with_context(Context::new(owner)).map_err(|error| not_created(owner, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_pass_through_except_those_that_hold_a_promise() {
        let fixed = [Fixed { name: "isolation.level", value: Some("read_committed"), reason: "of the promise" }];
        let with = |name: &str, value: &str| {
            let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            configure("source \"s\"", "b:1", &properties, &[("fetch.min.bytes", "1")], &fixed)
        };
        let config = with("fetch.min.bytes", "5").unwrap();
        assert_eq!(config.get("fetch.min.bytes"), Some("5"));
        assert_eq!(config.get("bootstrap.servers"), Some("b:1"));
        assert!(with("isolation.level", "read_committed").is_ok(), "saying what holds anyway is fine");
        for (name, value) in [("isolation.level", "read_uncommitted"), ("metadata.broker.list", "x:1")] {
            let error = with(name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(name) && error.message().contains("source \"s\""), "{error}");
        }
    }

    #[test]
    fn an_unknown_property_is_named() {
        let properties = BTreeMap::from([("no.such.thing".to_owned(), "1".to_owned())]);
        let config = configure("source \"s\"", "b:1", &properties, &[], &[]).unwrap();
        let error = config.create::<BaseConsumer>().map(drop).unwrap_err();
        let error = not_created("source \"s\"", error);
        assert!(error.message().contains("no.such.thing"), "{error}");
    }
}
