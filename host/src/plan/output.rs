//! Holds what outputs want against what reaches them.

use millstream_sdk::LogicalType;

use super::build::{Builder, Known};
use super::contract::{columns_text, near};
use crate::config::{
    KafkaOutput, Located, Output, OutputKind, ParquetOutput, PartitionTransform, Problem, Upstream, folder,
};

/// An output by the pipeline's column names.
#[derive(Clone, Debug)]
pub(super) struct DraftOutput {
    pub from: Upstream,
    pub columns: Vec<String>,
}

/// All outputs; `None` when one of them has problems or its stage has.
pub(super) fn check(builder: &mut Builder<'_>) -> Option<Vec<DraftOutput>> {
    let pipeline = builder.pipeline;
    let drafts: Vec<Option<DraftOutput>> =
        pipeline.outputs.iter().enumerate().map(|(index, output)| draft(builder, index, output)).collect();
    drafts.into_iter().collect()
}

fn draft(builder: &mut Builder<'_>, index: usize, output: &Output) -> Option<DraftOutput> {
    let from = builder.output_upstream[index].clone()?;
    let who = format!("output \"{}\"", output.name.value);
    let there = builder.columns_at(&from, &who, output.from.as_ref())?;
    let columns = match &output.columns {
        None => there,
        Some(wanted) => {
            let found: Vec<Option<Known>> =
                wanted.iter().map(|column| find(builder, &who, column, &there, "writes")).collect();
            found.into_iter().collect::<Option<_>>()?
        }
    };
    match &output.kind {
        OutputKind::Parquet(parquet) => check_partition(builder, &who, parquet, &columns),
        OutputKind::Kafka(kafka) => check_key(builder, &who, kafka, &columns),
    }
    warn_of_like_names(builder, &who, output, &columns);
    Some(DraftOutput { from, columns: columns.into_iter().map(|known| known.column.name).collect() })
}

fn find(builder: &mut Builder<'_>, who: &str, name: &Located<String>, columns: &[Known], verb: &str) -> Option<Known> {
    let found = columns.iter().find(|known| known.column.name == name.value).cloned();
    if found.is_none() {
        let message = format!("{who} {verb} column \"{}\", but no such column reaches it", name.value);
        let problem = Problem::error(message).at(&name.span, near(&name.value, columns));
        builder.problems.push(problem.help(format!("these columns reach it: {}", columns_text(columns))));
    }
    found
}

/// A column that places rows has to be one of the output's own.
fn own(builder: &mut Builder<'_>, who: &str, name: &Located<String>, columns: &[Known], verb: &str) -> Option<Known> {
    let found = columns.iter().find(|known| known.column.name == name.value).cloned();
    if found.is_none() {
        let message = format!("{who} {verb} column \"{}\", which is not one of its columns", name.value);
        let problem = Problem::error(message).at(&name.span, near(&name.value, columns));
        builder.problems.push(problem.help(format!("add it to `columns`; the output has {}", columns_text(columns))));
    }
    found
}

fn check_partition(builder: &mut Builder<'_>, who: &str, parquet: &ParquetOutput, columns: &[Known]) {
    for part in &parquet.partition {
        let name = &part.column;
        let Some(known) = own(builder, who, name, columns, "is partitioned by") else { continue };
        let logical = &known.column.logical;
        let is_timestamp = matches!(logical, LogicalType::Timestamp(_));
        let (written, help) = match part.transform {
            PartitionTransform::Day => {
                (format!("day({})", name.value), "a day is made of a timestamp or a date".to_owned())
            }
            PartitionTransform::Hour => (format!("hour({})", name.value), "an hour is made of a timestamp".to_owned()),
            PartitionTransform::Value => {
                let help = match is_timestamp {
                    true => format!("write \"day({0})\" or \"hour({0})\"", name.value),
                    false => "a folder is made of utf8, bool, int8 to int64, decimal, date or uuid".to_owned(),
                };
                (name.value.clone(), help)
            }
        };
        if !part.transform.takes(logical) {
            let problem = Problem::error(format!("{who} is partitioned by {written}, but {} {logical}", known.maker))
                .at(&name.span, "does not fit")
                .at(&known.span, format!("{logical} here"))
                .help(help);
            builder.problems.push(problem);
        }
        let folder = folder(part);
        if part.transform != PartitionTransform::Value && columns.iter().any(|known| known.column.name == folder) {
            let problem = Problem::warning(format!("{who} has a column \"{folder}\" and folders \"{folder}=..\""))
                .at(&name.span, "makes the folders")
                .help("readers that make a column of the folder's name show only one of them: rename the column");
            builder.problems.push(problem);
        }
    }
}

fn check_key(builder: &mut Builder<'_>, who: &str, kafka: &KafkaOutput, columns: &[Known]) {
    let Some(key) = &kafka.key else { return };
    let Some(known) = own(builder, who, key, columns, "has the key") else { return };
    let logical = &known.column.logical;
    if matches!(logical, LogicalType::List(_) | LogicalType::Struct(_)) {
        let problem = Problem::error(format!("{who} has the key \"{}\", but {} {logical}", key.value, known.maker))
            .at(&key.span, "has no text form")
            .help("a record's key is the text of one value: name a column that is no list and no struct");
        builder.problems.push(problem);
    }
}

/// Most readers of Parquet do not tell `Url` from `url`.
fn warn_of_like_names(builder: &mut Builder<'_>, who: &str, output: &Output, columns: &[Known]) {
    for (index, known) in columns.iter().enumerate() {
        let name = &known.column.name;
        let like = |other: &&Known| other.column.name != *name && other.column.name.eq_ignore_ascii_case(name);
        if let Some(other) = columns[..index].iter().find(like) {
            let message =
                format!("{who} has columns \"{}\" and \"{name}\", which differ by case only", other.column.name);
            let problem = Problem::warning(message).at(&output.name.span, "this output");
            builder
                .problems
                .push(problem.help("most readers of the lake take them for one: leave one out with `columns`"));
        }
    }
}
