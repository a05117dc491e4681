//! Contracts. What the host accepts has bounded, distinct names and types that read back as they were written.

use arbitrary::{Result, Unstructured};
use millstream::plugin::fuzzed::columns::FieldResult;
use millstream::plugin::fuzzed::contract;
use millstream::plugin::fuzzed::transform::{Contract as Given, Lookup};
use millstream::schema::Column;
use millstream_sdk::Nested;

/// Makes a contract of the bytes and has the host read it.
///
/// # Panics
/// When a promise does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(given) = given(&mut Unstructured::new(bytes)) else { return };
    let Ok(contract) = contract(given) else { return };
    let lookups = contract.lookups.iter().map(|lookup| &lookup.columns);
    for columns in [&contract.reads, &contract.writes].into_iter().chain(lookups) {
        columns.iter().for_each(reads_back);
        let mut names: Vec<&String> = columns.iter().map(|column| &column.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), columns.len(), "names are distinct");
    }
}

fn reads_back(column: &Column) {
    assert!((1..=256).contains(&column.name.len()));
    let text = column.type_text();
    let read: Nested = text.parse().unwrap_or_else(|wrong| panic!("{text} does not read back: {wrong}"));
    assert_eq!((read.logical, read.nullable), (column.logical.clone(), column.nullable), "{text}");
}

fn given(from: &mut Unstructured<'_>) -> Result<Given> {
    let outputs = from.arbitrary()?;
    let lookups = (0..from.int_in_range(0..=2)?)
        .map(|_| Ok(Lookup { table: from.arbitrary()?, key: from.arbitrary()?, columns: fields(from)? }))
        .collect::<Result<_>>()?;
    let reads = fields(from)?;
    Ok(Given { reads, lookups, writes: fields(from)?, outputs })
}

fn fields(from: &mut Unstructured<'_>) -> Result<Vec<FieldResult>> {
    (0..from.int_in_range(0..=4)?)
        .map(|_| {
            Ok(FieldResult { name: from.arbitrary()?, data_type: data_type(from, 0)?, nullable: from.arbitrary()? })
        })
        .collect()
}

/// Something like a type: pieces of real ones, put together at random.
fn data_type(from: &mut Unstructured<'_>, depth: u32) -> Result<String> {
    const FLAT: [&str; 8] =
        ["int64", "utf8", "decimal(38,38)", "timestamp(ms)", "bool?", "uuid", "decimal(0,1)", "date"];
    Ok(match from.int_in_range(0..=9)? {
        0 => from.arbitrary::<String>()?,
        1 | 2 if depth < 20 => format!("list<{}>", data_type(from, depth + 1)?),
        3 if depth < 20 => {
            let (name, item): (String, String) = (from.arbitrary()?, data_type(from, depth + 1)?);
            format!("struct<{name}: {item}, b: {}>", data_type(from, depth + 1)?)
        }
        4 if depth < 20 => "list<".repeat(usize::from(from.arbitrary::<u8>()?)),
        _ => (*from.choose(&FLAT)?).to_owned(),
    })
}
