//! A progress bar on stderr while a run goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use indicatif::{ProgressBar, ProgressStyle};

use super::sources::Sources;

/// Time between two looks.
const TICK: Duration = Duration::from_millis(100);

/// Draws until it is dropped.
pub struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts drawing, when it is wanted and stderr is a terminal (the bar hides itself otherwise).
    pub fn start(wanted: bool, sources: Arc<Sources>, rows: Arc<AtomicU64>) -> Self {
        if !wanted {
            return Self { stop: None, thread: None };
        }
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let bar = match sources.progress_bytes() {
                Some((_, all)) => ProgressBar::new(all).with_style(style("{bar:40} {percent}%  {msg}")),
                None => ProgressBar::no_length().with_style(style("{spinner}  {msg}")),
            };
            let began = Instant::now();
            while stopped.recv_timeout(TICK) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                draw(&bar, &sources, rows.load(Ordering::Relaxed), began.elapsed());
            }
            draw(&bar, &sources, rows.load(Ordering::Relaxed), began.elapsed());
            bar.finish();
        });
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

fn draw(bar: &ProgressBar, sources: &Sources, rows: u64, elapsed: Duration) {
    if let Some((read, all)) = sources.progress_bytes() {
        bar.set_length(all);
        bar.set_position(read);
    }
    bar.set_message(format!("{rows} records, {:.0}/s", rows as f64 / elapsed.as_secs_f64().max(0.001)));
    bar.tick();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
