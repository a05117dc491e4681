//! Threads beside a run, which end with it.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, ErrorKind, Result};

/// A thread that ends when this is dropped.
pub(super) struct Background {
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    /// Starts one; it has to end when it hears of the end.
    pub(super) fn start(name: &str, work: impl FnOnce(Receiver<()>) + Send + 'static) -> Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(stopped));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the thread {name} cannot be started")).caused_by(error)
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
