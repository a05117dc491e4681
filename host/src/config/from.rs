//! `from`: where a stage's or an output's rows come from. Names are resolved here, so that wrong ones, and circles, are
//! found with everything else that is wrong in the file; whether `STAGE.OUTPUT` has that output is the plan's to say.

use super::problem::{Problem, Problems, nearest};
use super::{Located, Pipeline};

/// Where rows come from, as far as the pipeline file knows. Indexes are of the file's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// `source.NAME`
    Source(usize),
    /// `STAGE`
    Stage(usize),
    /// `STAGE.OUTPUT`, the output by the pipeline's name.
    Route(usize, String),
}

impl Upstream {
    /// The stage that the rows come from.
    pub fn stage(&self) -> Option<usize> {
        match self {
            Self::Source(_) => None,
            Self::Stage(stage) | Self::Route(stage, _) => Some(*stage),
        }
    }
}

/// A stage or an output: its name, and what it says about where it reads from.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub name: Located<String>,
    pub from: Option<Located<String>>,
}

/// The names of a pipeline and how they hang together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub sources: Vec<String>,
    pub stages: Vec<Link>,
    pub outputs: Vec<Link>,
}

impl Outline {
    /// The outline of a pipeline that was read.
    pub fn of(pipeline: &Pipeline) -> Self {
        let stages = pipeline.stages.iter();
        let outputs = pipeline.outputs.iter();
        Self {
            sources: pipeline.sources.iter().map(|source| source.name.value.clone()).collect(),
            stages: stages.map(|stage| Link { name: stage.name.clone(), from: stage.from.clone() }).collect(),
            outputs: outputs.map(|output| Link { name: output.name.clone(), from: output.from.clone() }).collect(),
        }
    }

    /// Where a stage's rows come from: what its `from` names, else the stage above. `None` when nothing fits.
    pub fn stage_upstream(&self, index: usize) -> Option<Upstream> {
        self.upstream(self.stages[index].from.as_ref(), index.checked_sub(1))
    }

    /// Where an output's rows come from: what its `from` names, else the last stage. `None` when nothing fits.
    pub fn output_upstream(&self, index: usize) -> Option<Upstream> {
        self.upstream(self.outputs[index].from.as_ref(), self.stages.len().checked_sub(1))
    }

    fn upstream(&self, from: Option<&Located<String>>, above: Option<usize>) -> Option<Upstream> {
        let Some(from) = from else {
            return match (above, self.sources.len()) {
                (Some(stage), _) => Some(Upstream::Stage(stage)),
                (None, 1) => Some(Upstream::Source(0)),
                _ => None,
            };
        };
        let stage = |name: &str| self.stages.iter().position(|stage| stage.name.value == name);
        match from.value.split_once('.') {
            Some(("source", name)) => self.sources.iter().position(|source| source == name).map(Upstream::Source),
            Some((name, output)) => stage(name).map(|stage| Upstream::Route(stage, output.to_owned())),
            None => stage(&from.value).map(Upstream::Stage),
        }
    }

    /// Reports every `from` that leads nowhere or round in circles.
    pub fn check(&self, problems: &mut Problems) {
        let mut parents = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let found = self.stage_upstream(index);
            if found.is_none() {
                problems.push(self.unresolved("stage", stage));
            }
            parents.push(found.and_then(|upstream| upstream.stage()));
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if self.output_upstream(index).is_none() {
                problems.push(self.unresolved("output", output));
            }
        }
        report_circles(&self.stages, &parents, problems);
    }

    fn unresolved(&self, kind: &str, link: &Link) -> Problem {
        let who = format!("{kind} \"{}\"", link.name.value);
        let Some(from) = &link.from else {
            let sources: Vec<String> = self.sources.iter().map(|source| format!("\"source.{source}\"")).collect();
            return Problem::error(format!("{who} does not say where it reads from, and there are several sources"))
                .at(&link.name.span, "`from` is missing here")
                .help(format!("add from = with one of {}", sources.join(", ")));
        };
        let text = &from.value;
        let problem = Problem::error(format!("{who} reads from \"{text}\", which is not there"));
        if self.sources.contains(text) {
            return problem.at(&from.span, format!("write \"source.{text}\"")).help("sources are named with `source.`");
        }
        if self.outputs.iter().any(|output| output.name.value == *text) {
            let help = "an output is an end: nothing reads from it; name the stage that the output reads from";
            return problem.at(&from.span, "this is an output").help(help);
        }
        let places: Vec<String> = self
            .sources
            .iter()
            .map(|source| format!("source.{source}"))
            .chain(self.stages.iter().map(|stage| stage.name.value.clone()))
            .collect();
        let stage = text.split_once('.').filter(|(stage, _)| *stage != "source");
        let near = match stage {
            Some((stage, output)) => nearest(stage, self.stages.iter().map(|stage| stage.name.value.as_str()))
                .map(|near| format!("{near}.{output}")),
            None => nearest(text, places.iter().map(String::as_str)).map(str::to_owned),
        };
        let label = near.map_or_else(|| "not there".to_owned(), |near| format!("did you mean \"{near}\"?"));
        let quoted: Vec<String> = places.iter().map(|place| format!("\"{place}\"")).collect();
        problem
            .at(&from.span, label)
            .help(format!("rows come from {}, or from STAGE.OUTPUT of a stage that routes", quoted.join(", ")))
    }
}

/// Each circle once, told at its first stage.
fn report_circles(stages: &[Link], parents: &[Option<usize>], problems: &mut Problems) {
    let mut told = vec![false; stages.len()];
    for start in 0..stages.len() {
        let mut path = vec![start];
        while let Some(parent) = parents[path[path.len() - 1]] {
            if parent == start {
                if !told[start] {
                    problems.push(circle(stages, &path));
                }
                path.iter().for_each(|stage| told[*stage] = true);
                break;
            }
            if path.contains(&parent) {
                break;
            }
            path.push(parent);
        }
    }
}

fn circle(stages: &[Link], path: &[usize]) -> Problem {
    let first = &stages[path[0]];
    let mut names: Vec<String> = path.iter().map(|stage| format!("\"{}\"", stages[*stage].name.value)).collect();
    names.push(names[0].clone());
    let message = match path {
        [_] => format!("stage {} reads from itself", names[0]),
        _ => format!("stages read from each other in a circle: {}", names.join(" from ")),
    };
    let span = first.from.as_ref().map_or(&first.name.span, |from| &from.span);
    Problem::error(message)
        .at(span, "the circle is closed here")
        .help("a pipeline is a tree: every stage leads back to a source")
}
