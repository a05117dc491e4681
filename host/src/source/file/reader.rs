//! One worker's reader: takes a job, hands its blocks out, takes the next.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BatchSettings, Format};
use crate::error::Result;
use crate::source::{FileIdentity, Read, Reader};

use super::columns::Columns;
use super::content::{Compression, Content};
use super::identity;
use super::splitter::{Framing, Splitter};
use super::text::Text;
use super::work::{Job, Step, Work};

enum Body {
    Text(Box<Text>),
    Columns(Box<Columns>),
}

/// One worker's share of the files.
pub struct FileReader {
    work: Arc<Work>,
    columns: Option<Arc<[String]>>,
    current: Option<(Job, Body)>,
}

impl FileReader {
    pub(super) fn new(work: Arc<Work>, columns: Option<Arc<[String]>>) -> Self {
        Self { work, columns, current: None }
    }

    fn open(&self, job: &mut Job, bounds: &BatchSettings) -> Result<Body> {
        let mut file = File::open(&job.path).map_err(|error| identity::cannot_read(&job.path, error))?;
        let now: FileIdentity = identity::check(&job.path, &mut file, &job.identity)?;
        job.identity = now.clone();
        self.work.opened(job, now);
        let read_bytes = self.work.read_bytes.clone();
        if self.work.format == Format::Parquet {
            let columns = Columns::open(file, job, self.columns.as_deref(), bounds.rows, read_bytes)?;
            return Ok(Body::Columns(Box::new(columns)));
        }
        let content = Content::open(file, job.compression, read_bytes)
            .map_err(|error| identity::cannot_read(&job.path, error))?;
        let csv = self.work.format == Format::Csv;
        let framing = if csv { Framing::Csv } else { Framing::Lines };
        let splitter = Splitter::new(content, framing, !self.work.follow);
        let may_grow = self.work.follow && job.compression != Compression::Plain;
        Ok(Body::Text(Box::new(Text::open(splitter, job, csv, may_grow)?)))
    }

    /// Takes the next job; false when there is none now.
    fn next_job(&mut self, bounds: &BatchSettings) -> Result<bool> {
        let Some(mut job) = self.work.take()? else { return Ok(false) };
        match self.open(&mut job, bounds) {
            Ok(body) => {
                self.current = Some((job, body));
                Ok(true)
            }
            Err(error) => {
                self.work.give_back(job);
                Err(error)
            }
        }
    }
}

impl Reader for FileReader {
    fn read(&mut self, bounds: &BatchSettings, wait: Duration) -> Result<Read> {
        let deadline = Instant::now() + wait;
        loop {
            let Some((job, body)) = &mut self.current else {
                if self.next_job(bounds)? {
                    continue;
                }
                if !self.work.follow {
                    return Ok(Read::End);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(Read::Idle);
                }
                self.work.wait(left);
                continue;
            };
            let step = match body {
                Body::Text(text) => text.next(bounds)?,
                Body::Columns(columns) => columns.next(bounds)?,
            };
            match step {
                Step::Block(records) => return Ok(Read::Records(records)),
                Step::Ended { offset, read_to, whole } => {
                    self.work.ended(job, offset, read_to, whole);
                    self.current = None;
                }
            }
        }
    }
}
