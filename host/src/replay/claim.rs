//! Which host replays the rejects of a file, or of a topic: the first one that does, for good. What was replayed is noted in
//! that host's commits alone, so no other one may: it could not know. The claim is made before the first row is read, where
//! all hosts see it: of a file beside it, of a topic in the commit topic. Where no commit topic is, no host shares the work.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind as Io, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::commit::Transactions;
use crate::disk::way_out;
use crate::error::{Error, ErrorKind, Result};

/// The claims of a host.
pub(super) struct Claims {
    host: String,
    transactions: Option<Arc<Transactions>>,
    /// By topic another host that has it, if one has.
    topics: BTreeMap<String, Option<String>>,
}

impl Claims {
    pub fn new(host: &str, transactions: Option<&Arc<Transactions>>) -> Self {
        Self { host: host.to_owned(), transactions: transactions.cloned(), topics: BTreeMap::new() }
    }

    /// Claims a file at a path; the host that has it, if it is another one.
    pub fn file(&self, path: &Path, name: &str) -> Result<Option<String>> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Some(claim(folder, name, &self.host)?).filter(|owner| *owner != self.host))
    }

    /// Claims a topic of rejects; the host that has it, if it is another one.
    pub fn topic(&mut self, topic: &str) -> Result<Option<String>> {
        if let Some(known) = self.topics.get(topic) {
            return Ok(known.clone());
        }
        let other = self.transactions.as_ref().map_or(Ok(None), |transactions| transactions.claim(topic))?;
        self.topics.insert(topic.to_owned(), other.clone());
        Ok(other)
    }
}

/// Where the claim of a file is.
pub(super) fn path(folder: &Path, file: &str) -> PathBuf {
    folder.join("_replayed_by").join(file).with_extension("host")
}

/// The host that replays a file; none when nobody did yet.
pub(super) fn claimed_by(folder: &Path, file: &str) -> Result<Option<String>> {
    let path = path(folder, file);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        host => host.map(Some).map_err(|error| failed(&path, error)),
    }
}

/// Claims a file for a host; the host that has it, which may be another.
fn claim(folder: &Path, file: &str, host: &str) -> Result<String> {
    if let Some(known) = claimed_by(folder, file)? {
        return Ok(known);
    }
    let path = path(folder, file);
    let failed = |error| failed(&path, error);
    let below = path.parent().unwrap_or(folder);
    fs::create_dir_all(below).map_err(failed)?;
    let fresh = path.with_added_extension(host);
    let mut written = File::create(&fresh).map_err(failed)?;
    written.write_all(host.as_bytes()).and_then(|()| written.sync_all()).map_err(failed)?;
    // Of two hosts that come first, one makes the name; both read what it made.
    let linked = match fs::hard_link(&fresh, &path) {
        Err(error) if error.kind() != Io::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    fs::remove_file(&fresh).and(linked).map_err(failed)?;
    for folder in [below, folder] {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    fs::read_to_string(&path).map_err(failed)
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    let help = way_out(&error);
    Error::new(
        ErrorKind::Storage,
        format!("{}, which says who replays a file, cannot be read or written", path.display()),
    )
    .caused_by(error)
    .help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_first_hosts_that_claims_it() {
        let folder = tempfile::tempdir().unwrap();
        let of = |file: &str, host: &str| claim(folder.path(), file, host).unwrap();
        assert_eq!(claimed_by(folder.path(), "a.parquet").unwrap(), None);
        assert_eq!((of("a.parquet", "one"), of("a.parquet", "two")), ("one".to_owned(), "one".to_owned()));
        assert_eq!((of("b.parquet", "two"), of("a.parquet", "one")), ("two".to_owned(), "one".to_owned()));
        let names = fs::read_dir(folder.path().join("_replayed_by")).unwrap().count();
        assert_eq!(names, 2, "and nothing else is left");
    }

    #[test]
    fn of_hosts_that_claim_at_once_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let won: Vec<String> = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..8)
                .map(|host| {
                    scope.spawn({
                        let folder = &folder;
                        move || claim(folder.path(), "a.parquet", &format!("h{host}")).unwrap()
                    })
                })
                .collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).collect()
        });
        assert!(won.iter().all(|host| *host == won[0]), "{won:?}");
    }
}
