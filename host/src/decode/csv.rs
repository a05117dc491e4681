//! CSV (RFC 4180): one record, without its line end, into one row. A field that is empty and not quoted is null.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::column::{Column, Values};
use super::flaw::{Checked, Flaw, Reason};
use super::json::{Cursor, Needed, Scratch, number_into, text_into, value};
use super::number::{Number, Writing};
use crate::config::{ColumnFrom, SourceColumn};
use crate::error::{Error, ErrorKind, Result};

/// The columns of a CSV source, bound to the header of the file that is being read.
#[derive(Debug)]
pub(super) struct CsvFields {
    /// Header name -> the needed columns that take the field; empty for a column that nobody needs.
    declared: FxHashMap<String, Vec<usize>>,
    names: Vec<String>,
    header: Option<Arc<[String]>>,
    /// What each field of a record is for; none: no column names it.
    fields: Vec<Option<Vec<usize>>>,
    /// The needed columns that the header does not have.
    absent: Vec<usize>,
    text: Vec<u8>,
}

impl CsvFields {
    pub(super) fn new(columns: &[SourceColumn], needed: &[Needed<'_>]) -> Self {
        let mut declared: FxHashMap<String, Vec<usize>> = FxHashMap::default();
        for (index, column) in columns.iter().enumerate() {
            if let ColumnFrom::Field(path) = &column.from {
                let slot = needed.iter().position(|(of, _)| *of == index);
                declared.entry(path.join(".")).or_default().extend(slot);
            }
        }
        let names = needed.iter().map(|(_, column)| column.name.value.clone()).collect();
        Self { declared, names, header: None, fields: Vec::new(), absent: Vec::new(), text: Vec::new() }
    }

    /// Binds the columns to a file's header.
    pub(super) fn bind(&mut self, header: Option<&Arc<[String]>>) -> Result<()> {
        let header = header.ok_or_else(|| Error::new(ErrorKind::Internal, "CSV records came without a header"))?;
        if self.header.as_ref().is_some_and(|bound| Arc::ptr_eq(bound, header) || bound == header) {
            return Ok(());
        }
        for (at, name) in header.iter().enumerate() {
            if self.declared.contains_key(name) && header[..at].contains(name) {
                return Err(Error::new(ErrorKind::Input, format!("the CSV header names the field \"{name}\" twice"))
                    .help("rename one of them in the file"));
            }
        }
        self.fields = header.iter().map(|name| self.declared.get(name).cloned()).collect();
        let present = |column: &usize| self.fields.iter().flatten().any(|columns| columns.contains(column));
        self.absent = (0..self.names.len()).filter(|column| !present(column)).collect();
        self.header = Some(Arc::clone(header));
        Ok(())
    }

    /// Reads a record and appends a value to every column. When it fails the columns may be left uneven.
    pub(super) fn record(&mut self, record: &[u8], columns: &mut [Column], scratch: &mut Scratch) -> Checked<()> {
        let header = self.header.as_deref().unwrap_or_default();
        let mut rest = Some(record);
        for (at, takers) in self.fields.iter().enumerate() {
            let Some(text) = rest else { return Err(field_count(record, header)) };
            let field = Field::read(text, &mut self.text)?;
            rest = field.rest;
            match takers {
                Some(takers) => {
                    for &column in takers {
                        field.append(&mut columns[column], scratch).map_err(|flaw| flaw.within(&self.names[column]))?;
                    }
                }
                None if field.is_null() => {}
                None => scratch.unknown.meet_text(&header[at], &String::from_utf8_lossy(field.value))?,
            }
        }
        if rest.is_some() {
            return Err(field_count(record, header));
        }
        for &column in &self.absent {
            columns[column].null(Reason::MissingField).map_err(|flaw| flaw.within(&self.names[column]))?;
        }
        Ok(())
    }
}

#[cold]
fn field_count(record: &[u8], header: &[String]) -> Box<Flaw> {
    match split(record) {
        Ok(fields) => {
            let what = format!("{} fields, but the header has {}", fields.len(), header.len());
            Flaw::new(Reason::WrongFieldCount, what)
        }
        Err(flaw) => flaw,
    }
}

/// The fields of a record; none for a null.
pub(super) fn split(record: &[u8]) -> Checked<Vec<Option<Vec<u8>>>> {
    let (mut fields, mut rest, mut scratch) = (Vec::new(), Some(record), Vec::new());
    while let Some(text) = rest {
        let field = Field::read(text, &mut scratch)?;
        fields.push((!field.is_null()).then(|| field.value.to_vec()));
        rest = field.rest;
    }
    Ok(fields)
}

/// One field of a record.
struct Field<'r, 'v> {
    value: &'v [u8],
    quoted: bool,
    /// What follows its comma; none behind the last field.
    rest: Option<&'r [u8]>,
}

impl<'r: 'v, 'v> Field<'r, 'v> {
    /// Reads the field at the start of `text`; its value is in `scratch` when it has doubled quotes.
    fn read(text: &'r [u8], scratch: &'v mut Vec<u8>) -> Checked<Self> {
        let Some(body) = text.strip_prefix(b"\"") else {
            let end = memchr::memchr(b',', text);
            let value = &text[..end.unwrap_or(text.len())];
            return Ok(Self { value, quoted: false, rest: end.map(|end| &text[end + 1..]) });
        };
        scratch.clear();
        let (mut from, mut doubled) = (0, false);
        loop {
            let Some(end) = memchr::memchr(b'"', &body[from..]).map(|end| from + end) else {
                return Err(Flaw::found(Reason::BadCsv, "a closing quote", text));
            };
            if body.get(end + 1) == Some(&b'"') {
                scratch.extend_from_slice(&body[from..=end]);
                (from, doubled) = (end + 2, true);
                continue;
            }
            let rest = match body[end + 1..].split_first() {
                None => None,
                Some((b',', rest)) => Some(rest),
                Some(_) => {
                    return Err(Flaw::found(Reason::BadCsv, "a comma behind the closing quote", &body[end + 1..]));
                }
            };
            if !doubled {
                return Ok(Self { value: &body[..end], quoted: true, rest });
            }
            scratch.extend_from_slice(&body[from..end]);
            return Ok(Self { value: scratch, quoted: true, rest });
        }
    }

