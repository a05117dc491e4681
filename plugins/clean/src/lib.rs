//! Ready-made stage `clean`: columns are trimmed, cast, checked and filled in by rules of the pipeline file.
//!
//! A column's rules apply in one order, whatever order they are written in: `trim`, `case`, `empty`, `pattern` (of text),
//! `cast`, `min` and `max`, `default`, `required`. A value that breaks `pattern`, `cast`, `min` or `max` is *invalid*: its
//! row is rejected or, with `invalid = "null"`, the value is null from there on. docs/ready-made.md has the table of keys.
//!
//! Text is worked on in slots: once per distinct value where it comes as a dictionary.

mod cast;
mod data;
mod rule;
mod time;

use std::collections::BTreeMap;

use millstream_sdk::columnwise::{Bits, Fates, NULL_ROW, Texts, is_set};
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, Dictionary, LogicalType, Node, Values};

use data::{Data, Fault};
use rule::Rule;
pub use rule::{Case, Empty, Invalid, Scalar, Settings};

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// By column what is done with it.
    columns: BTreeMap<String, Settings>,
}

/// The stage.
pub struct Clean {
    rules: Vec<Rule>,
    writes: Vec<Field>,
}

impl Stage for Clean {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        if config.columns.is_empty() {
            let message = "name the columns: columns = { email = { trim = true, required = true } }";
            return Err(ConfigError::key("columns", message));
        }
        let (mut rules, mut reads, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for (name, settings) in config.columns {
            let key = format!("columns.{name}");
            let field = given.require(&key, &name)?;
            let (rule, written) = Rule::new(&key, field, settings)?;
            rules.push(rule);
            reads.push(field.clone());
            writes.push(written);
        }
        let contract = Contract { reads, writes: writes.clone(), ..Contract::default() };
        Ok((Self { rules, writes }, contract))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        let mut fates = Fates::new(batch.rows);
        let mut columns = Vec::with_capacity(self.rules.len());
        for (rule, column) in self.rules.iter().zip(batch.columns) {
            columns.push(clean(rule, column, &mut fates)?);
        }
        Ok(fates.finish(&self.writes, columns))
    }
}

/// One column by its rule. The column has all rows; those that were refused hold anything.
fn clean(rule: &Rule, column: Column, fates: &mut Fates) -> Result<Column, Failure> {
    let rows = fates.rows() as usize;
    if rule.from == LogicalType::Utf8 {
        let texts = Texts::of(&column, rows)?;
        let (data, faults) = rule.clean_texts(&texts);
        let detail = |row: usize| texts.slot(texts.slot_of(row)).to_owned();
        let valid = |row: usize| !texts.is_null(row);
        let verdict = judge(rule, fates, &faults, texts.has_nulls(), valid, |row| texts.slot_of(row), detail);
        return Ok(finish(rule, data, &verdict, (!texts.slots_are_rows()).then_some(&texts)));
    }
    let validity = column.nodes.first().map(|node| node.validity.clone()).unwrap_or_default();
    let valid = |row: usize| validity.is_empty() || is_set(&validity, row);
    if rule.only_asks_for_values() {
        // Only nulls are looked at, so a column of any type passes through.
        let any_null = !validity.is_empty();
        judge(rule, fates, &[], any_null, valid, |row| row, |_| String::new());
        return Ok(column);
    }
    let data = Data::load(column, &rule.from, rows)?;
    let (data, faults, before) = rule.clean_data(data);
    let detail = |row: usize| before.as_ref().map_or_else(String::new, |before| before.text(row, &rule.from));
    let verdict = judge(rule, fates, &faults, !validity.is_empty(), valid, |row| row, detail);
    Ok(finish(rule, data, &verdict, None))
}

/// What becomes of the rows of a column: by row `VALUE`, `NULL` or `DEFAULT`; empty when all are values.
type Verdict = Vec<u8>;
const VALUE: u8 = 0;
const NULL: u8 = 1;
const DEFAULT: u8 = 2;

/// Decides about each row, and rejects those that are to be. `faults` are by slot, empty when there is none.
fn judge(
    rule: &Rule,
    fates: &mut Fates,
    faults: &[Fault],
    has_nulls: bool,
    is_valid: impl Fn(usize) -> bool,
    slot_of: impl Fn(usize) -> usize,
    detail: impl Fn(usize) -> String,
) -> Verdict {
    if !has_nulls && faults.is_empty() {
        return Verdict::new();
    }
    let mut verdict = vec![VALUE; fates.rows() as usize];
    for (row, decided) in verdict.iter_mut().enumerate() {
        let fault = match is_valid(row) {
            false => Fault::Null,
            true => faults.get(if faults.is_empty() { 0 } else { slot_of(row) }).copied().unwrap_or(Fault::None),
        };
        if fault == Fault::None {
            continue;
        }
        if fault != Fault::Null && rule.invalid == Invalid::Reject {
            fates.reject(row as u32, fault.reason(), rule.complaint(fault, &detail(row)));
        } else if rule.default.is_some() {
            *decided = DEFAULT;
            continue;
        } else if rule.required {
            fates.reject(row as u32, "missing", format!("column `{}` is null", rule.name));
        }
        *decided = NULL;
    }
    verdict
}

/// The column of a rule's data. With `texts` the data have a row for each of its slots.
fn finish(rule: &Rule, mut data: Data, verdict: &[u8], texts: Option<&Texts<'_>>) -> Column {
    let with_default = verdict.contains(&DEFAULT);
    let default_slot = data.len() as u32;
    if let (true, Some(default)) = (with_default, &rule.default) {
        data.push(default);
    }
    let index = |row: usize, slot: u32| match verdict.get(row) {
        Some(&DEFAULT) => default_slot,
        Some(&NULL) => NULL_ROW,
        _ => slot,
    };
    let rows: Option<Vec<u32>> = match texts {
        Some(texts) => Some(texts.rows().into_iter().enumerate().map(|(row, slot)| index(row, slot)).collect()),
        None => with_default.then(|| (0..verdict.len()).map(|row| index(row, row as u32)).collect()),
    };
    let values = data.store(&rule.to);
    match (rows, values) {
        (None, values) => Column { nodes: vec![Node { validity: validity_of(verdict), values }] },
        (Some(rows), Values::Varlen(values)) if texts.is_some() => {
            let codes = rows.iter().map(|row| if *row == NULL_ROW { 0 } else { *row }).collect();
            let values = Values::Dictionary(Dictionary { codes, values });
            Column { nodes: vec![Node { validity: validity_of_rows(&rows), values }] }
        }
        (Some(rows), values) => Column { nodes: vec![values.into()] }.take(&rule.to, &rows),
    }
}

fn validity_of(verdict: &[u8]) -> Vec<u8> {
    bitmap_unless_full(verdict.len(), |row| verdict[row] != NULL)
}

fn validity_of_rows(rows: &[u32]) -> Vec<u8> {
    bitmap_unless_full(rows.len(), |row| rows[row] != NULL_ROW)
}

fn bitmap_unless_full(rows: usize, valid: impl Fn(usize) -> bool) -> Vec<u8> {
    if (0..rows).all(&valid) {
        return Vec::new();
    }
    let mut bits = Bits::with_capacity(rows);
    (0..rows).for_each(|row| bits.push(valid(row)));
    bits.finish()
}

millstream_sdk::export!(Clean);

#[cfg(test)]
mod tests;
