//! Finds the records in a file's content: lines, or CSV records (a quoted field may hold line ends).
//!
//! A record that is in the buffer as a whole is handed out before the content's failure (a truncated or damaged compressed
//! file) is reported, so that a break loses nothing that was whole.

use std::io;

use memchr::memchr;

use super::content::Content;

/// Beyond this a record is taken for a file of another kind (no line ends, a quote that is never closed).
pub(super) const MAX_RECORD_BYTES: usize = 64 << 20;

/// How much is read at once.
const READ_BYTES: usize = 1 << 20;

/// How content falls into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One record a line; blank lines are none.
    Lines,
    /// RFC 4180; empty lines are none.
    Csv,
}

/// A record in the splitter's buffer, without its line end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Where it starts in the content.
    pub offset: i64,
    start: usize,
    len: usize,
    next: usize,
}

impl Found {
    pub fn len(&self) -> usize {
        self.len
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Record(Found),
    /// Nothing more as the file is now.
    End,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The content cannot be read beyond this offset.
    Content { offset: i64, error: io::Error },
    /// The record at this offset is longer than `MAX_RECORD_BYTES`.
    TooLong { offset: i64 },
}

/// Reads content in large pieces and finds the records in it.
pub(super) struct Splitter {
    content: Content,
    framing: Framing,
    /// Whether what stands behind the last line end is a record.
    take_unfinished: bool,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The content's offset of `buffer[0]`.
    base: i64,
    /// So many bytes behind `start` hold no line end.
    searched: usize,
    found: Option<Found>,
    ended: bool,
    failure: Option<io::Error>,
}

impl Splitter {
    pub fn new(content: Content, framing: Framing, take_unfinished: bool) -> Self {
        Self {
            base: content.position(),
            content,
            framing,
            take_unfinished,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            found: None,
            ended: false,
            failure: None,
        }
    }

    /// Where the next record starts, or blank lines before it.
    pub fn position(&self) -> i64 {
        self.base + self.start as i64
    }

    /// How far the content was read.
    pub fn content_position(&self) -> i64 {
        self.content.position()
    }

    /// Goes forward to an offset at which a record starts. False when the content ends before it.
    pub fn skip_to(&mut self, offset: i64) -> io::Result<bool> {
        self.found = None;
        self.searched = 0;
        let in_buffer = offset - self.base;
        if in_buffer >= self.start as i64 && in_buffer <= self.end as i64 {
            self.start = in_buffer as usize;
            return Ok(true);
        }
        let there = self.content.skip_to(offset)?;
        self.base = self.content.position();
        (self.start, self.end) = (0, 0);
        Ok(there)
    }

    /// The next record, which stays the next until `take`.
    pub fn peek(&mut self) -> Result<Next, Broken> {
        if let Some(found) = self.found {
            return Ok(Next::Record(found));
        }
        loop {
            match self.record_end() {
                Some(line_end) => {
                    if self.set_found(line_end, line_end + 1) {
                        break;
                    }
                }
                None if self.end - self.start > MAX_RECORD_BYTES => {
                    return Err(Broken::TooLong { offset: self.position() });
                }
                None if self.fill() => {}
                None => {
                    if self.failure.is_some() {
                        return Err(self.broken());
                    }
                    if !self.take_unfinished || self.start == self.end || !self.set_found(self.end, self.end) {
                        return Ok(Next::End);
                    }
                    break;
                }
            }
        }
        Ok(self.found.map_or(Next::End, Next::Record))
    }

    /// The bytes of a record that was peeked.
    pub fn bytes(&self, found: &Found) -> &[u8] {
        &self.buffer[found.start..found.start + found.len]
    }

    /// Goes behind the record that was peeked.
    pub fn take(&mut self) {
        if let Some(found) = self.found.take() {
            self.start = found.next;
        }
    }

    fn broken(&mut self) -> Broken {
        let offset = self.base + self.end as i64;
        let error = match &self.failure {
            Some(error) => io::Error::new(error.kind(), error.to_string()),
            None => io::ErrorKind::UnexpectedEof.into(),
        };
        Broken::Content { offset, error }
    }

    /// Notes the record up to `line_end`; false (and goes behind it) when it is blank.
    fn set_found(&mut self, line_end: usize, next: usize) -> bool {
        let mut line = &self.buffer[self.start..line_end];
        if let [rest @ .., b'\r'] = line {
            line = rest;
        }
        let blank = match self.framing {
            Framing::Lines => line.iter().all(u8::is_ascii_whitespace),
            Framing::Csv => line.is_empty(),
        };
        self.searched = 0;
        if blank {
            self.start = next;
            return false;
        }
        let (offset, start, len) = (self.position(), self.start, line.len());
        self.found = Some(Found { offset, start, len, next });
        true
    }

    /// The index of the line end that closes the record at `start`.
    fn record_end(&mut self) -> Option<usize> {
        let rest = &self.buffer[self.start..self.end];
        let line_end = match memchr(b'\n', &rest[self.searched..]) {
            Some(index) => self.searched + index,
            None => {
                if self.framing == Framing::Lines {
                    self.searched = rest.len();
                }
                return None;
            }
        };
        let in_record = match self.framing {
            Framing::Csv if memchr(b'"', &rest[..line_end]).is_some() => csv_record_end(rest)?,
            _ => line_end,
        };
        Some(self.start + in_record)
    }

