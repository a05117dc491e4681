//! Fields that no column names: ignored, refused, or kept as one JSON object.

use std::collections::HashSet;
use std::ops::Range;

use super::cursor::Cursor;
use super::object::key_in;
use crate::config::Unknown;
use crate::decode::flaw::{Checked, Flaw, Reason, shortened};

/// What happened to the unknown fields of the record that is being read.
#[derive(Debug)]
pub(in crate::decode) struct UnknownFields {
    policy: Policy,
    /// Unknown fields met so far, in all records.
    pub(in crate::decode) count: u64,
    /// The kept ones as JSON; the object is open.
    kept: Vec<u8>,
    /// The kept keys of each object that is open.
    keys: Vec<HashSet<Vec<u8>>>,
    /// Items of lists are many: there is no place for theirs in one object.
    lists: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Ignore,
    Reject,
    Keep,
}

/// The object that was open before another one was.
pub(super) struct Outer {
    length: usize,
}

impl UnknownFields {
    /// `keep_needed`: whether somebody reads the column that unknown fields are kept in.
    pub(in crate::decode) fn new(unknown: &Unknown, keep_needed: bool) -> Self {
        let policy = match unknown {
            Unknown::Reject => Policy::Reject,
            Unknown::Keep(_) if keep_needed => Policy::Keep,
            Unknown::Ignore | Unknown::Keep(_) => Policy::Ignore,
        };
        Self { policy, count: 0, kept: Vec::new(), keys: Vec::new(), lists: 0 }
    }

    /// Whether an unknown field does more than to be counted.
    pub(super) fn matters(&self) -> bool {
        self.policy != Policy::Ignore
    }

    /// A record begins.
    pub(in crate::decode) fn begin(&mut self) {
        self.lists = 0;
        if self.policy == Policy::Keep {
            self.kept.clear();
            self.kept.push(b'{');
            self.keys.clear();
            self.keys.push(HashSet::new());
        }
    }

    /// The record's unknown fields as a JSON object; none when it has none.
    pub(in crate::decode) fn kept(&mut self) -> Option<&[u8]> {
        if self.kept.len() <= 1 {
            return None;
        }
        self.kept.push(b'}');
        Some(&self.kept)
    }

    /// An unknown field of a CSV record, whose value is a text.
    pub(in crate::decode) fn meet_text(&mut self, name: &str, value: &str) -> Checked<()> {
        self.count += 1;
        match self.policy {
            Policy::Ignore => {}
            Policy::Reject => return Err(refused(name.as_bytes())),
            Policy::Keep => {
                let quoted = serde_json::Value::from(name).to_string();
                self.key(&quoted.as_bytes()[1..quoted.len() - 1]);
                self.kept.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
            }
        }
        Ok(())
    }

    /// The value under the cursor is an unknown field's.
    #[inline]
    pub(super) fn meet(&mut self, cursor: &mut Cursor<'_>, lead: Range<usize>) -> Checked<()> {
        self.count += 1;
        match self.policy {
            Policy::Ignore => cursor.skip_value(),
            Policy::Reject => Err(refused(key_in(cursor, lead))),
            Policy::Keep if self.lists > 0 => cursor.skip_value(),
            Policy::Keep => self.keep(cursor, lead),
        }
    }

    fn keep(&mut self, cursor: &mut Cursor<'_>, lead: Range<usize>) -> Checked<()> {
        let key = key_in(cursor, lead);
        if let Some(keys) = self.keys.last_mut()
            && !keys.insert(decoded(key)?)
        {
            return Err(duplicate(key));
        }
        let start = cursor.at;
        cursor.skip_value()?;
        self.key(key);
        self.kept.extend_from_slice(&cursor.text[start..cursor.at]);
        Ok(())
    }

    /// Writes a key, which is escaped already.
    fn key(&mut self, key: &[u8]) {
        if self.kept.last() != Some(&b'{') {
            self.kept.push(b',');
        }
        self.kept.push(b'"');
        self.kept.extend_from_slice(key);
        self.kept.extend_from_slice(b"\":");
    }

    /// An object of a known field begins.
    pub(super) fn open(&mut self, cursor: &Cursor<'_>, lead: Range<usize>) -> Outer {
        let outer = Outer { length: self.kept.len() };
        if self.policy == Policy::Keep && self.lists == 0 {
            self.key(key_in(cursor, lead));
            self.kept.push(b'{');
            self.keys.push(HashSet::new());
        }
        outer
    }

    /// The object ends; it is not kept when nothing in it was unknown.
    pub(super) fn close(&mut self, outer: Outer) {
        if self.policy == Policy::Keep && self.lists == 0 {
            self.keys.pop();
            if self.kept.last() == Some(&b'{') {
                self.kept.truncate(outer.length);
            } else {
                self.kept.push(b'}');
            }
        }
    }

    /// A list begins.
    pub(super) fn open_list(&mut self) {
        self.lists += 1;
    }

    /// The list ends.
    pub(super) fn close_list(&mut self) {
        self.lists -= 1;
    }
}

/// A key without its escapes.
fn decoded(key: &[u8]) -> Checked<Vec<u8>> {
    let quoted = [b"\"", key, b"\""].concat();
    let mut decoded = Vec::new();
    Cursor::new(&quoted, 0, quoted.len()).string_into(&mut decoded)?;
    Ok(decoded)
}

fn refused(key: &[u8]) -> Box<Flaw> {
    Flaw::new(Reason::UnknownField, format!("no column names the field \"{}\"", shortened(key)))
}

/// A key that stands twice.
pub(super) fn duplicate(key: &[u8]) -> Box<Flaw> {
    Flaw::new(Reason::DuplicateKey, format!("the field \"{}\" stands twice", shortened(key)))
}
