//! What host and plugin agree on before the first batch.

use crate::LogicalType;
use crate::config::ConfigError;

/// A column by name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: String,
    /// What its values mean.
    pub logical: LogicalType,
    /// Whether a value may be null.
    pub nullable: bool,
}

impl Field {
    /// A column whose values are never null.
    pub fn new(name: impl Into<String>, logical: LogicalType) -> Self {
        Self { name: name.into(), logical, nullable: false }
    }

    /// The same column, with values that may be null.
    pub fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }
}

/// A dimension that the stage is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The key, in order.
    pub key: Vec<Field>,
    /// The other columns.
    pub columns: Vec<Field>,
}

/// What is upstream of the stage: a generic plugin types itself from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The columns that reach the stage. A column of a type that this SDK does not know is left out.
    pub columns: Vec<Field>,
    /// The dimensions that it may read.
    pub tables: Vec<Table>,
    /// The names that others read from this stage (`from = "stage.name"`).
    pub outputs: Vec<String>,
}

impl Given {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Field> {
        self.columns.iter().find(|field| field.name == name)
    }

    /// The column of that name, which the config's `key` asks for; fails with the names that there are.
    pub fn require(&self, key: &str, name: &str) -> Result<&Field, ConfigError> {
        self.column(name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|field| field.name.as_str()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            ConfigError::key(key, format!("no column `{name}` reaches the stage; the columns there are: {there}"))
        })
    }
}

/// A lookup that the host makes before each call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredLookup {
    /// The dimension.
    pub table: String,
    /// The columns of the stage's input that make the key, in the order of the table's key.
    pub key: Vec<String>,
    /// The table's columns that are handed over.
    pub columns: Vec<Field>,
}

/// What a configured plugin declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// The columns that cross to the plugin, in this order.
    pub reads: Vec<Field>,
    /// The lookups that the host makes before each call.
    pub lookups: Vec<DeclaredLookup>,
    /// New columns, or replacements of columns of the same name.
    pub writes: Vec<Field>,
    /// The names that rows are routed to; empty when the stage does not route.
    pub outputs: Vec<String>,
}
