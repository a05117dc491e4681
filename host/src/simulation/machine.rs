//! What can go wrong with a host, by the number of the operation: each change on its disk and each question to the cluster
//! counts. The host may die there, its machine may lose its power, the world may go on for a while without it, an answer
//! may get lost, the brokers may be away.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::kafka::{Cluster, MemoryKafka, Refusal};
use crate::disk::{Disk, DiskFile, MemoryDisk};
use crate::error::{Error, ErrorKind, Result};

/// What happens at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host dies. When it was asking the cluster, it may have been heard.
    Dies {
        /// Whether the cluster did what it was asked for.
        is_heard: bool,
    },
    /// The disk refuses, once.
    DiskFails,
    /// The answer of the cluster gets lost.
    Silence {
        /// Whether the cluster did what it was asked for.
        is_heard: bool,
    },
    /// The brokers are away for so long.
    Away {
        /// The time.
        ms: i64,
    },
    /// The host stands still for so long, and the world goes on.
    Stands {
        /// The time.
        ms: i64,
    },
}

/// The machine of a host. Clones are the same one.
#[derive(Clone)]
pub struct Machine(Arc<Mutex<State>>);

/// Lets the world go on without the host.
pub type GoOn = Arc<dyn Fn(i64) + Send + Sync>;

#[derive(Default)]
struct State {
    operations: u64,
    /// At which operation what happens.
    faults: Vec<(u64, Fault)>,
    is_dead: bool,
    /// Whether the disk refused something in this life.
    has_failed: bool,
    /// Counts the host's lives: a file that an older one opened is of no use.
    life: u64,
    away_until_ms: i64,
    go_on: Option<GoOn>,
}

/// What became of an operation.
enum Fate {
    Done,
    Dead,
    Failed(Fault),
}

impl Machine {
    /// A machine that works.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Says how the world goes on when the host stands still.
    pub fn set_go_on(&self, go_on: GoOn) {
        self.state().go_on = Some(go_on);
    }

    /// Lets something happen so many operations from now.
    pub fn plan(&self, operations: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.operations + operations;
        state.faults.push((at, fault));
    }

    /// Forgets what was planned.
    pub fn calm(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.away_until_ms = 0;
    }

    /// The host starts.
    pub fn start(&self) {
        let mut state = self.state();
        state.is_dead = false;
        state.has_failed = false;
        state.life += 1;
    }

    /// The host is killed.
    pub fn kill(&self) {
        self.state().is_dead = true;
    }

    /// Whether the host is dead.
    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Whether the disk refused something since the host was started.
    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn operation(&self) -> Fate {
        let mut state = self.state();
        if state.is_dead {
            return Fate::Dead;
        }
        state.operations += 1;
        let now = state.operations;
        let Some(due) = state.faults.iter().position(|(at, _)| *at <= now) else { return Fate::Done };
        let (_, fault) = state.faults.remove(due);
        match fault {
            Fault::Dies { .. } => state.is_dead = true,
            Fault::Stands { ms } => {
                let go_on = state.go_on.clone();
                drop(state);
                if let Some(go_on) = go_on {
                    go_on(ms);
                }
                return if self.is_dead() { Fate::Dead } else { Fate::Done };
            }
            Fault::DiskFails | Fault::Silence { .. } | Fault::Away { .. } => {}
        }
        Fate::Failed(fault)
    }

    /// A change on the disk.
    fn disk(&self) -> io::Result<()> {
        match self.operation() {
            Fate::Dead | Fate::Failed(Fault::Dies { .. }) => Err(io::Error::other("the host is dead")),
            Fate::Failed(Fault::DiskFails) => {
                self.state().has_failed = true;
                Err(io::Error::other("the disk failed"))
            }
            // Those are the cluster's: they happen with the next question.
            Fate::Failed(fault @ (Fault::Silence { .. } | Fault::Away { .. })) => {
                self.plan(1, fault);
                Ok(())
            }
            Fate::Done | Fate::Failed(Fault::Stands { .. }) => Ok(()),
        }
    }
}

/// A host's way to the cluster.
#[derive(Clone)]
pub struct Client {
    /// The cluster.
    pub kafka: MemoryKafka,
    /// The host's machine.
    pub machine: Machine,
}

impl Client {
    /// Asks the cluster; `what` names the question in errors. What it refuses is the inner result.
    pub fn ask<T>(
        &self,
        what: &str,
        ask: impl FnOnce(&mut Cluster) -> Result<T, Refusal>,
    ) -> Result<Result<T, Refusal>> {
        let unavailable = |why: &str| Err(Error::new(ErrorKind::Unavailable, format!("{what}: {why}")));
        let fate = self.machine.operation();
        let mut cluster = self.kafka.cluster();
        let now_ms = cluster.now_ms();
        match fate {
            Fate::Dead => return Err(dead(what)),
            Fate::Failed(Fault::Dies { is_heard }) => {
                if is_heard {
                    drop(ask(&mut cluster));
                }
                return Err(dead(what));
            }
            Fate::Failed(Fault::Silence { is_heard }) => {
                if is_heard {
                    drop(ask(&mut cluster));
                }
                return unavailable("no answer");
            }
            Fate::Failed(Fault::Away { ms }) => self.machine.state().away_until_ms = now_ms + ms,
            Fate::Done | Fate::Failed(Fault::DiskFails | Fault::Stands { .. }) => {}
        }
        if self.machine.state().away_until_ms > now_ms {
            return unavailable("the brokers are away");
        }
        Ok(ask(&mut cluster))
    }
}

fn dead(what: &str) -> Error {
    Error::new(ErrorKind::Storage, format!("{what}: the host is dead"))
}

/// The disk as a host's machine has it.
#[derive(Clone)]
pub struct HostDisk {
    /// The disk, which outlives hosts.
    pub disk: MemoryDisk,
    /// The machine.
    pub machine: Machine,
}

impl fmt::Debug for HostDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostDisk").finish_non_exhaustive()
    }
}

struct HostFile {
    file: Box<dyn DiskFile>,
    machine: Machine,
    life: u64,
}

impl HostFile {
    fn operation(&self) -> io::Result<()> {
        if self.machine.state().life != self.life {
            return Err(io::Error::other("the file is of a life before"));
        }
        self.machine.disk()
    }
}

impl Write for HostFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.operation()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for HostFile {
    fn sync(&mut self) -> io::Result<()> {
        self.operation()?;
        self.file.sync()
    }
}

impl HostDisk {
    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let life = self.machine.state().life;
        Box::new(HostFile { file, machine: self.machine.clone(), life })
    }

    fn alive(&self) -> io::Result<()> {
        if self.machine.is_dead() { Err(io::Error::other("the host is dead")) } else { Ok(()) }
    }
}

impl Disk for HostDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.machine.disk()?;
        Ok(self.file(self.disk.create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.machine.disk()?;
        Ok(self.file(self.disk.append(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive()?;
        self.disk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, length_bytes: usize) -> io::Result<Vec<u8>> {
        self.alive()?;
        self.disk.read_at(path, offset, length_bytes)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        self.alive()?;
        self.disk.size_bytes(path)
    }

    fn truncate(&self, path: &Path, length_bytes: u64) -> io::Result<()> {
        self.machine.disk()?;
        self.disk.truncate(path, length_bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.machine.disk()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.machine.disk()?;
        self.disk.remove(path)
    }

    fn files_below(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.alive()?;
        self.disk.files_below(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.machine.disk()?;
        self.disk.sync_folder(folder)
    }
}
