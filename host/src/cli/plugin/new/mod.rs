//! `millstream plugin new` and `millstream plugin sdk`: everything that they write is in the binary.

mod name;
mod sdk;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::name::Name;
use crate::cli::Failure;
use crate::error::{Error, ErrorKind, Result};

/// Paths in the repository, and what stood there when this binary was built.
static EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The folder of a plugin in which its copy of the SDK lies.
pub(super) const SDK_FOLDER: &str = ".millstream";

/// The kinds of plugins.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// One row to none, one or many: cleaning, enrichment.
    Transform,
    /// A row to one or several named outputs.
    Route,
    /// A whole batch of columns at a time, whatever their names: generic plugins.
    Stage,
}

/// The languages of plugins.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Lang {
    /// Rust.
    Rust,
    /// Python: needs componentize-py to build.
    Python,
    /// JavaScript: needs Node.js, and componentize-js to build.
    Javascript,
}

impl Lang {
    /// Its folder among the SDKs and the templates.
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
        }
    }

    /// The file by which a plugin's folder is known.
    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "pyproject.toml",
            Self::Javascript => "package.json",
        }
    }

    /// How it is written, and the commands that run its tests.
    fn title_and_tests(self) -> (&'static str, &'static str) {
        match self {
            Self::Rust => ("Rust", "cargo test"),
            Self::Python => ("Python", "python3 -m unittest"),
            Self::Javascript => ("JavaScript", "npm install && npm test"),
        }
    }

    /// The language of a plugin's copy of the SDK.
    fn of_sdk(folder: &Path) -> Self {
        let others = [Self::Python, Self::Javascript];
        others.into_iter().find(|lang| folder.join(lang.folder()).is_dir()).unwrap_or(Self::Rust)
    }
}

/// Make a folder with a new plugin that builds and passes its tests at once: code, tests, cases, a pipeline to try it in,
/// and the SDK. Nothing else is needed but the language's own tools.
#[derive(Args)]
pub(in crate::cli) struct New {
    /// What it does.
    kind: Kind,
    /// The new folder; its last part is the plugin's name, such as `clean-links`.
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The language.
    #[arg(long, default_value = "rust")]
    lang: Lang,
}

impl New {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let last = self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = Name::new(&last)?;
        let taken = std::fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some());
        if taken || self.folder.is_file() {
            let message = format!("{} is there already", self.folder.display());
            return Err(Error::new(ErrorKind::Config, message)
                .help("name a folder that is not there, or empty")
                .into());
        }
        let kind = format!("{:?}", self.kind).to_lowercase();
        self.write_templates(&kind, &name)?;
        write_sdk(self.lang, &self.folder.join(SDK_FOLDER))?;
        let (title, tests) = self.lang.title_and_tests();
        let mut out = std::io::stdout().lock();
        let folder = self.folder.display();
        Ok(writeln!(
            out,
            "{folder}: a {kind} in {title}. Next:\n\n    cd {folder}\n    \
             {tests:<35} # the plugin as an ordinary library\n    \
             millstream plugin test              # as WebAssembly, on the rows of cases/\n    \
             millstream plugin build             # puts the component into the folder\n    \
             millstream preview pipeline.toml    # in a pipeline; nothing is written"
        )?)
    }

    fn write_templates(&self, kind: &str, name: &Name) -> Result<()> {
        let lang = self.lang.folder();
        for folder in [format!("{lang}/common"), format!("{lang}/{kind}")] {
            for (path, text) in below(&format!("sdk/templates/{folder}/")) {
                let path = if path == "gitignore" { ".gitignore" } else { path };
                write(&self.folder.join(name.fill_in(path)), &name.fill_in(text))?;
            }
        }
        match self.lang {
            Lang::Rust => write(&self.folder.join("Cargo.lock"), &sdk::lock_file(name)?),
            // The rows and the pipeline are the same in every language.
            Lang::Python | Lang::Javascript => {
                let own_to_rust = |path: &str| path.ends_with(".rs");
                for (path, text) in below(&format!("sdk/templates/rust/{kind}/")).filter(|(path, _)| !own_to_rust(path))
                {
                    write(&self.folder.join(path), &name.fill_in(text))?;
                }
                Ok(())
            }
        }
    }
}

/// Writes a language's SDK, and the interface, into a folder.
pub(super) fn write_sdk(lang: Lang, folder: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    write(&folder.join("VERSION"), &format!("{version}\n"))?;
    write(
        &folder.join("README.md"),
        &format!(
            "{} of Millstream {version} and the interface that it speaks (wit/stage.wit), as `millstream plugin new` \
             wrote them.\nDo not change them: `millstream plugin sdk` replaces this folder.\n",
            if matches!(lang, Lang::Rust) { "The Rust SDK" } else { "An SDK" }
        ),
    )?;
    match lang {
        Lang::Rust => sdk::write_rust(folder)?,
        Lang::Python | Lang::Javascript => {
            for (path, source) in below(&format!("sdk/{}/", lang.folder())) {
                write(&folder.join(lang.folder()).join(path), source)?;
            }
        }
    }
    write(&folder.join("wit/stage.wit"), embedded("wit/stage.wit")?)
}

/// Put the SDK of this release of Millstream in the place of the one that a plugin was made with.
#[derive(Args)]
pub(in crate::cli) struct Sdk {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Sdk {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let folder = self.folder.join(SDK_FOLDER);
        let before = std::fs::read_to_string(folder.join("VERSION")).map_err(|error| {
            let message = format!("{} is no plugin that `millstream plugin new` made", self.folder.display());
            Error::new(ErrorKind::Config, message).caused_by(error)
        })?;
        // Beside the old one until it is whole.
        let fresh = self.folder.join(format!("{SDK_FOLDER}.new"));
        let failed =
            |error| Error::new(ErrorKind::Storage, format!("{} cannot be replaced", folder.display())).caused_by(error);
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).map_err(failed)?;
        }
        write_sdk(Lang::of_sdk(&folder), &fresh)?;
        std::fs::remove_dir_all(&folder).and_then(|()| std::fs::rename(&fresh, &folder)).map_err(failed)?;
        let (before, after) = (before.trim(), env!("CARGO_PKG_VERSION"));
        Ok(writeln!(std::io::stdout().lock(), "{}: SDK {before} replaced by {after}", folder.display())?)
    }
}

/// The embedded files below a folder of the repository: the path below it, the text.
fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    EMBEDDED.iter().filter_map(move |(path, text)| Some((path.strip_prefix(folder)?, *text)))
}

/// An embedded file.
fn embedded(path: &str) -> Result<&'static str> {
    let found = EMBEDDED.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
    found.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{path} is not in this binary")))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text)).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("{} cannot be written", path.display())).caused_by(error)
    })
}
