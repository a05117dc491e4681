//! What a run does before it reads from groups that it shares with other hosts: it brings to an end what hosts left that are
//! gone, checks that those that are there write into the same lake, finds where its partitions were read to, and says in a
//! first commit what it was dealt. So a host that dies always left a record that others bring to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind as Io, Write};
use std::path::Path;
use std::sync::Arc;

use super::assembly::{Assembly, lakes};
use super::sources::Sources;
use crate::commit::{
    CommitRecord, Epochs, Fenced, PlanStamp, Sharing, Taker, Transaction, Transactions, adopt, positions_of,
};
use crate::error::{Error, ErrorKind, Result};
use crate::output::REJECTS;
use crate::pipeline::Counts;
use crate::source::Positions;

/// Prepares a run that shares the work of its groups; whether there is something to share.
pub fn share(
    assembly: &Assembly,
    transactions: &Arc<Transactions>,
    epochs: &mut Epochs,
    sources: &Arc<Sources>,
) -> Result<()> {
    let groups = sources.groups();
    let own = epochs.last().map(|last| last.positions.clone()).unwrap_or_default();
    let records = if groups.is_empty() { Vec::new() } else { peers(assembly, transactions, sources, &groups)? };
    let all = positions_of(records.iter().chain(epochs.last()));
    if let Err(error) = sources.start_at(&own, &all) {
        let now = transactions.read_records_of(&groups)?;
        let now = positions_of(now.iter().chain(epochs.last()));
        let is_outrun = sources.dealt().iter().any(|partition| now.get(partition) != all.get(partition));
        return Err(if is_outrun { outrun(error) } else { error });
    }
    let starts = sources.starts();
    epochs.start_at(&starts, &all);
    let assigned: BTreeSet<_> = starts.into_iter().map(|(partition, _)| partition).collect();
    let lakes = lake_ids(assembly)?;
    check_lakes(&records, &lakes)?;
    // A run that reads no topic says nothing new of the groups, but that it reads none of their partitions.
    let groups = if groups.is_empty() { epochs.sharing().groups.clone() } else { groups };
    epochs.share(Sharing { groups, assigned, lakes });
    Ok(())
}

/// Says what this host was dealt, where its last commit says something else.
pub fn say(epochs: &mut Epochs, stamp: &PlanStamp) -> Result<()> {
    if epochs.is_said() {
        return Ok(());
    }
    epochs.commit(stamp, &Positions::new(), BTreeMap::new(), Counts::default()).map(drop)
}

/// The last records of the hosts with the same groups, when all that are gone were brought to an end.
fn peers(
    assembly: &Assembly,
    transactions: &Transactions,
    sources: &Sources,
    groups: &BTreeMap<String, String>,
) -> Result<Vec<CommitRecord>> {
    let hosts = sources.hosts()?;
    if !hosts.contains(&assembly.host.id) {
        let what = "the brokers do not list this host in its group yet";
        return Err(Error::new(ErrorKind::Unavailable, what));
    }
    let records = transactions.read_records_of(groups)?;
    let gone = |record: &&CommitRecord| !hosts.contains(&record.host) && record.is_unfinished();
    let gone: Vec<&CommitRecord> = records.iter().filter(gone).collect();
    if gone.is_empty() {
        return Ok(records);
    }
    gone.into_iter().try_for_each(|record| take_over(assembly, record))?;
    transactions.read_records_of(groups)
}

/// Group and records were read one behind the other, and another host committed in between: it had the partitions, because
/// this host stood still and does not know yet that its group has let go of it. So a difference between them says nothing.
fn outrun(error: Error) -> Error {
    Error::new(ErrorKind::Unavailable, "another host commits what this host's groups dealt out to it").caused_by(error)
}

