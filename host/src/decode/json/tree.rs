//! The declared fields as a tree: `device.os` and `device.model` are two fields of one object. Columns that nobody
//! needs stay in it as names, so that their fields are not taken for unknown ones; their values are stepped over.

use std::mem;
use std::ops::Range;

use millstream_sdk::LogicalType;
use rustc_hash::FxHashMap;

use super::cursor::Cursor;
use super::object::{Fields, key_in, object};
use super::shape::{FieldId, Shape, UNKNOWN};
use super::unknown::duplicate;
use super::value::{Scratch, value};
use crate::config::{ColumnFrom, SourceColumn};
use crate::decode::column::Column;
use crate::decode::flaw::{Checked, Flaw, Reason};
use crate::error::{Error, ErrorKind, Result};

/// The declared fields of a source's records.
#[derive(Debug)]
pub(in crate::decode) struct Tree {
    /// The first one is the record itself.
    nodes: Vec<Node>,
    /// The number of the record that is being read.
    record: u64,
    /// Columns that got a value from it.
    filled: usize,
    /// The place in the schema's columns -> the column's name, for messages.
    names: Vec<String>,
}

/// A declared field.
#[derive(Debug, Default)]
struct Node {
    name: String,
    taker: Taker,
    /// The needed columns that take the field's value: most fields have one, unneeded ones none.
    columns: Vec<usize>,
    /// The field of the object that the value is, by name.
    children: FxHashMap<Box<[u8]>, FieldId>,
    /// Whether a needed column takes a value from inside the object.
    needed_below: bool,
    shape: Shape,
    /// The last record that had the field.
    record: u64,
}

/// Who takes a field's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Taker {
    /// Nobody: it is stepped over.
    #[default]
    Nobody,
    /// One column.
    Column(usize),
    /// One column of structs: what is unknown in its objects is kept under the field's name.
    Struct(usize),
    /// Several columns, the same value.
    Several,
    /// Columns that take a part of the object.
    Parts,
}

/// A needed column: its index in the source's `columns`.
pub(in crate::decode) type Needed<'a> = (usize, &'a SourceColumn);

