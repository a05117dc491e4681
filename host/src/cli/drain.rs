//! `millstream drain`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::stage::PlaceArgs;
use crate::error::{Error, ErrorKind};
use crate::service::{Standing, check_free, standing};

/// Let a running host finish its epoch, close every file and end; say where it stands. Partitions go to the other hosts of
/// its group. With `--savepoint` what it needs to go on elsewhere is copied; a host that does not run can be copied too.
#[derive(Args)]
pub(super) struct Drain {
    #[command(flatten)]
    place: PlaceArgs,
    /// Copy the data folder to this one, which must not be there: positions, plugins, history, rejects that lie in it. On the
    /// other machine, with the same lake: `millstream run PIPELINE.toml --set data=FOLDER --moved`.
    #[arg(long, value_name = "FOLDER")]
    savepoint: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Drain {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let place = self.place.find()?;
        // Before the host is told to end.
        self.savepoint.as_deref().map_or(Ok(()), check_free)?;
        match place.client.drain() {
            Ok(()) => {}
            // Nobody to be told to end.
            Err(error) if error.kind() == ErrorKind::Unavailable && self.savepoint.is_some() && !place.is_running() => {
            }
            Err(error) => return Err(error.into()),
        }
        let standing = standing(&place.data, self.savepoint.as_deref())?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let json = serde_json::to_string_pretty(&standing)
                .map_err(|error| Error::new(ErrorKind::Internal, "the answer has no JSON form").caused_by(error))?;
            return Ok(writeln!(out, "{json}")?);
        }
        Ok(write(&mut out, &standing)?)
    }
}

fn write(out: &mut dyn Write, standing: &Standing) -> std::io::Result<()> {
    let Standing { host, epoch, read, next, savepoint } = standing;
    writeln!(out, "host {host} stands behind epoch {epoch}: {read} records read since its data folder exists")?;
    for (source, partition, offset) in next {
        writeln!(out, "  {source}/{partition}  next offset {offset}")?;
    }
    if let Some(savepoint) = savepoint {
        let savepoint = savepoint.display();
        writeln!(out, "savepoint in {savepoint}; to go on from it, with the same lake:")?;
        writeln!(out, "  millstream run PIPELINE.toml --set data={savepoint} --moved")?;
    }
    Ok(())
}
