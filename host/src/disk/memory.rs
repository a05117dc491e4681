//! A disk in memory that forgets what was not synced: the other implementation, for the crash tests.
//!
//! It is as unkind as `super` allows: at a crash each write since the last sync of its file is there or not, a hole reads
//! as zeros, the last one may be torn; each name since the last sync of its folder is there or not. Creating a file over
//! an older one destroys the older content at once.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Disk, DiskFile};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

type Node = usize;

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Content>,
    names: BTreeMap<PathBuf, Node>,
    synced_names: BTreeMap<PathBuf, Node>,
    unsynced_names: Vec<NameChange>,
    operations: u64,
    fail_at: Option<u64>,
    fail_sync_at: Option<u64>,
    written_bytes: u64,
    /// None: without a bound.
    room_bytes: Option<u64>,
    crash_at: Option<u64>,
    crashed: bool,
    /// Counts crashes: a file handle from before one is dead.
    life: u64,
}

#[derive(Debug, Default)]
struct Content {
    synced: Vec<u8>,
    unsynced: Vec<Vec<u8>>,
}

impl Content {
    fn whole(&self) -> Vec<u8> {
        let mut whole = self.synced.clone();
        self.unsynced.iter().for_each(|write| whole.extend_from_slice(write));
        whole
    }
}

/// A change of one name that no folder sync covered yet.
#[derive(Clone, Debug)]
struct NameChange {
    path: PathBuf,
    /// The file under the name from now on; none when it is removed.
    node: Option<Node>,
    /// For the old name of a rename: the new one, which must survive when the removal of the old one does.
    moved_to: Option<(PathBuf, Node)>,
}

/// SplitMix64: the same seed makes the same crash.
#[derive(Debug)]
pub(crate) struct Chance(pub u64);

impl Chance {
    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    /// A seed for somebody else.
    #[cfg(test)]
    pub fn seed(&mut self) -> u64 {
        self.below(usize::MAX) as u64
    }

    /// Yes or no, each as often.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changing operations (create, append, write, sync, truncate, rename, remove, folder sync) were asked for.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the changing operation of this number fail, once; the next one works again.
    pub fn fail_at(&self, operation: u64) {
        self.state().fail_at = Some(operation);
    }

    /// The same, if the operation is a sync of a file or folder.
    pub fn fail_sync_at(&self, operation: u64) {
        self.state().fail_sync_at = Some(operation);
    }

    /// How many bytes were written so far.
    pub fn written_bytes(&self) -> u64 {
        self.state().written_bytes
    }

    /// Takes so many bytes in all; what goes beyond is written in part, and fails.
    pub fn full_after(&self, room_bytes: u64) {
        self.state().room_bytes = Some(room_bytes);
    }

    /// Lets the machine stop at the changing operation of this number: it and everything after it fails until `crash`.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    /// Whether the machine stopped at the operation of `crash_at`.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Power off and on: what was not synced is there or not, as the seed says. Open files are dead.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state();
        let mut chance = Chance(seed);
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes {
            if chance.coin() {
                state.settle(&change);
            }
        }
        state.names = state.synced_names.clone();
        for content in &mut state.nodes {
            forget(content, &mut chance);
        }
        state.crashed = false;
        state.crash_at = None;
        state.fail_at = None;
        state.life += 1;
    }

    /// Changes one byte of a file, synced: a disk that lies.
    pub fn corrupt(&self, path: &Path, offset: usize) -> io::Result<()> {
        let mut state = self.state();
        let node = state.node(path)?;
        let content = &mut state.nodes[node];
        let mut whole = content.whole();
        let byte = whole.get_mut(offset).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        *byte ^= 0x40;
        *content = Content { synced: whole, unsynced: Vec::new() };
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn open(&self, path: &Path, keep: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.operation()?;
        let node = match state.names.get(path).copied() {
            Some(node) if keep => node,
            older => {
                if let Some(older) = older {
                    state.nodes[older] = Content::default();
                }
                let node = state.nodes.len();
                state.nodes.push(Content::default());
                state.change(path, Some(node), None);
                node
            }
        };
        Ok(Box::new(MemoryFile { disk: self.clone(), node, life: state.life }))
    }
}

