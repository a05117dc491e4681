//! Contracts across the boundary: what is given goes in as text, what a plugin declares is read and checked for itself.
//! Whether it fits what is upstream is the plan's to say.

use std::collections::HashSet;

use super::bindings::columns::{FieldParam, FieldResult};
use super::bindings::transform as wit;
use crate::contract::{Contract, DeclaredLookup, Given};
use crate::schema::Column;

/// Most columns, lookups or outputs that a contract may declare.
const MAX_DECLARED: usize = 4_096;
/// Longest name in a contract.
const MAX_NAME_BYTES: usize = 256;
/// Longest type in a contract.
const MAX_TYPE_BYTES: usize = 16 * 1024;

/// What is given, with every type in its text form, ready to be borrowed.
pub struct GivenText<'a> {
    given: &'a Given,
    columns: Vec<String>,
    tables: Vec<(Vec<String>, Vec<String>)>,
}

impl<'a> GivenText<'a> {
    /// Writes the types out.
    pub fn new(given: &'a Given) -> Self {
        let tables = given.tables.iter().map(|table| (types(&table.key), types(&table.columns))).collect();
        Self { given, columns: types(&given.columns), tables }
    }

    /// Hands `given` in the interface's form to `call`.
    pub fn with<R>(&self, call: impl FnOnce(wit::Given<'_>) -> R) -> R {
        let columns = fields(&self.given.columns, &self.columns);
        let parts: Vec<_> = self
            .given
            .tables
            .iter()
            .zip(&self.tables)
            .map(|(table, (key, columns))| (&table.name, fields(&table.key, key), fields(&table.columns, columns)))
            .collect();
        let tables: Vec<_> = parts.iter().map(|(name, key, columns)| wit::Table { name, key, columns }).collect();
        let outputs: Vec<&str> = self.given.outputs.iter().map(String::as_str).collect();
        call(wit::Given { columns: &columns, tables: &tables, outputs: &outputs })
    }
}

fn types(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| column.logical.to_string()).collect()
}

fn fields<'a>(columns: &'a [Column], types: &'a [String]) -> Vec<FieldParam<'a>> {
    columns
        .iter()
        .zip(types)
        .map(|(column, data_type)| FieldParam { name: &column.name, data_type, nullable: column.nullable })
        .collect()
}

/// Reads a contract. The error says what of it is wrong.
pub fn contract(declared: wit::Contract) -> Result<Contract, String> {
    let count = |what: &str, given: usize| {
        if given > MAX_DECLARED { Err(format!("it declares {given} {what}, more than {MAX_DECLARED}")) } else { Ok(()) }
    };
    count("reads", declared.reads.len())?;
    count("lookups", declared.lookups.len())?;
    count("writes", declared.writes.len())?;
    count("outputs", declared.outputs.len())?;
    let lookups = declared.lookups.into_iter().map(|lookup| {
        let place = format!("the lookup in \"{}\"", shown(&lookup.table));
        name(&lookup.table, "the table of a lookup")?;
        count("columns of a key", lookup.key.len())?;
        lookup.key.iter().try_for_each(|part| name(part, &place))?;
        Ok(DeclaredLookup { columns: columns(lookup.columns, &place)?, table: lookup.table, key: lookup.key })
    });
    let lookups = lookups.collect::<Result<_, String>>()?;
    distinct(declared.outputs.iter(), "outputs")?;
    Ok(Contract {
        reads: columns(declared.reads, "`reads`")?,
        lookups,
        writes: columns(declared.writes, "`writes`")?,
        outputs: declared.outputs,
    })
}

fn columns(fields: Vec<FieldResult>, place: &str) -> Result<Vec<Column>, String> {
    distinct(fields.iter().map(|field| &field.name), place)?;
    fields
        .into_iter()
        .map(|field| {
            if field.data_type.len() > MAX_TYPE_BYTES {
                let (name, begins) = (&field.name, shown(&field.data_type));
                return Err(format!(
                    "column \"{name}\" in {place} has a type longer than {MAX_TYPE_BYTES} bytes: \"{begins}..\""
                ));
            }
            let logical = field.data_type.parse().map_err(|wrong| {
                format!("column \"{}\" in {place} has the type \"{}\": {wrong}", field.name, shown(&field.data_type))
            })?;
            Ok(Column { name: field.name, logical, nullable: field.nullable })
        })
        .collect()
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>, place: &str) -> Result<(), String> {
    let mut seen = HashSet::new();
    for each in names {
        name(each, place)?;
        if !seen.insert(each) {
            return Err(format!("\"{each}\" stands twice in {place}"));
        }
    }
    Ok(())
}

fn name(name: &str, place: &str) -> Result<(), String> {
    match name.len() {
        0 => Err(format!("an empty name in {place}")),
        1..=MAX_NAME_BYTES => Ok(()),
        _ => Err(format!("a name in {place} is longer than {MAX_NAME_BYTES} bytes: \"{}..\"", shown(name))),
    }
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> &str {
    let end = text.floor_char_boundary(80);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, data_type: &str) -> FieldResult {
        FieldResult { name: name.to_owned(), data_type: data_type.to_owned(), nullable: false }
    }

    fn declared(writes: Vec<FieldResult>, outputs: &[&str]) -> wit::Contract {
        let outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
        wit::Contract { reads: Vec::new(), lookups: Vec::new(), writes, outputs }
    }

    #[test]
    fn a_contract_is_read() {
        let contract = contract(declared(vec![field("tags", "list<utf8?>")], &["a", "b"])).unwrap();
        assert_eq!(contract.writes[0].type_text(), "list<utf8?>");
        assert_eq!(contract.outputs, ["a", "b"]);
    }

    #[test]
    fn a_wrong_contract_says_what_is_wrong() {
        let wrong = |writes, outputs: &[&str]| contract(declared(writes, outputs)).unwrap_err();
        assert!(wrong(vec![field("a", "text")], &[]).starts_with("column \"a\" in `writes` has the type \"text\""));
        assert_eq!(wrong(vec![field("a", "utf8"), field("a", "utf8")], &[]), "\"a\" stands twice in `writes`");
        assert_eq!(wrong(vec![field("", "utf8")], &[]), "an empty name in `writes`");
        assert_eq!(wrong(vec![], &["x", "x"]), "\"x\" stands twice in outputs");
        let many: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(wrong(vec![], &many), "it declares 5000 outputs, more than 4096");
    }
}
