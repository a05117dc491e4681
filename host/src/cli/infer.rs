//! `millstream infer`

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Failure;
use crate::config::{BatchSettings, FileSource as FileSettings, Format, Located};
use crate::decode::infer::{infer, to_toml};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Records;
use crate::source::file::FileSource;
use crate::source::{Positions, Read, Reader};

/// Propose a source's columns from real records: names, types, which may be null, and what was seen.
#[derive(Args)]
pub(super) struct Infer {
    /// A file or glob: JSON lines, CSV or Parquet; plain, .gz or .zst.
    source: String,
    /// The format; by default told from the file's name.
    #[arg(long)]
    format: Option<FormatName>,
    /// How many records to look at.
    #[arg(long, short = 'n', default_value_t = 10_000)]
    records: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Json,
    Csv,
    Parquet,
}

impl Infer {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let format = match self.format {
            Some(FormatName::Json) => Format::Json,
            Some(FormatName::Csv) => Format::Csv,
            Some(FormatName::Parquet) => Format::Parquet,
            None => format_of(&self.source)?,
        };
        let blocks = self.read(format)?;
        let columns = infer(&blocks, format);
        Ok(write!(std::io::stdout().lock(), "{}", to_toml(&columns))?)
    }

    fn read(&self, format: Format) -> Result<Vec<Records>> {
        let path = std::path::absolute(&self.source).unwrap_or_else(|_| Path::new(&self.source).to_path_buf());
        let settings = FileSettings { paths: vec![Located { value: path.display().to_string(), span: 0..0 }] };
        let source = FileSource::open("infer", &settings, format, &Positions::new(), false)?;
        let bounds = BatchSettings { rows: self.records.clamp(1, 4_096), bytes: 4 << 20 };
        let mut blocks = Vec::new();
        let mut left = self.records;
        for mut reader in source.readers(1) {
            while left > 0 {
                match reader.read(&bounds, Duration::ZERO)? {
                    Read::Records(records) => {
                        left = left.saturating_sub(records.len());
                        blocks.push(records);
                    }
                    Read::Idle => {}
                    Read::End => break,
                }
            }
        }
        if blocks.is_empty() {
            return Err(Error::new(ErrorKind::Input, format!("{} holds no record to infer columns from", self.source)));
        }
        Ok(blocks)
    }
}

fn format_of(path: &str) -> Result<Format> {
    let plain = path.trim_end_matches(".gz").trim_end_matches(".zst");
    match plain.rsplit('.').next() {
        Some("json" | "jsonl" | "ndjson") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::new(ErrorKind::Config, format!("the format of {path} cannot be told from its name"))
            .help("say --format json, csv or parquet")),
    }
}