fn forget(content: &mut Content, chance: &mut Chance) {
    let mut kept = content.synced.len();
    let mut writes = Vec::new();
    for write in std::mem::take(&mut content.unsynced) {
        let survives = chance.coin();
        writes.push((kept, write, survives));
        kept += writes.last().map_or(0, |(_, write, _)| write.len());
    }
    let Some(last) = writes.iter().rposition(|(_, _, survives)| *survives) else { return };
    for (index, (offset, mut write, survives)) in writes.into_iter().take(last + 1).enumerate() {
        if index == last {
            write.truncate(chance.below(write.len() + 1));
        }
        if survives {
            content.synced.resize(offset, 0);
            content.synced.extend_from_slice(&write);
        }
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        self.crashed |= self.crash_at.is_some_and(|at| self.operations >= at);
        if self.crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        if self.fail_at == Some(self.operations) {
            self.fail_at = None;
            return Err(io::Error::other("the disk failed"));
        }
        Ok(())
    }

    /// Behind `operation`, for one that syncs.
    fn syncs(&mut self) -> io::Result<()> {
        match self.fail_sync_at == Some(self.operations) {
            true => Err(io::Error::other("the sync failed")),
            false => Ok(()),
        }
    }

    /// How many of so many bytes have room.
    fn take_room(&mut self, wanted: usize) -> io::Result<usize> {
        let left = self.room_bytes.map_or(u64::MAX, |room| room.saturating_sub(self.written_bytes));
        if left == 0 && wanted > 0 {
            return Err(io::Error::from(rustix::io::Errno::NOSPC));
        }
        let taken = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.written_bytes += taken as u64;
        Ok(taken)
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn change(&mut self, path: &Path, node: Option<Node>, moved_to: Option<(PathBuf, Node)>) {
        match node {
            Some(node) => self.names.insert(path.to_owned(), node),
            None => self.names.remove(path),
        };
        self.unsynced_names.push(NameChange { path: path.to_owned(), node, moved_to });
    }

    fn settle(&mut self, change: &NameChange) {
        if let Some((to, node)) = &change.moved_to {
            self.synced_names.insert(to.clone(), *node);
        }
        match change.node {
            Some(node) => self.synced_names.insert(change.path.clone(), node),
            None => self.synced_names.remove(&change.path),
        };
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    node: Node,
    life: u64,
}

impl MemoryFile {
    fn content(&self, apply: impl FnOnce(&mut State, Node) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        state.operation()?;
        apply(&mut state, self.node)
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        self.content(|state, node| {
            taken = state.take_room(bytes.len())?;
            state.nodes[node].unsynced.push(bytes[..taken].to_vec());
            Ok(())
        })?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        self.content(|state, node| {
            state.syncs()?;
            let content = &mut state.nodes[node];
            *content = Content { synced: content.whole(), unsynced: Vec::new() };
            Ok(())
        })
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path, false)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path, true)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.nodes[state.node(path)?].whole())
    }

    fn read_at(&self, path: &Path, offset: u64, length_bytes: usize) -> io::Result<Vec<u8>> {
        let whole = self.read(path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(length_bytes);
        whole.get(range).map(<[u8]>::to_vec).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn size_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        let state = self.state();
        Ok(state.names.get(path).map(|node| state.nodes[*node].whole().len() as u64))
    }

    fn truncate(&self, path: &Path, length_bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.syncs()?;
        let node = state.node(path)?;
        let mut synced = state.nodes[node].whole();
        synced.resize(usize::try_from(length_bytes).map_err(io::Error::other)?, 0);
        state.nodes[node] = Content { synced, unsynced: Vec::new() };
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let node = state.node(from)?;
        state.change(to, Some(node), None);
        state.change(from, None, Some((to.to_owned(), node)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        if state.names.contains_key(path) {
            state.change(path, None, None);
        }
        Ok(())
    }

    fn files_below(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().names.keys().filter(|path| path.starts_with(folder)).cloned().collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.syncs()?;
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes {
            if change.path.parent() == Some(folder) {
                state.settle(&change);
            } else {
                state.unsynced_names.push(change);
            }
        }
        for change in &mut state.unsynced_names {
            // The new name is safe by now, whatever became of it since.
            if change.moved_to.as_ref().is_some_and(|(to, _)| to.parent() == Some(folder)) {
                change.moved_to = None;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
        let mut file = disk.create(Path::new(path)).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..50 {
            let disk = MemoryDisk::new();
            let mut file = write(&disk, "/lake/a", b"synced");
            file.sync().unwrap();
            disk.sync_folder(Path::new("/lake")).unwrap();
            file.write_all(b"not synced").unwrap();
            disk.crash(seed);
            let content = disk.read(Path::new("/lake/a")).unwrap();
            assert!(content.starts_with(b"synced"), "seed {seed} lost synced bytes: {content:?}");
            assert!(file.write_all(b"x").is_err(), "a handle outlived the crash");
        }
    }

    #[test]
    fn what_was_not_synced_is_lost_torn_or_kept() {
        let (mut lost, mut torn, mut whole, mut nameless) = (0, 0, 0, 0);
        for seed in 0..200 {
            let disk = MemoryDisk::new();
            write(&disk, "/lake/a", b"0123456789");
            disk.crash(seed);
            match disk.read(Path::new("/lake/a")) {
                Err(_) => nameless += 1,
                Ok(content) if content.is_empty() => lost += 1,
                Ok(content) if content.len() < 10 => torn += 1,
                Ok(_) => whole += 1,
            }
        }
        assert!(lost > 0 && torn > 0 && whole > 0 && nameless > 0, "{lost} {torn} {whole} {nameless}");
    }

    #[test]
    fn a_rename_never_loses_the_file_under_both_names() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let disk = MemoryDisk::new();
            write(&disk, "/staging/a", b"row").sync().unwrap();
            disk.sync_folder(Path::new("/staging")).unwrap();
            disk.rename(Path::new("/staging/a"), Path::new("/lake/a")).unwrap();
            disk.crash(seed);
            let there = |path: &str| disk.read(Path::new(path)).is_ok();
            assert!(there("/staging/a") || there("/lake/a"), "seed {seed} lost the file");
            outcomes.insert((there("/staging/a"), there("/lake/a")));
        }
        assert_eq!(outcomes.len(), 3, "old, new or both names: {outcomes:?}");
    }

    #[test]
    fn it_fails_and_crashes_where_it_is_told_to() {
        let disk = MemoryDisk::new();
        disk.fail_at(2);
        let mut file = disk.create(Path::new("/a")).unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.write_all(b"x").is_ok(), "a fault happens once");
        disk.crash_at(5);
        assert!(file.sync().is_ok());
        assert!(file.sync().is_err() && disk.has_crashed());
        assert!(disk.create(Path::new("/b")).is_err(), "everything fails after the crash");
        disk.crash(1);
        assert!(disk.create(Path::new("/b")).is_ok());
    }

    #[test]
    fn both_disks_do_the_same_without_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let both: [(&dyn Disk, PathBuf); 2] =
            [(&crate::disk::RealDisk, folder.path().to_owned()), (&MemoryDisk::new(), PathBuf::from("/root"))];
        for (disk, root) in both {
            let (a, b) = (root.join("x/a"), root.join("y/z/b"));
            let mut file = disk.create(&a).unwrap();
            file.write_all(b"hello").unwrap();
            file.sync().unwrap();
            disk.append(&a).unwrap().write_all(b" world").unwrap();
            assert_eq!(disk.read(&a).unwrap(), b"hello world");
            assert_eq!(disk.read_at(&a, 6, 5).unwrap(), b"world");
            assert!(disk.read_at(&a, 6, 6).is_err(), "a short read is an error");
            disk.truncate(&a, 4).unwrap();
            disk.rename(&a, &b).unwrap();
            disk.sync_folder(&root.join("y/z")).unwrap();
            assert_eq!(disk.size_bytes(&a).unwrap(), None);
            assert_eq!(disk.size_bytes(&b).unwrap(), Some(4));
            assert_eq!(disk.files_below(&root).unwrap(), vec![b.clone()]);
            assert!(disk.files_below(&root.join("none")).unwrap().is_empty());
            disk.remove(&b).unwrap();
            disk.remove(&b).unwrap();
            assert!(disk.read(&b).is_err());
        }
    }
}