/// Brings a host's work to an end that is gone. What cannot be brought to an end now is not lost: its record stays.
fn take_over(assembly: &Assembly, record: &CommitRecord) -> Result<()> {
    let (host, epoch) = (&record.host, record.epoch);
    let taker = Taker {
        disk: Arc::clone(&assembly.disk),
        clock: Arc::clone(&assembly.clock),
        folder: assembly.pipeline.data.clone(),
        lakes: lakes(&assembly.pipeline),
        opening: &|stamp, epoch| assembly.opening(stamp, 0, epoch),
    };
    let adopted = assembly.transactions_of(host, &Fenced::default()).and_then(|transactions| {
        let adopted = adopt(&taker, Arc::clone(&transactions) as Arc<dyn Transaction>);
        adopted.map_err(|error| transactions.unless_outrun(error))
    });
    match adopted {
        Ok(rows) => {
            tracing::info!(host, epoch, rows, "a host is gone from the group: what it left is brought to an end");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(error) => {
            tracing::error!(
                host, epoch, %error,
                "what a host left that is gone from the group cannot be brought to an end; its committed rows in the spool \
                 are not in the lake until it is"
            );
            Ok(())
        }
    }
}

/// Hosts that share the work write into the same lake.
fn check_lakes(records: &[CommitRecord], own: &BTreeMap<String, String>) -> Result<()> {
    for record in records.iter().filter(|record| !record.sharing.assigned.is_empty()) {
        for (output, lake) in &record.sharing.lakes {
            if own.get(output).is_some_and(|own| own != lake) {
                let what = format!(
                    "output \"{output}\": host {} of the same group writes into another lake than this host",
                    record.host
                );
                let mend = match output.as_str() {
                    REJECTS => "write `[rejects]` with a `file.path` outside of the data folder",
                    _ => "mend the output's `path`",
                };
                return Err(Error::new(ErrorKind::Config, what).help(format!(
                    "hosts of a group share one lake, on a file system that all of them see: {mend}, or give this pipeline a \
                     group of its own"
                )));
            }
        }
    }
    Ok(())
}

/// Output -> the id of its lake.
fn lake_ids(assembly: &Assembly) -> Result<BTreeMap<String, String>> {
    let id = |(output, lake): (String, std::path::PathBuf)| Ok((output, lake_id(&lake, &assembly.host.id)?));
    lakes(&assembly.pipeline).into_iter().map(id).collect()
}

/// The id of a lake lies in it, in the file `_lake`; the first host that comes draws it.
fn lake_id(lake: &Path, host: &str) -> Result<String> {
    let (path, fresh) = (lake.join("_lake"), lake.join(format!("_lake.{host}")));
    let failed = |error: std::io::Error| {
        let help = crate::disk::way_out(&error);
        let what = format!("the lake's id {} cannot be read or written", path.display());
        Error::new(ErrorKind::Storage, what).caused_by(error).help(help)
    };
    match fs::read_to_string(&path) {
        Ok(id) => return Ok(id),
        Err(error) if error.kind() == Io::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    fs::create_dir_all(lake).map_err(failed)?;
    let id = crate::commit::fresh_id().map_err(failed)?;
    let mut file = fs::File::create(&fresh).map_err(failed)?;
    file.write_all(id.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    // Of two hosts that come first, one makes the name; both read what it made.
    let linked = match fs::hard_link(&fresh, &path) {
        Err(error) if error.kind() != Io::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    fs::remove_file(&fresh).and(linked).map_err(failed)?;
    fs::File::open(lake).and_then(|folder| folder.sync_all()).map_err(failed)?;
    fs::read_to_string(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_has_one_id_whoever_asks_first() {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        let id = lake_id(&lake, "a").unwrap();
        assert_eq!(id.len(), 8);
        assert_eq!(lake_id(&lake, "b").unwrap(), id);
        let names: Vec<_> = fs::read_dir(&lake).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["_lake"]);
        assert_ne!(lake_id(&folder.path().join("other"), "a").unwrap(), id);
    }
}
