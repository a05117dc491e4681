//! The content of a file as a run of bytes: plain, or decompressed (several gzip members or zstd frames are one content).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// How a file is compressed: its name says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the name's end: `.gz`, `.zst`.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Bytes read from the disk, counted for the progress of a run.
pub(super) struct Counted {
    file: File,
    read_bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

enum Stream {
    Plain(Counted),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Counted>>>),
    /// A compressed file without a byte in it: nobody wrote to it yet.
    Empty,
}

/// A file's content, read from its start or from an offset.
pub(super) struct Content {
    stream: Stream,
    position: i64,
}

/// How much is asked of a compressed file at once.
const COMPRESSED_READ_BYTES: usize = 256 << 10;

impl Content {
    /// Opens the content at offset 0.
    pub fn open(file: File, compression: Compression, read_bytes: Arc<AtomicU64>) -> io::Result<Self> {
        let empty = file.metadata()?.len() == 0;
        let file = Counted { file, read_bytes };
        let stream = match compression {
            Compression::Plain => Stream::Plain(file),
            _ if empty => Stream::Empty,
            Compression::Gzip => {
                let input = BufReader::with_capacity(COMPRESSED_READ_BYTES, file);
                Stream::Gzip(Box::new(MultiGzDecoder::new(input)))
            }
            Compression::Zstd => {
                let input = BufReader::with_capacity(COMPRESSED_READ_BYTES, file);
                Stream::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input)?))
            }
        };
        Ok(Self { stream, position: 0 })
    }

    /// The next bytes; 0 at the end as it is now (a plain file may grow later).
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match &mut self.stream {
                Stream::Plain(file) => file.read(buffer),
                Stream::Gzip(decoder) => decoder.read(buffer),
                Stream::Zstd(decoder) => decoder.read(buffer),
                Stream::Empty => Ok(0),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(count) => {
                    self.position += count as i64;
                    return Ok(count);
                }
            }
        }
    }

    /// Where the next `read` starts.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Goes forward to an offset: at once in a plain file, by decompressing in others. False when the content is shorter.
    pub fn skip_to(&mut self, offset: i64) -> io::Result<bool> {
        if let Stream::Plain(file) = &mut self.stream {
            let length = file.file.metadata()?.len() as i64;
            let target = offset.min(length);
            file.file.seek(SeekFrom::Start(target.max(0) as u64))?;
            self.position = target;
            return Ok(target == offset);
        }
        let mut scratch = vec![0; COMPRESSED_READ_BYTES];
        while self.position < offset {
            let wanted = scratch.len().min((offset - self.position) as usize);
            if self.read(&mut scratch[..wanted])? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