    fn is_null(&self) -> bool {
        self.value.is_empty() && !self.quoted
    }

    fn append(&self, column: &mut Column, scratch: &mut Scratch) -> Checked<()> {
        if self.is_null() {
            return column.null(Reason::NullValue);
        }
        let text = self.value;
        match &mut column.values {
            Values::Utf8(bytes) => {
                bytes.push(text);
                Ok(())
            }
            Values::Bool(values) => {
                values.push(match text {
                    b"true" | b"True" | b"TRUE" => true,
                    b"false" | b"False" | b"FALSE" => false,
                    _ => return Err(Flaw::found(Reason::WrongType, &column.logical, text)),
                });
                Ok(())
            }
            Values::List { .. } | Values::Struct(_) => {
                let mut cursor = Cursor::new(text, 0, text.len());
                value(&mut cursor, column, scratch)?;
                cursor.end()
            }
            Values::Binary(_) | Values::Uuid(_) | Values::Date(_) => text_into(text, column),
            _ => match Number::whole(text, Writing::Csv) {
                Some(number) => number_into(&number, column),
                None => match text_into(text, column) {
                    Err(flaw) if flaw.reason == Reason::WrongType => {
                        Err(Flaw::found(Reason::WrongType, &column.logical, text))
                    }
                    other => other,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(record: &str) -> std::result::Result<Vec<Option<String>>, Reason> {
        let fields = split(record.as_bytes()).map_err(|flaw| flaw.reason)?;
        let text = |field: Vec<u8>| String::from_utf8(field).expect("utf8");
        Ok(fields.into_iter().map(|field| field.map(text)).collect())
    }

    #[test]
    fn a_quoted_empty_field_differs_from_an_empty_one() {
        assert_eq!(fields("a,,\"\""), Ok(vec![Some("a".into()), None, Some(String::new())]));
    }

    #[test]
    fn broken_quotes_are_refused() {
        assert_eq!(fields("\"a"), Err(Reason::BadCsv));
        assert_eq!(fields("\"a\"b,c"), Err(Reason::BadCsv));
        assert_eq!(fields("5\" pipe,x"), Ok(vec![Some("5\" pipe".into()), Some("x".into())]));
    }

    proptest! {
        #[test]
        fn what_the_csv_crate_writes_is_read_back(written in proptest::collection::vec("[ab,\"\n é]{0,6}", 1..6)) {
            let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\x01')).from_writer(Vec::new());
            writer.write_record(&written).expect("memory");
            let text = String::from_utf8(writer.into_inner().expect("memory")).expect("utf8");
            let read = fields(text.trim_end_matches('\x01'));
            let read = read.map(|fields| fields.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>());
            prop_assert_eq!(read, Ok(written));
        }
    }
}
