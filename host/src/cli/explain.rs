//! `millstream explain`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::columns::write_columns;
use crate::error::{Error, ErrorKind};
use crate::output::Explained;

/// Say what made a Parquet file: records, epochs, plan, plugins and their config. Everything is read from the file's own
/// footer: the pipeline file, the data folder and the host are not needed.
#[derive(Args)]
pub(super) struct Explain {
    /// A Parquet file of an output, or of the rejects.
    file: PathBuf,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let explained = Explained::read(&self.file)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let json = serde_json::to_string_pretty(&explained)
                .map_err(|error| Error::new(ErrorKind::Internal, "the footer has no JSON form").caused_by(error))?;
            return Ok(writeln!(out, "{json}")?);
        }
        Ok(write(&mut out, &explained)?)
    }
}

const UNKNOWN: &str = "not said in this file's footer";

fn write(out: &mut dyn Write, explained: &Explained) -> std::io::Result<()> {
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let Explained { rows, row_groups, size_bytes, .. } = explained;
    writeln!(out, "rows      {rows} in {row_groups} row group{}, {size_bytes} bytes", plural(*row_groups))?;
    writeln!(out, "pipeline  {}", or_unknown(explained.pipeline.clone()))?;
    let start = explained.incarnation.map(|start| format!(", its start {start}")).unwrap_or_default();
    writeln!(out, "host      {}{start}", or_unknown(explained.host.clone()))?;
    let epochs = explained.epochs.map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    });
    writeln!(out, "epochs    {}", or_unknown(epochs))?;
    let print = explained.fingerprint.as_ref().map(|print| format!(", fingerprint {print}")).unwrap_or_default();
    writeln!(out, "plan      {}{print}", or_unknown(explained.plan.map(|number| number.to_string())))?;
    write_stages(out, explained)?;
    write_read(out, explained)
}

fn write_stages(out: &mut dyn Write, explained: &Explained) -> std::io::Result<()> {
    let Some(stages) = &explained.stages else { return writeln!(out, "\nstages    {UNKNOWN}") };
    if stages.is_empty() {
        return writeln!(out, "\nno stage of this plan is a plugin");
    }
    let config = |stage: &str| match &explained.config {
        None => UNKNOWN.to_owned(),
        Some(config) => config.get(stage).map_or_else(|| "{}".to_owned(), serde_json::Value::to_string),
    };
    let rows: Vec<_> =
        stages.iter().map(|(stage, digest)| vec![stage.clone(), digest.clone(), config(stage)]).collect();
    writeln!(out)?;
    write_columns(out, &["stage", "plugin's sha256", "config"], &rows)
}

fn write_read(out: &mut dyn Write, explained: &Explained) -> std::io::Result<()> {
    let Some(read) = &explained.read else { return writeln!(out, "\nread from {UNKNOWN}") };
    let rows: Vec<Vec<String>> = read
        .iter()
        .map(|range| {
            let last = range.end.saturating_sub(1).max(range.first);
            vec![range.source.clone(), range.partition.clone(), range.first.to_string(), last.to_string()]
        })
        .collect();
    writeln!(out)?;
    write_columns(out, &["read from source", "partition", "first offset", "last offset"], &rows)
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::output::RecordRange;

    fn text(explained: &Explained) -> String {
        let mut out = Vec::new();
        write(&mut out, explained).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_file_is_explained_on_a_screen() {
        let explained = Explained {
            rows: 12,
            row_groups: 1,
            size_bytes: 3_456,
            pipeline: Some("shop".into()),
            host: Some("0a1b2c3d".into()),
            incarnation: Some(2),
            plan: Some(3),
            fingerprint: Some("f00d".into()),
            stages: Some(BTreeMap::from([("clean".into(), "d1".into()), ("route".into(), "d2".into())])),
            config: Some(BTreeMap::from([("clean".into(), serde_json::json!({ "max_age": "7d" }))])),
            epochs: Some((7, 9)),
            read: Some(vec![RecordRange {
                source: "orders".into(),
                partition: "4".into(),
                first: 100,
                end: 112,
                records: Vec::new(),
            }]),
        };
        assert_eq!(
            text(&explained),
            "\
rows      12 in 1 row group, 3456 bytes
pipeline  shop
host      0a1b2c3d, its start 2
epochs    7 to 9
plan      3, fingerprint f00d

stage  plugin's sha256  config
clean  d1               {\"max_age\":\"7d\"}
route  d2               {}

read from source  partition  first offset  last offset
orders            4          100           111
"
        );
        let bare = Explained { stages: None, read: None, config: None, epochs: None, plan: None, ..explained };
        assert_eq!(text(&bare).matches(UNKNOWN).count(), 4, "{}", text(&bare));
    }
}
