//! `millstream rewind`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::columns::write_columns;
use super::run::parse_kill_at;
use super::stage::quoted;
use super::{Failure, PipelineArgs};
use crate::commit::{Point, Rewind as Comes, Step};
use crate::config::{OutputKind, Pipeline, Rejects, SourceKind};
use crate::record::Partition;
use crate::service::{RewindSettings, Rewound, backfill, removed, rewind};

/// Most files that are shown one by one.
const SHOWN_FILES: usize = 20;

/// Read again what was read from some offsets on.
///
/// With --replace it is taken out of the lake, so that the next run reads it again. Only for a host that is stopped. Files are
/// taken away whole: where one has rows from before the offset as well, reading begins again at its beginning. Without --yes it
/// only shows what it comes to. It begins as each start does: what a crash left is brought to an end.
///
/// With --into it goes into a fresh lake, by a run of its own; this pipeline goes on as it is.
#[derive(Args)]
pub(super) struct Rewind {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The first offset that is read again, of a topic's partition or of a file, such as `clicks/3=1200` or
    /// `rows/rows.jsonl=0`; once for each partition.
    #[arg(long, required_unless_present = "to_time", value_name = "SOURCE/PARTITION=OFFSET", value_parser = parse_offset)]
    to_offset: Vec<(String, String, i64)>,
    /// All partitions of topics from the first record on whose timestamp is this or later, such as `2013-01-31T07:00:00Z`.
    #[arg(long, value_name = "RFC 3339")]
    to_time: Option<jiff::Timestamp>,
    /// Replace the files of this lake: those with rows from there on are removed.
    #[arg(long = "replace", required_unless_present = "into")]
    _replace: bool,
    /// Prepare a lake, a data folder and groups of their own in this folder, which must be empty or not there, and show the
    /// run that reads into it. Partitions of which no offset is named begin where this pipeline has read to.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["_replace", "yes"])]
    into: Option<PathBuf>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Go back although rows went to topics: what is read again comes there a second time.
    #[arg(long)]
    topics_again: bool,
    /// Tests only: kill the process behind a step of an epoch, such as `committed:3`.
    #[arg(long, hide = true, env = "MILLSTREAM_KILL_AT", value_parser = parse_kill_at)]
    kill_at: Option<(Step, u64)>,
}

fn parse_offset(text: &str) -> Result<(String, String, i64), String> {
    let form = "it has the form SOURCE/PARTITION=OFFSET, such as clicks/3=1200";
    let (place, offset) = text.rsplit_once('=').ok_or(form)?;
    let (source, partition) = place.split_once('/').ok_or(form)?;
    let offset = offset.parse().map_err(|_| format!("`{offset}` is no offset: {form}"))?;
    Ok((source.to_owned(), partition.to_owned(), offset))
}

impl Rewind {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = RewindSettings {
            to: self.to_offset.clone(),
            to_time_ms: self.to_time.map(jiff::Timestamp::as_millisecond),
            yes: self.yes,
            topics_again: self.topics_again,
            kill_at: self.kill_at,
        };
        if let Some(folder) = &self.into {
            return self.into(&std::path::absolute(folder)?, &settings);
        }
        let rewound = rewind(self.pipeline.read()?, &settings)?;
        Ok(write(&mut std::io::stdout().lock(), &rewound)?)
    }

    fn into(&self, folder: &Path, settings: &RewindSettings) -> Result<(), Failure> {
        let pipeline = self.pipeline.read()?;
        let own = overrides(&pipeline, folder);
        let given = self.pipeline.overrides.iter().filter(|(key, _)| own.iter().all(|(own, _)| own != key));
        let overrides: Vec<_> = given.cloned().chain(own.iter().cloned()).collect();
        let args = PipelineArgs { pipeline: self.pipeline.pipeline.clone(), overrides };
        let point = backfill(&pipeline, args.read()?, folder, settings)?;
        let mut out = std::io::stdout().lock();
        write_point(&mut out, &point)?;
        let set = args.overrides.iter().map(|(key, value)| format!(" --set {}", quoted(&format!("{key}={value}"))));
        writeln!(out, "\nthe lake in {} is empty yet; this run reads into it:", folder.display())?;
        let file = quoted(&args.pipeline.to_string_lossy());
        Ok(writeln!(out, "  millstream run {file} --until-caught-up{}", set.collect::<String>())?)
    }
}

/// What a pipeline's fresh host in a folder has for itself.
fn overrides(pipeline: &Pipeline, folder: &Path) -> Vec<(String, String)> {
    let below = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut overrides = vec![("data".to_owned(), below("state"))];
    for source in &pipeline.sources {
        if let SourceKind::Kafka(kafka) = &source.kind {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let group = format!("{}-{name}", kafka.group.value);
            overrides.push((format!("source.{}.kafka.group", source.name.value), group));
        }
    }
    for output in &pipeline.outputs {
        let name = &output.name.value;
        if matches!(output.kind, OutputKind::Parquet(_)) {
            overrides.push((format!("output.{name}.parquet.path"), below(name)));
        }
    }
    // By default they are below the data folder.
    if matches!(&pipeline.rejects, Rejects::File { path, .. } if !path.starts_with(&pipeline.data)) {
        overrides.push(("rejects.file.path".to_owned(), below("rejects")));
    }
    overrides
}

fn write(out: &mut dyn Write, rewound: &Rewound) -> std::io::Result<()> {
    let Rewound { rewind: comes, epoch, done } = rewound;
    write_point(out, &comes.point)?;
    write_files(out, comes)?;
    let rejects = comes.not_replayed();
    if !rejects.is_empty() {
        writeln!(
            out,
            "\nwhat replays made of rejects goes with them: these count as not replayed, from the first such row on"
        )?;
        rejects.iter().try_for_each(|file| writeln!(out, "  {file}"))?;
    }
    if *done {
        return writeln!(out, "\nepoch {epoch} says so: the next run reads again from there");
    }
    writeln!(out, "\nnothing is changed yet: with --yes, epoch {epoch} removes these files and takes the offsets back")
}

fn write_point(out: &mut dyn Write, point: &Point) -> std::io::Result<()> {
    let of_sources = point.iter().filter(|(partition, _)| !partition.is_of_rejects());
    let row = |(partition, offset): (&Partition, &i64)| {
        vec![partition.source.to_string(), partition.key.to_string(), offset.to_string()]
    };
    let rows: Vec<Vec<String>> = of_sources.map(row).collect();
    write_columns(out, &["source", "partition", "is read again from offset"], &rows)
}

fn write_files(out: &mut dyn Write, comes: &Comes) -> std::io::Result<()> {
    let by_output = removed(comes);
    if by_output.is_empty() {
        return writeln!(out, "\nno file has rows from there on");
    }
    let rows =
        by_output.iter().map(|(output, (files, rows))| vec![(*output).to_owned(), files.to_string(), rows.to_string()]);
    writeln!(out)?;
    write_columns(out, &["output", "files that go", "their rows"], &rows.collect::<Vec<_>>())?;
    let files: Vec<_> = comes.files.values().flatten().collect();
    writeln!(out)?;
    files.iter().take(SHOWN_FILES).try_for_each(|file| writeln!(out, "  {}", file.path.display()))?;
    if files.len() > SHOWN_FILES {
        writeln!(out, "  and {} more", files.len() - SHOWN_FILES)?;
    }
    Ok(())
}
