//! Ready-made stage `explode`: a row for each item of a list column. docs/ready-made.md has the table of keys.
//!
//! The items of a batch lie end to end already, so where no list is empty they become the new column as they are; only
//! the numbers of the rows that they belong to are made.

use std::collections::BTreeMap;

use millstream_sdk::columnwise::{Fates, NULL_ROW, is_set};
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType, Nested, Node, Values};

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// The list column.
    column: String,
    /// The column of the items; the list's own name without it. Not with `fields`.
    into: Option<String>,
    /// When items are structs: by field its new column; `{}` makes a column of each field, by its own name.
    fields: Option<BTreeMap<String, String>>,
    /// The new column that counts a list's items from 0.
    index: Option<String>,
    /// What becomes of a row whose list is empty or null: it is kept with a null (`"keep"`, the default), or filtered as
    /// `empty_list` (`"filter"`).
    #[serde(default)]
    empty: Empty,
}

/// What becomes of a row without items.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// It is kept once, with a null.
    #[default]
    Keep,
    /// It is filtered.
    Filter,
}

/// The stage.
pub struct Explode {
    item: Nested,
    /// The fields of the item that become columns; none when the item is the column.
    fields: Option<Vec<usize>>,
    with_index: bool,
    empty: Empty,
}

impl Stage for Explode {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        let field = given.require("column", &config.column)?.clone();
        let LogicalType::List(item) = field.logical.clone() else {
            let message = format!("column `{}` is {}; it takes a list<..>", field.name, field.logical);
            return Err(ConfigError::key("column", message));
        };
        let item = *item;
        let kept_empty = config.empty == Empty::Keep;
        let (fields, mut writes) = match (config.fields, &config.into) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::key("into", "with `fields` each field has its own column: take `into` away"));
            }
            (Some(wanted), None) => {
                let (fields, writes) = chosen(wanted, &item, kept_empty)?;
                (Some(fields), writes)
            }
            (None, into) => {
                let name = into.clone().unwrap_or_else(|| field.name.clone());
                let nullable = item.nullable || kept_empty;
                (None, vec![Field { name, logical: item.logical.clone(), nullable }])
            }
        };
        if let Some(name) = &config.index {
            if writes.iter().any(|written| written.name == *name) {
                return Err(ConfigError::key("index", format!("column `{name}` is already written by another key")));
            }
            writes.push(Field { name: name.clone(), logical: LogicalType::Int32, nullable: kept_empty });
        }
        let stage = Self { item, fields, with_index: config.index.is_some(), empty: config.empty };
        Ok((stage, Contract { reads: vec![field], writes, ..Contract::default() }))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        let mut nodes = batch.columns.into_iter().next().map_or_else(Vec::new, |column| column.nodes).into_iter();
        let Some(Node { validity, values: Values::Offsets(offsets) }) = nodes.next() else {
            return Err(Failure::fatal("a list was expected, but the column has no offsets"));
        };
        if offsets.len() != batch.rows as usize + 1 {
            return Err(Failure::fatal(format!("a list has {} offsets for {} rows", offsets.len(), batch.rows)));
        }
        let mut fates = Fates::new(batch.rows);
        let exploded = Exploded::new(&offsets, &validity, self.empty, &mut fates);
        let items = Column { nodes: nodes.collect() };
        let items = match exploded.are_all_items(&offsets) {
            true => items,
            false => items.take(&self.item.logical, &exploded.items),
        };
        let mut columns = match &self.fields {
            None => vec![items],
            Some(fields) => self.fields_of(items, fields, exploded.rows.len())?,
        };
        if self.with_index {
            columns.push(exploded.index());
        }
        Ok(fates.finish_rows(Some(exploded.rows), columns, Vec::new()))
    }
}

/// The chosen fields of a struct, and their columns.
fn chosen(
    wanted: BTreeMap<String, String>,
    item: &Nested,
    kept_empty: bool,
) -> Result<(Vec<usize>, Vec<Field>), ConfigError> {
    let LogicalType::Struct(fields) = &item.logical else {
        let message = format!("the items are {item}, not structs: take `fields` away");
        return Err(ConfigError::key("fields", message));
    };
    let wanted: Vec<(String, String)> = if wanted.is_empty() {
        fields.iter().map(|(name, _)| (name.clone(), name.clone())).collect()
    } else {
        wanted.into_iter().collect()
    };
    let (mut indexes, mut writes) = (Vec::new(), Vec::<Field>::new());
    for (name, column) in wanted {
        let key = format!("fields.{name}");
        let Some(index) = fields.iter().position(|(field, _)| *field == name) else {
            let names: Vec<&str> = fields.iter().map(|(field, _)| field.as_str()).collect();
            return Err(ConfigError::key(
                key,
                format!("the items have no such field; they have: {}", names.join(", ")),
            ));
        };
        if writes.iter().any(|written| written.name == column) {
            return Err(ConfigError::key(key, format!("column `{column}` is already written by another field")));
        }
        let nested = &fields[index].1;
        let nullable = nested.nullable || item.nullable || kept_empty;
        writes.push(Field { name: column, logical: nested.logical.clone(), nullable });
        indexes.push(index);
    }
    Ok((indexes, writes))
}

