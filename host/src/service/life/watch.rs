//! Watches the files of plugins and dimensions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, unbounded};
use notify::{RecursiveMode, Watcher};

use super::super::assembly::Assembly;
use super::super::logic::plugin_stages;
use crate::error::{Error, ErrorKind, Result};

/// A watch; dropping it ends it.
pub struct Watch {
    changes: Receiver<PathBuf>,
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Watches the plugins and tables of a pipeline; none when it has neither.
    pub fn start(assembly: &Assembly) -> Result<Option<Self>> {
        let plugins = plugin_stages(&assembly.pipeline).map(|(_, plugin)| plugin.file.value.clone());
        let tables = assembly.pipeline.dimensions.iter().map(|dimension| dimension.path.value.clone());
        let files: BTreeSet<PathBuf> = plugins.chain(tables).collect();
        if files.is_empty() { Ok(None) } else { Self::of(files).map(Some) }
    }

    /// Watches the folders of these files: an editor or a compiler may replace a file by renaming another over it.
    fn of(files: BTreeSet<PathBuf>) -> Result<Self> {
        // As many events as there are changes of these files, each a path: what bounds it is that they are drained at once.
        let (sender, changes) = unbounded();
        let folders: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        let failed =
            |error: notify::Error| Error::new(ErrorKind::Unavailable, "files cannot be watched").caused_by(error);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !event.kind.is_access()
            {
                let paths = event.paths.into_iter().filter(|path| files.contains(path));
                paths.for_each(|path| drop(sender.send(path)));
            }
        })
        .map_err(failed)?;
        for folder in &folders {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
        }
        Ok(Self { changes, _watcher: watcher })
    }

    /// Where paths that changed arrive, one for each event.
    pub fn changes(&self) -> &Receiver<PathBuf> {
        &self.changes
    }
}
