//! What is wrong with a pipeline file: every problem with its place in the text, shown together.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::Pipeline;
use crate::error::one_line;

/// The columns of the terminal that problems are wrapped at.
const WIDTH: usize = 110;

/// Whether a problem stops the pipeline from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// It starts, but is probably not what was meant.
    Warning,
}

/// One problem: what is wrong, where, and the way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Whether it stops the pipeline.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Places in the text with what is to be said there, the most telling first; empty for what did not come from the file.
    pub labels: Vec<(Range<usize>, String)>,
    /// The way out.
    pub help: Option<String>,
}

impl Problem {
    /// A problem that stops the pipeline.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    /// A problem that lets the pipeline start.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Adds a place. An empty one at 0, as defaults and `--set` have it, is left out.
    pub fn at(mut self, span: &Range<usize>, label: impl Into<String>) -> Self {
        if *span != (0..0) {
            self.labels.push((span.clone(), label.into()));
        }
        self
    }

    /// Adds the way out.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The byte at which it begins, when it has a place.
    fn start(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }
}

/// All problems of one pipeline file.
#[derive(Clone)]
pub struct Problems {
    file: String,
    text: Arc<str>,
    list: Vec<Problem>,
}

impl Problems {
    /// None yet, for a file with this text; `file` is how messages name it.
    pub fn new(file: &Path, text: &str) -> Self {
        Self { file: file.display().to_string(), text: text.into(), list: Vec::new() }
    }

    /// None yet, for a pipeline that was read.
    pub fn of(pipeline: &Pipeline) -> Self {
        Self::new(&pipeline.path, &pipeline.text)
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// The problems as they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many of them stop the pipeline.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many of them let it start.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|problem| problem.severity == severity).count()
    }

    /// `2 errors and 1 warning in clicks.toml`
    pub fn summary(&self) -> String {
        let counted = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            _ => Some(format!("{count} {word}s")),
        };
        let parts: Vec<String> =
            [counted(self.errors(), "error"), counted(self.warnings(), "warning")].into_iter().flatten().collect();
        match parts.as_slice() {
            [] => format!("no problem in {}", self.file),
            parts => format!("{} in {}", parts.join(" and "), self.file),
        }
    }

    /// The problems that stop the pipeline on one line, each with its line of the file: for the log and the history.
    pub fn line(&self) -> String {
        let place = |problem: &Problem| match problem.labels.first() {
            Some((span, _)) => {
                let before = self.text.get(..span.start).unwrap_or_default();
                format!(" ({}:{})", self.file, before.matches('\n').count() + 1)
            }
            None => String::new(),
        };
        let errors = self.list.iter().filter(|problem| problem.severity == Severity::Error);
        let texts: Vec<String> =
            errors.map(|problem| format!("{}{}", one_line(&problem.message), place(problem))).collect();
        texts.join("; ")
    }

    /// Each problem with file, line and a caret, in the order of the text, and the count at the end; many lines.
    pub fn render(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false);
        let mut ordered: Vec<&Problem> = self.list.iter().collect();
        ordered.sort_by_key(|problem| problem.start());
        let mut rendered = String::new();
        for problem in ordered {
            let source = NamedSource::new(&self.file, Arc::clone(&self.text));
            // Writing to a String does not fail; a span that miette cannot show is said in the text instead.
            if handler.render_report(&mut rendered, &Shown { problem, source }).is_err() {
                rendered.push_str(&problem.message);
            }
            rendered.push('\n');
        }
        rendered.push_str(&self.summary());
        rendered.push('\n');
        rendered
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

/// A problem as miette wants to see it.
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<Arc<str>>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.problem, f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        (!self.problem.labels.is_empty()).then_some(&self.source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = &self.problem.labels;
        (!labels.is_empty()).then(|| {
            Box::new(labels.iter().enumerate().map(|(index, (span, label))| {
                let label = (!label.is_empty()).then(|| label.clone());
                if index == 0 {
                    LabeledSpan::new_primary_with_span(label, span.clone())
                } else {
                    LabeledSpan::new_with_span(label, span.clone())
                }
            })) as _
        })
    }
}

/// The known word nearest to a mistyped one, when one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "clicks"?`, or the known names when none is near, for a label.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone, none: &str) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            let all: Vec<String> = known.into_iter().map(|name| format!("\"{name}\"")).collect();
            match all.as_slice() {
                [] => none.to_owned(),
                [one] => format!("there is only {one}"),
                all => format!("there are {}", all.join(", ")),
            }
        }
    }
}
