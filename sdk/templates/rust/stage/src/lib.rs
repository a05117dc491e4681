//! The length of a text column, whatever its name: a generic stage, a whole batch at a time.

use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType};

/// The stage's `config` in the pipeline file; unknown keys are refused.
#[config]
pub struct Config {
    /// The column that is measured.
    column: String,
    /// The new column.
    length: String,
}

/// The stage.
pub struct MyPlugin;

impl Stage for MyPlugin {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        let column = given
            .column(&config.column)
            .ok_or_else(|| ConfigError::key("column", format!("there is no column `{}`", config.column)))?;
        if column.logical != LogicalType::Utf8 {
            return Err(ConfigError::key("column", format!("`{}` is {}, no utf8", column.name, column.logical)));
        }
        // Read as nullable: a column without nulls does as well.
        let reads = vec![Field { nullable: true, ..column.clone() }];
        let writes = vec![Field { name: config.length, logical: LogicalType::Int32, nullable: true }];
        Ok((Self, Contract { reads, writes, ..Contract::default() }))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        let texts = batch.read::<Option<&str>>(0)?;
        let length = |row| {
            let text: Option<&str> = texts.get(row).map_err(|reject| Failure::fatal(reject.detail()))?;
            Ok(text.map(|text| i32::try_from(text.chars().count()).unwrap_or(i32::MAX)))
        };
        let lengths = (0..batch.rows as usize).map(length).collect::<Result<Vec<Option<i32>>, Failure>>()?;
        let lengths = Column::of(lengths).map_err(|error| Failure::fatal(error.0))?;
        Ok(Patch::all(vec![lengths]))
    }
}

millstream_sdk::export!(MyPlugin);

#[cfg(test)]
mod tests;
