//! What plugins say (`log`, stdout, stderr) on its way to the host's log: by line, bounded, tagged with the stage's name
//! and the plugin's digest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::check::cut;
use crate::config::StageConfig;
use crate::digest::short;

/// Most lines a second that a stage's plugin may log on all workers together; more are counted and left out.
pub const LOG_MAX_LINES_PER_SECOND: u32 = 20;
/// Longest line; more of it is cut off.
pub const LOG_MAX_LINE_BYTES: usize = 4_096;
/// How much of what a plugin wrote to stderr in a call is kept, to be shown when the call traps.
const TAIL_MAX_BYTES: usize = 2_048;

/// The log of a stage's plugin, shared by its workers.
#[derive(Debug)]
pub struct StageLog {
    stage: String,
    digest: String,
    second: Mutex<Second>,
}

/// The log of one instance: its config says what must not be told, and that may be another one than its neighbour's.
#[derive(Clone, Debug)]
pub struct InstanceLog {
    of_stage: Arc<StageLog>,
    levels: LevelFilter,
    /// The config whose secrets must not be told.
    hidden: Option<StageConfig>,
}

/// What was logged in the second that began at `start`.
#[derive(Debug)]
struct Second {
    start: Instant,
    lines: u32,
    left_out: u64,
}

impl StageLog {
    /// The log of a stage and of the plugin with this digest.
    pub fn new(stage: &str, digest: &str) -> Self {
        let second = Mutex::new(Second { start: Instant::now(), lines: 0, left_out: 0 });
        Self { stage: stage.to_owned(), digest: digest.to_owned(), second }
    }

    /// Takes one of the second's lines; how many the second before left out, or none when they are used up.
    fn take_line(&self) -> Option<u64> {
        let mut second = self.second.lock();
        let mut left_out = 0;
        if second.start.elapsed() >= Duration::from_secs(1) {
            left_out = second.left_out;
            *second = Second { start: Instant::now(), lines: 0, left_out: 0 };
        }
        if second.lines >= LOG_MAX_LINES_PER_SECOND {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(left_out)
    }
}

impl InstanceLog {
    /// Lines of some levels, without the secrets of a config.
    pub fn new(of_stage: Arc<StageLog>, levels: LevelFilter, config: Option<&StageConfig>) -> Self {
        Self { of_stage, levels, hidden: config.filter(|config| config.has_secrets()).cloned() }
    }

    /// Logs a line, unless the second's lines are used up.
    pub fn line(&self, level: Level, line: &str) {
        let line = line.trim_end();
        if line.is_empty() || level > self.levels {
            return;
        }
        let Some(left_out) = self.of_stage.take_line() else { return };
        let StageLog { stage, digest, .. } = &*self.of_stage;
        let (stage, digest) = (stage.as_str(), short(digest));
        if left_out > 0 {
            tracing::warn!(target: "millstream::plugin", stage, digest, left_out, "the plugin logged too much: lines were left out");
        }
        let line = match &self.hidden {
            Some(config) => config.hide(line.to_owned()),
            None => line.to_owned(),
        };
        let line = on_one_line(cut(line, LOG_MAX_LINE_BYTES));
        match level {
            Level::ERROR => tracing::error!(target: "millstream::plugin", stage, digest, "{line}"),
            Level::WARN => tracing::warn!(target: "millstream::plugin", stage, digest, "{line}"),
            Level::INFO => tracing::info!(target: "millstream::plugin", stage, digest, "{line}"),
            _ => tracing::debug!(target: "millstream::plugin", stage, digest, "{line}"),
        }
    }
}

/// A plugin writes lines of its own, none of the host's: what would end a line or steer a terminal is shown as its code.
fn on_one_line(line: String) -> String {
    if !line.contains(|char: char| char.is_control() && char != '\t') {
        return line;
    }
    let shown = |char: char| match char {
        '\t' => char.to_string(),
        char if char.is_control() => char.escape_default().to_string(),
        char => char.to_string(),
    };
    line.chars().map(shown).collect()
}

/// One of an instance's two standard streams. Clones write to the same lines.
#[derive(Clone, Debug)]
pub struct LineStream {
    log: InstanceLog,
    level: Level,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    open: Vec<u8>,
    tail: Vec<u8>,
}

impl LineStream {
    /// A stream whose lines are logged at a level.
    pub fn new(log: InstanceLog, level: Level) -> Self {
        Self { log, level, lines: Arc::default() }
    }

    /// Forgets what was written before a call.
    pub fn begin_call(&self) {
        self.lines.lock().tail.clear();
    }

    /// Logs a line that has no end yet, and returns the end of what was written since `begin_call`.
    pub fn end_call(&self) -> String {
        let mut lines = self.lines.lock();
        let open = std::mem::take(&mut lines.open);
        self.log.line(self.level, &String::from_utf8_lossy(&open));
        String::from_utf8_lossy(&lines.tail).trim().to_owned()
    }

    fn take(&self, bytes: &[u8]) {
        let mut lines = self.lines.lock();
        let kept = &bytes[bytes.len().saturating_sub(TAIL_MAX_BYTES)..];
        let surplus = (lines.tail.len() + kept.len()).saturating_sub(TAIL_MAX_BYTES);
        lines.tail.drain(..surplus);
        lines.tail.extend_from_slice(kept);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LOG_MAX_LINE_BYTES.saturating_sub(lines.open.len());
            lines.open.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut lines.open);
                self.log.line(self.level, &String::from_utf8_lossy(&line));
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> InstanceLog {
        InstanceLog::new(Arc::new(StageLog::new("s", "abc")), LevelFilter::DEBUG, None)
    }

    #[test]
    fn a_call_keeps_the_end_of_what_it_wrote() {
        let stream = LineStream::new(log(), Level::DEBUG);
        stream.take(b"before\n");
        stream.begin_call();
        stream.take(&[b'x'; 5_000]);
        stream.take(b"\nthe end");
        let tail = stream.end_call();
        assert_eq!(tail.len(), TAIL_MAX_BYTES);
        assert!(tail.ends_with("xxx\nthe end") && !tail.contains("before"));
        assert!(stream.lines.lock().open.is_empty());
    }

    #[test]
    fn a_line_is_one_line() {
        let forged = "done\nERROR millstream: \u{1b}[2Jall is lost\tÄ";
        assert_eq!(on_one_line(forged.to_owned()), "done\\nERROR millstream: \\u{1b}[2Jall is lost\tÄ");
    }

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let log = log();
        (0..LOG_MAX_LINES_PER_SECOND + 5).for_each(|_| log.line(Level::DEBUG, "line"));
        let second = log.of_stage.second.lock();
        // A new second may have begun between two lines on a slow machine: then both hold some.
        assert!(second.lines <= LOG_MAX_LINES_PER_SECOND && (second.left_out == 5 || second.lines < 20));
    }
}
