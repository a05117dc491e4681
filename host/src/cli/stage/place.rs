//! PIPELINE.toml, or PIPELINE.toml/STAGE: which host to ask, and about what.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Failure, parse_override};
use crate::commit::DataFolder;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::service::control::Client;

/// The place that a command is about.
#[derive(Args)]
pub(in crate::cli) struct PlaceArgs {
    /// The pipeline file, and a stage behind a slash: `clicks.toml/clean`.
    #[arg(value_name = "PIPELINE.toml[/STAGE]")]
    place: PathBuf,
    /// The same overrides as those that the host was started with, as far as they change where its data folder is.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
}

/// A running host, and one of its stages.
pub(in crate::cli) struct StagePlace {
    /// The host's other end.
    pub client: Client,
    /// Its data folder.
    pub data: PathBuf,
    /// The stage, when one is named.
    pub stage: Option<String>,
}

impl PlaceArgs {
    /// Reads from the pipeline file where the host's data folder is.
    pub fn find(&self) -> Result<StagePlace, Failure> {
        let (file, stage) = split(&self.place)?;
        // Brokers and secrets are the host's: a variable that only it has stands for itself here.
        let environment = |name: &str| std::env::var(name).ok().or_else(|| Some(name.to_owned()));
        let pipeline = config::read(&std::path::absolute(&file)?, &self.overrides, &environment)?;
        let start = format!("millstream run {} --follow", file.display());
        Ok(StagePlace { client: Client::new(&pipeline.data, start), data: pipeline.data, stage })
    }
}

impl PlaceArgs {
    /// The command that takes the host's lake back, up to where it is said from which offsets on.
    pub fn rewind_command(&self) -> Result<String> {
        let (file, _) = split(&self.place)?;
        let set = self.overrides.iter().map(|(key, value)| format!(" --set {}", quoted(&format!("{key}={value}"))));
        Ok(format!("millstream rewind {}{} --replace", quoted(&file.to_string_lossy()), set.collect::<String>()))
    }
}

/// A word of a command line, as a shell takes it.
pub(in crate::cli) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '=' | '-' | ':' | ',');
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl StagePlace {
    /// Whether a host runs on the data folder.
    pub fn is_running(&self) -> bool {
        DataFolder::is_held(&self.data)
    }

    /// The stage, which has to be named.
    pub fn of_stage(self) -> Result<(Client, String)> {
        let missing = || {
            Error::new(ErrorKind::Config, "no stage is named")
                .help("write it behind the pipeline file: clicks.toml/clean; `millstream stage list` has them all")
        };
        Ok((self.client, self.stage.ok_or_else(missing)?))
    }
}

/// What is a file is the pipeline; the part behind it the stage.
fn split(place: &Path) -> Result<(PathBuf, Option<String>)> {
    if place.is_file() {
        return Ok((place.to_path_buf(), None));
    }
    if let (Some(file), Some(stage)) = (place.parent(), place.file_name())
        && file.is_file()
    {
        return Ok((file.to_path_buf(), Some(stage.to_string_lossy().into_owned())));
    }
    let message = match place.is_dir() {
        true => format!("{} is a folder", place.display()),
        false => format!("there is no pipeline file {}", place.display()),
    };
    Err(Error::new(ErrorKind::Config, message).help("write PIPELINE.toml, or PIPELINE.toml/STAGE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_stands_behind_the_pipeline_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "").unwrap();
        assert_eq!(split(&file).unwrap(), (file.clone(), None));
        assert_eq!(split(&file.join("clean")).unwrap(), (file.clone(), Some("clean".to_owned())));
        let wrong = |path: PathBuf| split(&path).unwrap_err().to_string();
        assert!(wrong(file.join("clean/more")).contains("there is no pipeline file"));
        assert!(wrong(folder.path().join("b.toml/clean")).contains("there is no pipeline file"));
        assert!(wrong(folder.path().to_path_buf()).ends_with("is a folder"));
    }
}