impl Tree {
    /// `columns`: all declared ones; `needed`: those that are decoded, in the order of the decoder's columns.
    pub(in crate::decode) fn new(columns: &[SourceColumn], needed: &[Needed<'_>]) -> Result<Self> {
        let names = needed.iter().map(|(_, column)| column.name.value.clone()).collect();
        let mut tree = Self { nodes: vec![Node::default()], record: 0, filled: 0, names };
        let mut takers: Vec<Vec<&SourceColumn>> = vec![Vec::new()];
        for (index, column) in columns.iter().enumerate() {
            let ColumnFrom::Field(path) = &column.from else { continue };
            let slot = needed.iter().position(|(of, _)| *of == index);
            let leaf = tree.leaf(path, slot.is_some())?;
            takers.resize(tree.nodes.len(), Vec::new());
            takers[leaf].push(column);
            tree.nodes[leaf].columns.extend(slot);
        }
        for (node, takers) in tree.nodes.iter().zip(&takers) {
            let Some(first) = takers.first() else { continue };
            if !node.children.is_empty() || (takers.len() > 1 && takers.iter().any(|taker| has_struct(&taker.logical)))
            {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "column \"{}\" takes the field \"{}\" as a whole while another column takes it or a part of it",
                        first.name.value, node.name
                    ),
                )
                .help("take an object either as one struct column or field by field (`from = \"device.os\"`)"));
            }
        }
        for node in &mut tree.nodes {
            node.taker = match *node.columns {
                [] if node.children.is_empty() => Taker::Nobody,
                [] => Taker::Parts,
                [column] if matches!(needed[column].1.logical, LogicalType::Struct(_)) => Taker::Struct(column),
                [column] => Taker::Column(column),
                _ => Taker::Several,
            };
        }
        Ok(tree)
    }

    /// The node at the end of a path, made where it is not there yet.
    fn leaf(&mut self, path: &[String], needed: bool) -> Result<usize> {
        let mut node = 0;
        for name in path {
            self.nodes[node].needed_below |= needed;
            let next = self.nodes.len();
            let id = FieldId::try_from(next).map_err(|_| Error::new(ErrorKind::Config, "too many columns"))?;
            let child = *self.nodes[node].children.entry(name.as_bytes().into()).or_insert(id) as usize;
            if child == next {
                self.nodes.push(Node { name: name.clone(), ..Node::default() });
            }
            node = child;
        }
        Ok(node)
    }

    /// Reads a record and appends a value to every column. When it fails the columns may be left uneven.
    pub(in crate::decode) fn record(
        &mut self,
        cursor: &mut Cursor<'_>,
        columns: &mut [Column],
        scratch: &mut Scratch,
        rows: usize,
    ) -> Checked<()> {
        self.record += 1;
        self.filled = 0;
        cursor.skip_blanks();
        if cursor.peek() != Some(b'{') {
            return Err(no_object(cursor));
        }
        self.object(0, cursor, columns, scratch)?;
        cursor.end()?;
        if self.filled < self.names.len() {
            for (column, name) in columns.iter_mut().zip(&self.names) {
                if column.len() == rows {
                    column.null(Reason::MissingField).map_err(|flaw| flaw.within(name))?;
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        node: usize,
        cursor: &mut Cursor<'_>,
        columns: &mut [Column],
        scratch: &mut Scratch,
    ) -> Checked<()> {
        let mut shape = mem::take(&mut self.nodes[node].shape);
        let read = object(cursor, &mut shape, &mut TreeFields { tree: self, node, columns, scratch });
        self.nodes[node].shape = shape;
        read
    }
}

#[cold]
fn no_object(cursor: &mut Cursor<'_>) -> Box<Flaw> {
    let start = cursor.at;
    match cursor.skip_value().and_then(|()| cursor.end()) {
        Ok(()) => Flaw::found(Reason::NotAnObject, "an object", &cursor.text[start..]),
        Err(flaw) => flaw,
    }
}

fn has_struct(logical: &LogicalType) -> bool {
    match logical {
        LogicalType::Struct(_) => true,
        LogicalType::List(item) => has_struct(&item.logical),
        _ => false,
    }
}

/// The fields of one node, while one of its objects is read.
struct TreeFields<'a> {
    tree: &'a mut Tree,
    node: usize,
    columns: &'a mut [Column],
    scratch: &'a mut Scratch,
}

impl Fields for TreeFields<'_> {
    fn find(&self, key: &[u8]) -> FieldId {
        self.tree.nodes[self.node].children.get(key).copied().unwrap_or(UNKNOWN)
    }

    #[inline]
    fn field(&mut self, cursor: &mut Cursor<'_>, field: FieldId, lead: Range<usize>) -> Checked<()> {
        let Some(node) = self.tree.nodes.get_mut(field as usize) else {
            return self.scratch.unknown.meet(cursor, lead);
        };
        if node.record == self.tree.record {
            return Err(duplicate(key_in(cursor, lead)));
        }
        node.record = self.tree.record;
        match node.taker {
            Taker::Nobody => cursor.skip_value(),
            Taker::Column(column) => self.column(cursor, column),
            Taker::Struct(column) => self.structure(cursor, column, lead),
            Taker::Several => self.several(cursor, field as usize),
            Taker::Parts => self.parts(cursor, field as usize, lead),
        }
    }
}

impl TreeFields<'_> {
    #[inline]
    fn column(&mut self, cursor: &mut Cursor<'_>, index: usize) -> Checked<()> {
        self.tree.filled += 1;
        match value(cursor, &mut self.columns[index], self.scratch) {
            Ok(()) => Ok(()),
            Err(flaw) => Err(flaw.within(&self.tree.names[index])),
        }
    }

    fn structure(&mut self, cursor: &mut Cursor<'_>, index: usize, lead: Range<usize>) -> Checked<()> {
        let outer = self.scratch.unknown.open(cursor, lead);
        self.column(cursor, index)?;
        self.scratch.unknown.close(outer);
        Ok(())
    }

    /// Several columns take the same value.
    fn several(&mut self, cursor: &mut Cursor<'_>, node: usize) -> Checked<()> {
        let start = cursor.at;
        for at in 0..self.tree.nodes[node].columns.len() {
            cursor.at = start;
            self.column(cursor, self.tree.nodes[node].columns[at])?;
        }
        Ok(())
    }

    /// Columns take values from inside the object. An object that is null has no fields.
    fn parts(&mut self, cursor: &mut Cursor<'_>, node: usize, lead: Range<usize>) -> Checked<()> {
        let needed = self.tree.nodes[node].needed_below;
        match cursor.peek() {
            Some(b'{') if needed || self.scratch.unknown.matters() => {
                let outer = self.scratch.unknown.open(cursor, lead);
                self.tree.object(node, cursor, self.columns, self.scratch)?;
                self.scratch.unknown.close(outer);
                Ok(())
            }
            Some(b'{' | b'n') => cursor.skip_value(),
            _ => {
                let start = cursor.at;
                cursor.skip_value()?;
                if !needed {
                    return Ok(());
                }
                let flaw = Flaw::found(Reason::WrongType, "an object", &cursor.text[start..cursor.at]);
                Err(flaw.within(&self.tree.nodes[node].name))
            }
        }
    }
}
