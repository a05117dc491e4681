//! A text file as records: JSONL line by line, CSV record by record (a quoted field may hold line ends), decompressed on
//! the way.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::BinaryBuilder;

use crate::config::Format;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Partition, Payload, Records};

const BLOCK_RECORDS: usize = 8192;
const BLOCK_BYTES: usize = 4 << 20;
/// A longer record is a quote that was never closed, or not a text file.
const MAX_RECORD_BYTES: usize = 64 << 20;
const READ_BYTES: usize = 1 << 20;

/// Opens a file, decompressing `.gz` and `.zst`.
pub(super) fn open_text(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(unreadable(path))?;
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(BufReader::with_capacity(
            READ_BYTES,
            flate2::read::MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, file)),
        )),
        Some("zst") => {
            let text = zstd::stream::read::Decoder::new(file).map_err(unreadable(path))?;
            Box::new(BufReader::with_capacity(READ_BYTES, text))
        }
        _ => Box::new(BufReader::with_capacity(READ_BYTES, file)),
    })
}

pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| {
        // A compressed file that breaks off or does not decompress is wrong in itself; anything else may pass.
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let kind = match error.kind() {
            UnexpectedEof | InvalidData | InvalidInput => ErrorKind::Input,
            _ if path.extension().is_some_and(|extension| extension == "zst") && error.raw_os_error().is_none() => {
                ErrorKind::Input
            }
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("{} cannot be read", path.display())).caused_by(error)
    }
}

/// The records of a CSV or JSONL file, in blocks. Offsets are bytes in the decompressed file.
pub(super) fn records_of_file(path: &Path, format: Format) -> Result<TextRecords> {
    let mut records = TextRecords {
        path: path.to_owned(),
        partition: Partition { source: Arc::from(""), key: Arc::from(path.to_string_lossy()) },
        input: open_text(path)?,
        csv: format == Format::Csv,
        header: None,
        offset: 0,
        record: Vec::new(),
        done: false,
    };
    records.skip_byte_order_mark()?;
    if records.csv {
        records.header = Some(records.read_header()?);
    }
    Ok(records)
}

/// See [`records_of_file`].
pub(super) struct TextRecords {
    path: PathBuf,
    partition: Partition,
    input: Box<dyn BufRead + Send>,
    csv: bool,
    header: Option<Arc<[String]>>,
    /// Where the next record starts.
    offset: u64,
    record: Vec<u8>,
    done: bool,
}

impl TextRecords {
    fn skip_byte_order_mark(&mut self) -> Result<()> {
        let start = self.input.fill_buf().map_err(unreadable(&self.path))?;
        if start.starts_with(b"\xef\xbb\xbf") {
            self.input.consume(3);
            self.offset = 3;
        }
        Ok(())
    }

    fn read_header(&mut self) -> Result<Arc<[String]>> {
        if self.next_record()?.is_none() {
            let message =
                format!("{}: the file is empty; a CSV file starts with a line of column names", self.path.display());
            return Err(Error::new(ErrorKind::Input, message));
        }
        let wrong = |message: String| Error::new(ErrorKind::Input, format!("{}: {message}", self.path.display()));
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(self.record.as_slice());
        let mut names = csv::StringRecord::new();
        reader
            .read_record(&mut names)
            .map_err(|error| wrong(format!("the line of column names is not CSV: {error}")))?;
        let names: Vec<String> = names.iter().map(str::to_owned).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(wrong(format!("column \"{name}\" stands twice in the line of column names")));
            }
        }
        Ok(names.into())
    }

    /// Reads the next record that is not blank into `self.record`, without its line end; its offset.
    fn next_record(&mut self) -> Result<Option<u64>> {
        loop {
            let start = self.offset;
            self.record.clear();
            let mut quote = Quote::FieldStart;
            loop {
                let line_start = self.record.len();
                let room = (MAX_RECORD_BYTES - line_start) as u64;
                let read = self
                    .input
                    .by_ref()
                    .take(room)
                    .read_until(b'\n', &mut self.record)
                    .map_err(unreadable(&self.path))?;
                self.offset += read as u64;
                let whole = self.record.ends_with(b"\n");
                if !whole && self.record.len() >= MAX_RECORD_BYTES {
                    return Err(self.wrong(start, "a record is longer than 64 MiB"));
                }
                if self.csv {
                    quote = quote.after(&self.record[line_start..]);
                }
                if quote != Quote::Quoted {
                    break;
                }
                if read == 0 || !whole {
                    return Err(self.wrong(start, "a quoted field is not closed"));
                }
            }
            if self.offset == start {
                return Ok(None);
            }
            for end in [b'\n', b'\r'] {
                if self.record.last() == Some(&end) {
                    self.record.pop();
                }
            }
            if !self.record.iter().all(|byte| byte.is_ascii_whitespace()) {
                return Ok(Some(start));
            }
        }
    }

    fn wrong(&self, offset: u64, message: &str) -> Error {
        let place = place_of(&self.path, offset);
        Error::new(ErrorKind::Input, format!("{place}: {message}"))
    }

    fn next_block(&mut self) -> Result<Option<Records>> {
        let mut values = BinaryBuilder::new();
        let (mut offsets, mut bytes) = (Vec::new(), 0);
        while offsets.len() < BLOCK_RECORDS && bytes < BLOCK_BYTES {
            let Some(offset) = self.next_record()? else {
                self.done = true;
                break;
            };
            values.append_value(&self.record);
            bytes += self.record.len();
            offsets.push(position(offset)?);
        }
        if offsets.is_empty() {
            return Ok(None);
        }
        Ok(Some(Records {
            partition: self.partition.clone(),
            partition_number: 0,
            payload: Payload::Bytes(values.finish()),
            csv_header: self.header.clone(),
            offsets,
            next_offset: position(self.offset)?,
            timestamps_ms: Vec::new(),
            keys: None,
            headers: Vec::new(),
        }))
    }
}

