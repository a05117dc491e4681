//! The server's thread: a single-threaded tokio runtime, one task a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use crossbeam_channel::Sender;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};

use super::super::life::Question;
use super::{routes, socket};
use crate::error::{Error, ErrorKind, Result};

/// Most connections at a time; a further one waits.
pub const CONTROL_MAX_CONNECTIONS: usize = 32;
/// Most threads that wait for answers.
const WAITING_THREADS: usize = CONTROL_MAX_CONNECTIONS;
/// How long a client may take to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest life of a connection: a capture waits ten minutes at most.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Pause after a failed accept: the process has no file handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The control socket of a running host. Gone when it is dropped.
pub struct Control {
    data: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the data folder's socket. What is asked there goes to `asking`.
    ///
    /// # Errors
    /// `Unavailable` when there can be no socket.
    pub fn start(data: &Path, pipeline: &str, asking: Sender<Question>) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let place = data.join(socket::SOCKET_NAME);
            Error::new(ErrorKind::Unavailable, format!("the control socket {} cannot be opened", place.display()))
                .caused_by(error)
        };
        let listener = socket::listen(data).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(WAITING_THREADS)
            .thread_name("control-waits")
            .build()
            .map_err(failed)?;
        let router = routes::router(pipeline, asking);
        let (stop, stopped) = oneshot::channel();
        let work = move || serve(runtime, listener, router, stopped);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { data: data.to_path_buf(), stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = socket::remove(&self.data) {
            tracing::warn!(%error, "the control socket is left behind");
        }
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(runtime: Runtime, listener: std::os::unix::net::UnixListener, router: Router, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async move {
        match UnixListener::from_std(listener) {
            Ok(listener) => drop(tokio::spawn(accept(listener, router))),
            Err(error) => tracing::warn!(%error, "the control socket cannot be served"),
        }
        // Its other end is dropped when the run is over.
        let _ = stopped.await;
    });
    // Whoever still waits for an answer gets none: the run is over.
    runtime.shutdown_background();
}

async fn accept(listener: UnixListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONTROL_MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket: a connection cannot be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !may_ask(&stream) {
            continue;
        }
        let router = router.clone();
        tokio::spawn(async move {
            if tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, router)).await.is_err() {
                tracing::debug!("the control socket: a connection took too long");
            }
            drop(place);
        });
    }
}

/// The file's mode says it too; not every file system's does.
fn may_ask(stream: &UnixStream) -> bool {
    let user = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == user || peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(user = peer.uid(), "the control socket: refused, the host belongs to another user");
            false
        }
        Err(_) => false,
    }
}

async fn connection(stream: UnixStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    let serving = http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = serving.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "the control socket: a connection ended early");
    }
}