    /// Reads more behind what is there; false when there is no more.
    fn fill(&mut self) -> bool {
        if self.ended || self.failure.is_some() {
            return false;
        }
        self.make_room();
        match self.content.read(&mut self.buffer[self.end..]) {
            Ok(0) => {
                self.ended = true;
                false
            }
            Ok(count) => {
                let at_file_start = self.base == 0 && self.end == 0;
                self.end += count;
                if at_file_start {
                    self.skip_byte_order_mark();
                }
                true
            }
            Err(error) => {
                self.failure = Some(error);
                false
            }
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 && self.buffer.len() - self.end < READ_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.base += self.start as i64;
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < READ_BYTES {
            let wanted = (self.end + READ_BYTES).max(2 * self.end).max(2 * READ_BYTES);
            self.buffer.resize(wanted, 0);
        }
    }

    fn skip_byte_order_mark(&mut self) {
        if self.buffer[..self.end].starts_with(b"\xef\xbb\xbf") {
            self.start = 3;
        }
    }
}

/// The index of the line end that closes the CSV record at the start of `bytes`: quotes count where a field begins, as in
/// the `csv` crate that decodes the record.
fn csv_record_end(bytes: &[u8]) -> Option<usize> {
    #[derive(Clone, Copy)]
    enum At {
        FieldStart,
        Plain,
        Quoted,
        QuoteInQuoted,
    }
    let mut at = At::FieldStart;
    let mut index = 0;
    while index < bytes.len() {
        let byte = bytes[index];
        at = match (at, byte) {
            (At::Quoted, b'"') => At::QuoteInQuoted,
            (At::Quoted, _) => {
                // Nothing but a quote matters here: the rest of a long text is passed at memchr's speed.
                index += memchr(b'"', &bytes[index..])?;
                continue;
            }
            (At::QuoteInQuoted, b'"') | (At::FieldStart, b'"') => At::Quoted,
            (_, b'\n') => return Some(index),
            (_, b',') => At::FieldStart,
            _ => At::Plain,
        };
        index += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::content::Compression;
    use super::*;

    fn splitter(content: &[u8], framing: Framing, take_unfinished: bool) -> (tempfile::NamedTempFile, Splitter) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let opened = File::open(file.path()).unwrap();
        let content = Content::open(opened, Compression::Plain, Arc::default()).unwrap();
        (file, Splitter::new(content, framing, take_unfinished))
    }

    fn records(content: &[u8], framing: Framing, take_unfinished: bool) -> Vec<(i64, String)> {
        let (_file, mut splitter) = splitter(content, framing, take_unfinished);
        let mut records = Vec::new();
        while let Next::Record(found) = splitter.peek().unwrap() {
            records.push((found.offset, String::from_utf8(splitter.bytes(&found).to_vec()).unwrap()));
            splitter.take();
        }
        records
    }

    #[test]
    fn lines_without_their_ends_and_without_blank_ones() {
        let text = b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"a\":2}\n{\"a\":3}";
        let expected = [(3, "{\"a\":1}".to_owned()), (16, "{\"a\":2}".to_owned()), (24, "{\"a\":3}".to_owned())];
        assert_eq!(records(text, Framing::Lines, true), expected);
        assert_eq!(records(text, Framing::Lines, false), expected[..2], "an unfinished line waits for its end");
    }

    #[test]
    fn quoted_line_ends_belong_to_the_csv_record() {
        let text = b"a,\"x\ny\"\r\n5\" pipe,2\n\"say \"\"hi\"\"\n\",3\n\nlast,\"open\n";
        let expected = ["a,\"x\ny\"", "5\" pipe,2", "\"say \"\"hi\"\"\n\",3", "last,\"open\n"];
        let found: Vec<_> = records(text, Framing::Csv, true).into_iter().map(|(_, record)| record).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_record_of_twenty_megabytes_is_one_record() {
        let mut text = vec![b'x'; 20_000_000];
        text.extend(b"\nnext\n");
        let found = records(&text, Framing::Lines, false);
        assert_eq!(
            found.iter().map(|(offset, record)| (*offset, record.len())).collect::<Vec<_>>(),
            [(0, 20_000_000), (20_000_001, 4)]
        );
    }

    #[test]
    fn a_record_without_an_end_is_refused_where_it_starts() {
        let mut text = b"first\n".to_vec();
        text.resize(text.len() + MAX_RECORD_BYTES + (2 << 20), b'x');
        let (_file, mut splitter) = splitter(&text, Framing::Lines, true);
        assert!(matches!(splitter.peek(), Ok(Next::Record(_))));
        splitter.take();
        assert!(matches!(splitter.peek(), Err(Broken::TooLong { offset: 6 })));
    }

    #[test]
    fn skipping_goes_within_the_buffer_and_beyond_it() {
        let text = format!("{}\n{}\n", "x".repeat(3 << 20), "y".repeat(10));
        let (_file, mut splitter) = splitter(text.as_bytes(), Framing::Lines, false);
        assert!(splitter.skip_to((3 << 20) + 1).unwrap());
        let Ok(Next::Record(found)) = splitter.peek() else { panic!("no record behind the skip") };
        assert_eq!((found.offset, splitter.bytes(&found)), ((3 << 20) + 1, &b"yyyyyyyyyy"[..]));
        assert!(!splitter.skip_to(1 << 30).unwrap(), "beyond the end");
    }

    proptest! {
        #[test]
        fn csv_records_are_those_of_the_csv_crate(text in "([ab,\"\n]|\r\n){0,60}") {
            let ours: Vec<Vec<String>> = records(text.as_bytes(), Framing::Csv, true)
                .iter()
                .flat_map(|(_, record)| csv_rows(record))
                .collect();
            prop_assert_eq!(ours, csv_rows(&text));
        }
    }

    fn csv_rows(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }
}