fn position(offset: u64) -> Result<i64> {
    i64::try_from(offset).map_err(|_| Error::new(ErrorKind::Input, "a file is longer than 2^63 bytes"))
}

impl Iterator for TextRecords {
    type Item = Result<Records>;

    fn next(&mut self) -> Option<Result<Records>> {
        if self.done {
            return None;
        }
        let block = self.next_block();
        self.done |= block.is_err();
        block.transpose()
    }
}

/// Where a CSV record stands between two bytes (RFC 4180: a quote opens a field only at its start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote in a quoted field: the field's end, or the first of two.
    Closing,
}

impl Quote {
    fn after(self, line: &[u8]) -> Self {
        if self == Self::FieldStart && memchr::memchr(b'"', line).is_none() {
            return Self::Plain;
        }
        line.iter().fold(self, |state, byte| match (state, byte) {
            (Self::FieldStart | Self::Closing, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Closing,
            (Self::Quoted, _) => Self::Quoted,
            (_, b',') => Self::FieldStart,
            _ => Self::Plain,
        })
    }
}

/// `FILE:LINE` of a byte in a decompressed file, for messages: reads the file once more.
pub(super) fn place_of(path: &Path, offset: u64) -> String {
    let line = line_of(path, offset);
    line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()))
}

fn line_of(path: &Path, offset: u64) -> Option<u64> {
    let mut input = open_text(path).ok()?.take(offset);
    let mut line = 1;
    loop {
        let bytes = input.fill_buf().ok()?;
        if bytes.is_empty() {
            return Some(line);
        }
        line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        input.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(name: &str, content: &[u8], format: Format) -> Result<Vec<(i64, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut all = Vec::new();
        for records in records_of_file(&path, format)? {
            let records = records?;
            for record in 0..records.len() {
                let value = String::from_utf8(records.value(record).unwrap().to_vec()).unwrap();
                all.push((records.offsets[record], value));
            }
        }
        Ok(all)
    }

    fn record(offset: i64, value: &str) -> (i64, String) {
        (offset, value.to_owned())
    }

    #[test]
    fn jsonl_is_one_record_a_line_without_blank_ones() {
        let records = read("t.jsonl", b"{\"a\":1}\r\n\n  \n{\"a\":\"x\\\"\"}", Format::Json).unwrap();
        assert_eq!(records, [record(0, "{\"a\":1}"), record(13, "{\"a\":\"x\\\"\"}")]);
    }

    #[test]
    fn a_quoted_csv_field_may_hold_line_ends_commas_and_quotes() {
        let content = b"\xef\xbb\xbfid,name\n1,\"a\n,\"\"b\"\n2,5\" disk\n3,\"\"\n";
        let records = read("t.csv", content, Format::Csv).unwrap();
        assert_eq!(records, [record(11, "1,\"a\n,\"\"b\""), record(22, "2,5\" disk"), record(32, "3,\"\"")]);
    }

    #[test]
    fn a_quote_that_is_not_closed_names_its_line() {
        let error = read("t.csv", b"id,name\n1,a\n2,\"b\n3,c\n", Format::Csv).unwrap_err();
        assert!(error.message().ends_with("t.csv:3: a quoted field is not closed"), "{error}");
    }

    #[test]
    fn a_csv_file_needs_its_column_names_once_each() {
        let error = read("t.csv", b"", Format::Csv).unwrap_err();
        assert!(
            error.message().ends_with("the file is empty; a CSV file starts with a line of column names"),
            "{error}"
        );
        let error = read("t.csv", b"a,b,a\n", Format::Csv).unwrap_err();
        assert!(error.message().ends_with("column \"a\" stands twice in the line of column names"), "{error}");
    }

    #[test]
    fn compressed_files_read_the_same_and_a_truncated_one_is_refused() {
        let text: String = (0..5000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        let zst = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
        let plain = read("t.jsonl", text.as_bytes(), Format::Json).unwrap();
        assert_eq!(plain.len(), 5000);
        for (name, bytes) in [("t.jsonl.gz", &gz), ("t.jsonl.zst", &zst)] {
            assert_eq!(read(name, bytes, Format::Json).unwrap(), plain, "{name}");
            let error = read(name, &bytes[..bytes.len() * 2 / 3], Format::Json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        }
    }
}
