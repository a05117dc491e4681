//! Writes the columns that stand in its own bytes, made of the row's `id`. Tests make further versions of the built
//! component by changing the text behind `columns:` there: another contract, no compiler.

use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType, Nested};

/// `name=type` with spaces between them, and behind the last one; as long as it is here. `<name=type` is read beside `id`;
/// with `!` it panics on every row.
static COLUMNS: &str = "columns: label=utf8?                                                                    ";

/// What it writes before each text.
#[config]
#[derive(Default)]
pub struct Config {
    #[serde(default)]
    prefix: String,
}

/// The stage.
pub struct Shape {
    prefix: String,
    writes: Vec<Field>,
    panics: bool,
}

impl Stage for Shape {
    type Config = Config;

    fn configure(config: Config, _: &Given) -> Result<(Self, Contract), ConfigError> {
        // Opaque to the compiler, which would otherwise work the answer out and leave the text away.
        let text = std::hint::black_box(COLUMNS);
        let (mut reads, mut writes, mut panics) = (vec![Field::new("id", LogicalType::Int64)], Vec::new(), false);
        for word in text.split_whitespace().skip(1) {
            match word.strip_prefix('<') {
                Some(word) => reads.push(column(word)?),
                None if word == "!" => panics = true,
                None => writes.push(column(word)?),
            }
        }
        let contract = Contract { reads, writes: writes.clone(), ..Contract::default() };
        Ok((Self { prefix: config.prefix, writes, panics }, contract))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        assert!(!self.panics, "it panics on every row");
        let id = batch.read::<i64>(0)?;
        let ids = (0..batch.rows as usize).map(|row| id.get(row)).collect::<Result<Vec<i64>, Reject>>();
        let ids = ids.map_err(|reject| Failure::fatal(reject.detail()))?;
        let columns = self.writes.iter().map(|field| match field.logical {
            LogicalType::Int64 => Column::of(ids.clone()),
            _ => Column::of(ids.iter().map(|id| format!("{}{} {id}", self.prefix, field.name))),
        });
        let columns = columns.collect::<Result<Vec<Column>, _>>();
        Ok(Patch::all(columns.map_err(|error| Failure::fatal(error.0))?))
    }
}

fn column(text: &str) -> Result<Field, ConfigError> {
    let wrong = |what: String| ConfigError::new(format!("`{text}` is no column: {what}"));
    let (name, type_text) = text.split_once('=').ok_or_else(|| wrong("it has the form NAME=TYPE".to_owned()))?;
    let nested: Nested = type_text.parse().map_err(|error| wrong(format!("{error}")))?;
    Ok(Field { name: name.to_owned(), logical: nested.logical, nullable: nested.nullable })
}

millstream_sdk::export!(Shape);
