//! `millstream plugin inspect`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::unreadable;
use crate::cli::Failure;
use crate::config::Limits;
use crate::contract::Given;

/// Show a plugin's name, digest, size, imports, config schema and contract.
#[derive(Args)]
pub(in crate::cli) struct Inspect {
    /// The component.
    file: PathBuf,
    /// The config to configure it with, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let bytes = std::fs::read(&self.file).map_err(|error| unreadable(&self.file, error))?;
        let plugin = crate::cli::engine()?.load(&bytes, &self.file.display().to_string())?;
        let about = plugin.describe()?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "name     {} {}", about.name, about.version)?;
        writeln!(out, "sha256   {}", plugin.digest())?;
        writeln!(out, "size     {} bytes", bytes.len())?;
        writeln!(out, "imports  {}", plugin.imports().join("\n         "))?;
        writeln!(out, "exports  {}", plugin.exports().join("\n         "))?;
        if let Some(schema) = &about.config_schema {
            writeln!(out, "config   {schema}")?;
        }
        match plugin.instantiate(&about.name, &self.config, &Given::default(), &Limits::default()) {
            Ok((_, contract)) => {
                for column in &contract.reads {
                    writeln!(out, "reads    {}: {}", column.name, column.type_text())?;
                }
                for lookup in &contract.lookups {
                    let columns: Vec<String> = lookup
                        .columns
                        .iter()
                        .map(|column| format!("{}: {}", column.name, column.type_text()))
                        .collect();
                    writeln!(out, "looks up {} by {}: {}", lookup.table, lookup.key.join(", "), columns.join(", "))?;
                }
                for column in &contract.writes {
                    writeln!(out, "writes   {}: {}", column.name, column.type_text())?;
                }
                if !contract.outputs.is_empty() {
                    writeln!(out, "routes   {}", contract.outputs.join(", "))?;
                }
            }
            Err(error) => {
                writeln!(out, "contract depends on its place: {error}\n         give it a config with --config")?
            }
        }
        Ok(())
    }
}
