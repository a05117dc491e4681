//! What is kept for a time goes when it is over, whether or not somebody looks: files of rejects, and captures. A thread of
//! its own looks at the start of a run and now and then; it touches no row, and what it cannot delete it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::assembly::Assembly;
use super::captures::Captures;
use crate::config::Rejects;
use crate::error::Result;
use crate::replay::Retention;

/// The times between two looks: a tenth of what is kept shortest, within these.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(3_600);

/// Looks for what was kept long enough, until it is told to stop. `finished` is the last epoch of this host whose commit is
/// finished.
pub(super) fn keep_watch(assembly: &Assembly, finished: &AtomicU64, stop: &Receiver<()>) {
    let rejects = match &assembly.pipeline.rejects {
        Rejects::File { path, keep: Some(keep) } => {
            Some(Retention { folder: path.clone(), keep: *keep, disk: Arc::clone(&assembly.disk) })
        }
        Rejects::File { .. } | Rejects::Kafka(_) => None,
    };
    let pause = rejects.as_ref().map_or(MOST_PAUSE, |rejects| (rejects.keep / 10).clamp(LEAST_PAUSE, MOST_PAUSE));
    let captures = Captures::of(&assembly.pipeline.data);
    loop {
        if let Some(rejects) = &rejects
            && let Err(error) = delete_old(rejects, assembly, finished)
        {
            tracing::warn!(%error, "rejects: their time is over, and they are still there");
        }
        if let Err(error) = captures.remove_expired(assembly.clock.now_ms()) {
            tracing::warn!(%error, "captures whose time is over are not looked for");
        }
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn delete_old(rejects: &Retention, assembly: &Assembly, finished: &AtomicU64) -> Result<()> {
    let finished = (assembly.host.id.as_str(), finished.load(Ordering::Acquire));
    let needed = assembly.replays.needed()?;
    let deleted = rejects.delete_old(finished, &needed, assembly.clock.now_ms())?;
    if deleted.files > 0 {
        tracing::info!(
            files = deleted.files,
            rejects = deleted.rejects,
            keep_seconds = rejects.keep.as_secs(),
            "rejects: their time is over, deleted"
        );
    }
    Ok(())
}
