//! `millstream rewind`

use std::io::Write;

use clap::Args;

use super::columns::write_columns;
use super::run::parse_kill_at;
use super::{Failure, PipelineArgs};
use crate::commit::{Point, Rewind as Comes, Step};
use crate::record::{Partition, REJECTS_SOURCE};
use crate::service::{RewindSettings, Rewound, removed, rewind};

/// Most files that are shown one by one.
const SHOWN_FILES: usize = 20;

/// Take out of the lake what was read from some offsets on, so that the next run reads it again. Only for a host that is
/// stopped. Files are taken away whole: where one has rows from before the offset as well, reading begins again at its
/// beginning. Without --yes it only shows what it comes to. It begins as each start does: what a crash left is brought to an
/// end.
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
    #[arg(long = "replace", required = true)]
    _replace: bool,
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
        let rewound = rewind(self.pipeline.read()?, &settings)?;
        Ok(write(&mut std::io::stdout().lock(), &rewound)?)
    }
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
    let of_sources = point.iter().filter(|(partition, _)| *partition.source != *REJECTS_SOURCE);
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