/// Where output rows come from.
struct Exploded {
    /// The input row of each.
    rows: Vec<u32>,
    /// The item of each; [`NULL_ROW`] for a row without one.
    items: Vec<u32>,
    /// Whether there is a row without an item, or an item without a row.
    gaps: bool,
}

impl Exploded {
    fn new(offsets: &[u32], validity: &[u8], empty: Empty, fates: &mut Fates) -> Self {
        let most = offsets.last().map_or(0, |last| *last as usize);
        let (mut rows, mut items) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let (mut gaps, mut next) = (false, 0);
        for (row, ends) in (0_u32..).zip(offsets.windows(2)) {
            let (start, end) = (ends[0], ends[1]);
            let is_valid = validity.is_empty() || is_set(validity, row as usize);
            if is_valid && start < end {
                gaps |= start != next;
                next = end;
                rows.extend(std::iter::repeat_n(row, (end - start) as usize));
                items.extend(start..end);
            } else if empty == Empty::Filter {
                fates.filter(row, "empty_list");
            } else {
                gaps = true;
                rows.push(row);
                items.push(NULL_ROW);
            }
        }
        Self { rows, items, gaps }
    }

    /// Whether the output rows are the items, one for one.
    fn are_all_items(&self, offsets: &[u32]) -> bool {
        !self.gaps && offsets.last().is_none_or(|last| *last as usize == self.items.len())
    }

    /// For each output row its number among those of its list.
    fn index(&self) -> Column {
        let mut count = 0;
        let mut before = None;
        let numbers = self.rows.iter().zip(&self.items).map(|(row, item)| {
            count = if before == Some(*row) { count + 1 } else { 0 };
            before = Some(*row);
            (*item != NULL_ROW, count)
        });
        let (valid, values): (Vec<bool>, Vec<i32>) = numbers.unzip();
        let all_valid = valid.iter().all(|valid| *valid);
        let validity = if all_valid { Vec::new() } else { millstream_sdk::columnwise::pack(&valid) };
        Column { nodes: vec![Node { validity, values: Values::Int32(values) }] }
    }
}

impl Explode {
    /// The chosen fields of a column of structs, each a column of its own: null where the struct is.
    fn fields_of(&self, items: Column, wanted: &[usize], rows: usize) -> Result<Vec<Column>, Failure> {
        let LogicalType::Struct(fields) = &self.item.logical else {
            return Err(Failure::fatal("the items are no structs"));
        };
        let mut nodes = items.nodes.into_iter();
        let structs = nodes.next().map(|node| node.validity).unwrap_or_default();
        let mut children: Vec<Option<Column>> = Vec::with_capacity(fields.len());
        for (_, nested) in fields {
            let mut column = Column { nodes: nodes.by_ref().take(nodes_of(&nested.logical)).collect() };
            if let Some(node) = column.nodes.first_mut()
                && !structs.is_empty()
            {
                let bytes = rows.div_ceil(8);
                let own = std::mem::take(&mut node.validity);
                let byte = |at: usize| structs[at] & own.get(at).copied().unwrap_or(0xff);
                node.validity = (0..bytes).map(byte).collect();
            }
            children.push(Some(column));
        }
        let take = |index: &usize| children.get_mut(*index).and_then(Option::take);
        wanted
            .iter()
            .map(take)
            .collect::<Option<_>>()
            .ok_or_else(|| Failure::fatal("a field did not come with the items"))
    }
}

/// How many nodes the column of a type has.
fn nodes_of(logical: &LogicalType) -> usize {
    1 + match logical {
        LogicalType::List(item) => nodes_of(&item.logical),
        LogicalType::Struct(fields) => fields.iter().map(|(_, field)| nodes_of(&field.logical)).sum(),
        _ => 0,
    }
}

millstream_sdk::export!(Explode);

#[cfg(test)]
mod tests;
