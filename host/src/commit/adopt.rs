//! What a host left behind that is gone from its group is brought to an end by one that takes its partitions over.
//!
//! The taker comes back in its place: as the gone host's own next start would, under its id. Its producer's id is taken
//! first, so whatever it had open is settled and it can commit no more; then its last record is read, what that committed is
//! published, its leftovers are deleted, and what waits in its spool becomes files, in one more commit of that host. If the
//! gone host only stood still, it finds that commit when it comes back, and goes on behind it.
//!
//! A taker that dies on the way left nothing that another one, or the host itself, does not find: the truth is in the gone
//! host's own record. Two takers at once: the second one's taking of the id ends what the first one can commit. Files that
//! are made in place of a host have names and a staging folder of their own (`Host::in_place_of`), so that nobody who stood
//! still writes into them. And nobody who stood still deletes what others made meanwhile: files of epochs behind the last
//! one that he knows of are not his to judge (`Epochs::delete_leftovers`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::epochs::{Epochs, Recovered, Settings, Step, Transaction};
use super::folder::Host;
use super::record::{CommitRecord, PlanStamp, Sharing};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::Result;
use crate::output::{Opening, Token, settle};
use crate::pipeline::Counts;
use crate::source::Positions;

/// Who takes over, and with what.
pub struct Taker<'a> {
    /// Where the lake lies.
    pub disk: Arc<dyn Disk>,
    /// For the records' time.
    pub clock: Arc<dyn Clock>,
    /// The taker's data folder.
    pub folder: PathBuf,
    /// By output the folder of its Parquet files.
    pub lakes: BTreeMap<String, PathBuf>,
    /// What files of a plan and an epoch are opened with; the host is the taker.
    pub opening: &'a dyn Fn(&PlanStamp, u64) -> Opening,
}

impl CommitRecord {
    /// Whether its host left something to do for a taker.
    pub fn is_unfinished(&self) -> bool {
        !self.sharing.assigned.is_empty() || self.outputs.values().any(Token::is_waiting)
    }
}

/// Brings what a host left to an end. `transaction` was opened under the gone host's id. How many rows got their files.
pub fn adopt(taker: &Taker<'_>, transaction: Arc<dyn Transaction>) -> Result<u64> {
    // Nothing was committed: there is nothing to do but what opening the transaction did.
    let Some(record) = transaction.last().cloned() else { return Ok(0) };
    let gone = Host { id: record.host.clone(), incarnation: record.incarnation };
    let folder = taker.folder.join("adopted").join(&gone.id);
    let log = folder.join("commit.log");
    let storage = |error| super::lakes::storage(&log, "cannot be removed", error);
    // One of a taker that died; it says nothing that the record does not.
    taker.disk.remove(&log).map_err(storage)?;
    let settings = Settings {
        disk: Arc::clone(&taker.disk),
        clock: Arc::clone(&taker.clock),
        folder,
        host: gone,
        lakes: taker.lakes.clone(),
        transaction: Some(transaction),
        is_host: false,
        reached: Box::new(|_: Step, _| {}),
    };
    let (mut epochs, recovered) = Epochs::open(settings)?;
    let rows = finish(taker, &mut epochs, &recovered, &record)?;
    taker.disk.remove(&log).map_err(storage)?;
    Ok(rows)
}

fn finish(taker: &Taker<'_>, epochs: &mut Epochs, recovered: &Recovered, record: &CommitRecord) -> Result<u64> {
    let stamp = &record.plan;
    let mut opening = (taker.opening)(stamp, epochs.next_epoch());
    opening.host = opening.host.in_place_of(&record.host);
    let tokens = settle_all(recovered, &opening)?;
    let rows = tokens.values().map(Token::closed_rows).sum();
    epochs.share(Sharing { assigned: Default::default(), ..record.sharing.clone() });
    epochs.commit(stamp, &Positions::new(), tokens, Counts::default())?;
    Ok(rows)
}

/// Makes files of everything that waits in the spool.
pub fn settle_all(recovered: &Recovered, opening: &Opening) -> Result<BTreeMap<String, Token>> {
    let waiting = recovered.outputs.iter().filter(|(_, token)| token.is_waiting());
    waiting.map(|(output, token)| Ok((output.clone(), settle(token, opening)?))).collect()
}
