//! Where the control socket is, and how it comes to be there.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The socket's name in the data folder.
pub const SOCKET_NAME: &str = "control.sock";
/// Where it is made, in the data folder.
const MAKING: &str = "control.new";
/// The longest path of a Unix socket on Linux (unix(7): 108 bytes with the zero at the end).
const PATH_MAX_BYTES: usize = 107;

/// A way to a socket that is short enough, for as long as it lives.
pub(super) struct Address {
    path: PathBuf,
    /// What a path through /proc leads over.
    _folder: Option<File>,
}

impl Address {
    /// The socket `name` in a folder. When the path is too long it goes through the open folder's own entry in /proc.
    pub fn of(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        if path.as_os_str().len() <= PATH_MAX_BYTES {
            return Ok(Self { path, _folder: None });
        }
        let open = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
        Ok(Self { path, _folder: Some(open) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Listens on the data folder's socket, in place of a stale one. The data folder is held by this process, so no other
/// host listens there.
pub(super) fn listen(data: &Path) -> io::Result<UnixListener> {
    let making = data.join(MAKING);
    // Left by a process that was killed just here.
    remove_if_there(&making.join(SOCKET_NAME))?;
    match fs::DirBuilder::new().mode(0o700).create(&making) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(&making, fs::Permissions::from_mode(0o700))?;
        }
        made => made?,
    }
    let listener = UnixListener::bind(Address::of(&making, SOCKET_NAME)?.path())?;
    let (made, place) = (making.join(SOCKET_NAME), data.join(SOCKET_NAME));
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    fs::rename(&made, &place)?;
    fs::remove_dir(&making)?;
    Ok(listener)
}

/// Takes the socket away.
pub(super) fn remove(data: &Path) -> io::Result<()> {
    remove_if_there(&data.join(SOCKET_NAME))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
