//! `millstream rewind --into`: what was read from a point on is read once more into a fresh lake, by a host of its own; the
//! pipeline itself, which may run meanwhile, is not touched.
//!
//! Why nothing of it is: the fresh host has a data folder, a lake and groups of its own. All that is prepared is its first
//! commit, which says where it begins: at the points that are wanted, and with all other partitions where the pipeline has
//! read to. As for any host, that commit has the groups' offsets with it. Then it is a host like each other.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::rewind::{
    RewindSettings, Topics, add_time, can_be_read_again, files, known_positions, may_come_again, wanted,
};
use super::run::{Failure, assemble, settings_of};
use crate::commit::{Copied, DataFolder, Epochs, PlanStamp, Point, Sharing, last_commit};
use crate::config::Pipeline;
use crate::disk::way_out;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Counts;
use crate::source::Positions;

/// Prepares `fresh`, which is `pipeline` with a data folder, lakes and groups of its own in a folder that is empty or not
/// there; where each of its partitions is read from.
///
/// # Errors
/// Nothing stays of it then, and nothing was changed.
pub fn backfill(
    pipeline: &Pipeline,
    fresh: Pipeline,
    folder: &Path,
    settings: &RewindSettings,
) -> Result<Point, Failure> {
    may_come_again(&fresh, settings)?;
    check_empty(folder)?;
    let data = fresh.data.clone();
    let prepared = prepare(pipeline, fresh, settings);
    if prepared.is_err() {
        // As it is ours alone; what cannot be removed refuses the next attempt, which names it.
        let _ = fs::remove_dir_all(data);
    }
    prepared
}

fn prepare(pipeline: &Pipeline, fresh: Pipeline, settings: &RewindSettings) -> Result<Point, Failure> {
    let Some(own) = last_commit(&pipeline.data)? else {
        let what = format!("nothing was read yet: {} has no commit", pipeline.data.display());
        let help = "is `data` set as for the host (`--set data=..`)?";
        return Err(Error::new(ErrorKind::Config, what).help(help).into());
    };
    let folder = DataFolder::open(&fresh.data, Copied::Refused)?;
    let assembly = assemble(Arc::new(fresh), &folder, Vec::new())?;
    let transactions = assembly.open_transactions()?;
    let (mut epochs, _) = Epochs::open(settings_of(&assembly, settings.kill_at, transactions.clone()))?;
    let topics = Topics::of(&assembly)?;
    let known = known_positions(&own, &topics.others(&own, transactions.as_ref())?);
    let mut point = wanted(&assembly, settings, &known, &files(pipeline, &assembly)?)?;
    if let Some(time_ms) = settings.to_time_ms {
        add_time(&mut point, time_ms, &known, &topics.all)?;
    }
    can_be_read_again(&point, &known, &topics.all)?;
    for (partition, position) in known.iter().filter(|(partition, _)| !partition.is_of_rejects()) {
        if let Some(end) = position.ranges.end() {
            point.entry(partition.clone()).or_insert(end);
        }
    }
    let groups = topics.shared().map(|topic| (topic.name().to_owned(), topic.group().to_owned())).collect();
    epochs.share(Sharing { groups, ..Sharing::default() });
    epochs.rewind(&point, &known);
    if let Some(transactions) = &transactions {
        transactions.set_groups(move |positions| topics.group_offsets(positions));
    }
    // What runs is what lies on disk at the first start: no plan goes before it.
    let committed =
        epochs.commit(&PlanStamp::default(), &Positions::new(), Default::default(), Counts::default()).map(drop);
    assembly.close_transactions();
    committed?;
    Ok(point)
}

fn check_empty(folder: &Path) -> Result<()> {
    let is_there = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            let help = way_out(&error);
            let what = format!("{} cannot be looked into", folder.display());
            return Err(Error::new(ErrorKind::Storage, what).caused_by(error).help(help));
        }
        Ok(mut entries) => entries.next().is_some(),
    };
    match is_there {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::Config, format!("{} is not empty", folder.display()))
            .help("a fresh lake needs a folder of its own: name one that is not there yet")),
    }
}
