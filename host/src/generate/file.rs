//! Events into a file, plain or compressed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{EventSink, Events};
use crate::error::{Error, ErrorKind, Result};

/// One file of JSON lines; compressed with zstd when its name ends in `.zst`.
pub struct FileSink {
    path: PathBuf,
    writer: Writer,
}

enum Writer {
    Plain(File),
    Zstd(zstd::Encoder<'static, File>),
    Finished,
}

/// Fast enough not to be what generating waits for; clicks shrink to about a third.
const ZSTD_LEVEL: i32 = 1;

impl FileSink {
    /// Creates the file and the folders above it, in place of an older file.
    pub fn create(path: &Path) -> Result<Self> {
        let create = || -> std::io::Result<Writer> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = File::create(path)?;
            Ok(match path.extension() {
                Some(extension) if extension == "zst" => Writer::Zstd(zstd::Encoder::new(file, ZSTD_LEVEL)?),
                _ => Writer::Plain(file),
            })
        };
        let writer = create().map_err(|cause| cannot("create", path).caused_by(cause))?;
        Ok(Self { path: path.to_owned(), writer })
    }
}

impl EventSink for FileSink {
    fn take(&mut self, events: &Events) -> Result<()> {
        match &mut self.writer {
            Writer::Plain(file) => file.write_all(&events.lines),
            Writer::Zstd(encoder) => encoder.write_all(&events.lines),
            Writer::Finished => return Err(Error::new(ErrorKind::Internal, "events came after the end of their file")),
        }
        .map_err(|cause| cannot("write", &self.path).caused_by(cause))
    }

    fn finish(&mut self) -> Result<()> {
        let finished = match std::mem::replace(&mut self.writer, Writer::Finished) {
            Writer::Plain(file) => Ok(file),
            Writer::Zstd(encoder) => encoder.finish(),
            Writer::Finished => return Ok(()),
        };
        finished.and_then(|file| file.sync_all()).map_err(|cause| cannot("finish", &self.path).caused_by(cause))
    }
}

fn cannot(what: &str, path: &Path) -> Error {
    Error::new(ErrorKind::Storage, format!("cannot {what} {}", path.display()))
}
