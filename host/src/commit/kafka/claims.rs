//! Claims: what one host of a pipeline does and no other one. They are messages of the commit topic, in no transaction, under a
//! key each, so that compaction keeps them all: of a word the first one counts. One with a key that was seen before and no
//! value takes it back.

use std::time::Instant;

use super::{Cluster, OWNER, TIMEOUT, Transactions};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::producer;
use crate::output::kafka::{Rows, TopicQueue, flush};

/// How the keys of claims begin; those of records have a `/`, and no space.
const CLAIM: &str = "claim ";

impl Transactions {
    /// Claims something for this host, for good, unless another one has; that host. `what` is a word.
    pub fn claim(&self, what: &str) -> Result<Option<String>> {
        if let Some(host) = self.claimed_by(what)? {
            return Ok(Some(host).filter(|host| *host != self.host));
        }
        let Cluster { brokers, properties } = &self.cluster;
        let producer = producer::producer(OWNER, brokers, properties, None)?;
        let key = format!("{CLAIM}{what} {} {:016x}", self.host, getrandom::u64().map_err(no_randomness)?);
        let refused = |_, error| self.failed("a claim cannot be sent", error);
        let claim = Rows::one(key.as_bytes(), self.host.as_bytes());
        TopicQueue::new(&producer, OWNER, &self.topic, Some(0))?.put(&claim, refused)?;
        flush(&producer, TIMEOUT, || producer.is_delivered())?;
        let host = self.claimed_by(what)?.ok_or_else(|| self.away())?;
        Ok(Some(host).filter(|host| *host != self.host))
    }

    /// Another host that claimed something.
    pub fn claimed_elsewhere(&self, what: &str) -> Result<Option<String>> {
        Ok(self.claimed_by(what)?.filter(|host| *host != self.host))
    }

    fn claimed_by(&self, what: &str) -> Result<Option<String>> {
        let deadline = Instant::now() + TIMEOUT;
        let reader = self.reader("read_uncommitted")?;
        let bounds = self.bounds(&reader, deadline)?;
        let mut claims = Vec::<(Vec<u8>, Option<String>)>::new();
        self.read(reader, bounds, deadline, &mut |_, key, value| {
            let Some((key, host)) = key.and_then(|key| Some((key, claim_of(key, what)?))) else { return Ok(()) };
            let host = value.map(|_| host.to_owned());
            match claims.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = host,
                None => claims.push((key.to_vec(), host)),
            }
            Ok(())
        })?;
        Ok(claims.into_iter().find_map(|(_, host)| host))
    }
}

/// The host that a key of the commit topic claims something for.
fn claim_of<'a>(key: &'a [u8], what: &str) -> Option<&'a str> {
    let (claimed, claim) = std::str::from_utf8(key).ok()?.strip_prefix(CLAIM)?.split_once(' ')?;
    let (host, _) = claim.split_once(' ')?;
    (claimed == what).then_some(host)
}

fn no_randomness(error: getrandom::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no randomness for a claim: {error}"))
}
