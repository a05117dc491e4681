//! `millstream plugin`

mod build;
mod inspect;

use std::path::Path;

use clap::Subcommand;

use super::Failure;
use crate::error::{Error, ErrorKind};

/// Make, build and try plugins.
#[derive(Subcommand)]
pub(super) enum Plugin {
    /// Build a plugin as a component and check that it loads.
    Build(build::Build),
    /// Show a plugin's name, digest, size, imports, config schema and contract.
    Inspect(inspect::Inspect),
}

impl Plugin {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Build(build) => build.run(),
            Self::Inspect(inspect) => inspect.run(),
        }
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{} cannot be read", path.display())).caused_by(error)
}
