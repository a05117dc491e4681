//! Builds the plan: forwards from the sources, stage by stage, then backwards over what is needed.
//!
//! Promise: a plan that was built runs as far as columns go: every column that is read is there, with its type, and no
//! null comes where none is read. It holds because each stage is held against the columns that its parent was found to
//! give, and a stage whose parent has problems is not judged at all.

use std::sync::Arc;

use super::contract::Checked;
use super::names::{Names, stage_text};
use super::{Plan, contract, output, prune};
use crate::config::{
    Located, LookupStage, Missing, Outline, Pipeline, PluginStage, Problem, Problems, Source, Stage, StageConfig,
    StageKind, Unknown, Upstream, nearest,
};
use crate::contract::{Contract, Given, Table};
use crate::schema::Column;
use millstream_sdk::LogicalType;

/// A plan, and what is strange about it.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Warnings only; may be empty.
    pub warnings: Problems,
}

/// Why a plugin gave no contract; the message is said with the stage's name before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The file: it is not there, or no plugin.
    File(String),
    /// The plugin refuses its configuration; in its own words.
    Config(String),
}

/// Loads and configures a stage's plugin: its digest and contract.
pub type Configure<'c> = dyn FnMut(&Stage, &Given) -> Result<(Arc<str>, Contract), Refused> + 'c;

/// Builds the plan of a pipeline.
///
/// `tables` are the dimensions that are there; what concerns others is not judged. `configure` gives a plugin's digest
/// and contract.
///
/// # Errors
/// Everything that does not fit together, in one go, warnings included.
pub fn build(
    pipeline: &Pipeline,
    tables: &[Table],
    number: u64,
    configure: &mut Configure<'_>,
) -> Result<Planned, Problems> {
    let outline = Outline::of(pipeline);
    let upstream = (0..pipeline.stages.len()).map(|stage| outline.stage_upstream(stage)).collect();
    let output_upstream = (0..pipeline.outputs.len()).map(|output| outline.output_upstream(output)).collect();
    let table = |name: &str| tables.iter().find(|table| table.name == name);
    let mut builder = Builder {
        pipeline,
        tables: pipeline.dimensions.iter().map(|dimension| table(&dimension.name.value)).collect(),
        upstream,
        output_upstream,
        drafts: vec![None; pipeline.stages.len()],
        problems: Problems::of(pipeline),
    };
    let order = builder.parents_first();
    for stage in &order {
        builder.drafts[*stage] = builder.draft(*stage, configure);
    }
    let outputs = output::check(&mut builder);
    if builder.problems.errors() == 0 {
        // What nobody reads may be what a mistyped name was to read.
        builder.warn_of_unread();
    }
    if builder.problems.errors() > 0 {
        return Err(builder.problems);
    }
    let Builder { drafts, problems, .. } = builder;
    match outputs.and_then(|outputs| prune::plan(pipeline, number, &order, drafts, outputs)) {
        Some(plan) => Ok(Planned { plan, warnings: problems }),
        None => {
            let mut problems = problems;
            problems.push(Problem::error("the pipeline does not hang together").help("please report this file"));
            Err(problems)
        }
    }
}

/// A column on its way, with who made it so: the place is shown when a reader wants it otherwise.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub column: Column,
    /// `source "clicks" declares it`
    pub maker: String,
    /// Where in the file.
    pub span: std::ops::Range<usize>,
}

/// A stage whose contract was looked at: all its columns, by name, before anything is left out.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub from: Upstream,
    pub work: DraftWork,
    /// What leaves it.
    pub columns: Vec<Known>,
}

#[derive(Clone, Debug)]
pub(super) enum DraftWork {
    Plugin(Box<DraftPlugin>),
    Lookup(DraftLookup),
}

/// A plugin's contract, and what was found for it.
#[derive(Clone, Debug)]
pub(super) struct DraftPlugin {
    pub digest: Arc<str>,
    pub config: StageConfig,
    pub given: Given,
    pub contract: Contract,
    pub checked: Checked,
}

/// A lookup by the pipeline's column names.
#[derive(Clone, Debug)]
pub(super) struct DraftLookup {
    pub table: usize,
    pub key: Vec<String>,
    /// The name behind the stage, and the index into the table's columns.
    pub columns: Vec<(String, usize)>,
    pub missing: Missing,
}

/// The forward walk.
pub(super) struct Builder<'a> {
    pub pipeline: &'a Pipeline,
    /// By the dimension's index; none when it is not there.
    pub tables: Vec<Option<&'a Table>>,
    pub upstream: Vec<Option<Upstream>>,
    pub output_upstream: Vec<Option<Upstream>>,
    /// By the stage's index; none before its turn, and when it has problems.
    pub drafts: Vec<Option<Draft>>,
    pub problems: Problems,
}

impl<'a> Builder<'a> {
    /// The stages, parents before children, else in the file's order. A circle, which the reader refuses, is left out.
    fn parents_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        loop {
            let next = (0..self.upstream.len()).find(|stage| {
                let parent = self.upstream[*stage].as_ref().map(Upstream::stage);
                !order.contains(stage)
                    && parent.is_some_and(|parent| parent.is_none_or(|parent| order.contains(&parent)))
            });
            match next {
                Some(stage) => order.push(stage),
                None => return order,
            }
        }
    }

    fn draft(&mut self, index: usize, configure: &mut Configure<'_>) -> Option<Draft> {
        let pipeline = self.pipeline;
        let stage = &pipeline.stages[index];
        let from = self.upstream[index].clone()?;
        let columns = self.columns_at(&from, &stage_text(stage), stage.from.as_ref())?;
        match &stage.kind {
            StageKind::Plugin(plugin) => self.draft_plugin(index, stage, plugin, from, &columns, configure),
            StageKind::Lookup(lookup) => self.draft_lookup(stage, lookup, from, columns),
        }
    }

    /// What flows at a place; `None` when its stage has problems. An output that the stage lacks is reported.
    pub fn columns_at(&mut self, from: &Upstream, who: &str, written: Option<&Located<String>>) -> Option<Vec<Known>> {
        let stage = match from {
            Upstream::Source(source) => return Some(source_columns(&self.pipeline.sources[*source])),
            Upstream::Stage(stage) => return Some(self.drafts[*stage].as_ref()?.columns.clone()),
            Upstream::Route(stage, _) => *stage,
        };
        let Upstream::Route(_, name) = from else { return None };
        let draft = self.drafts[stage].as_ref()?;
        let outputs = self.outputs_of(stage);
        if !outputs.contains(name) {
            let parent = &self.pipeline.stages[stage].name.value;
            let span = written.map_or(0..0, |from| from.span.clone());
            let near = nearest(name, outputs.iter().map(String::as_str));
            let message = format!("{who} reads from \"{parent}.{name}\", which is not there");
            let problem = match outputs.is_empty() {
                true => Problem::error(message)
                    .at(&span, format!("stage \"{parent}\" does not route"))
                    .help(format!("write \"{parent}\" to read all its rows")),
                false => Problem::error(message)
                    .at(
                        &span,
                        near.map_or_else(
                            || "not there".to_owned(),
                            |near| format!("did you mean \"{parent}.{near}\"?"),
                        ),
                    )
                    .help(format!("stage \"{parent}\" routes to {}", outputs.join(", "))),
            };
            self.problems.push(problem);
            return None;
        }
        Some(draft.columns.clone())
    }

    /// The outputs of a routing stage, by the pipeline's names.
    pub fn outputs_of(&self, stage: usize) -> Vec<String> {
        match (&self.drafts[stage], &self.pipeline.stages[stage].kind) {
            (Some(Draft { work: DraftWork::Plugin(draft), .. }), StageKind::Plugin(plugin)) => {
                let names = Names(&plugin.rename);
                draft.contract.outputs.iter().map(|own| names.pipelines(own).to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn draft_plugin(
        &mut self,
        index: usize,
        stage: &Stage,
        plugin: &PluginStage,
        from: Upstream,
        columns: &[Known],
        configure: &mut Configure<'_>,
    ) -> Option<Draft> {
        let given = Names(&plugin.rename).given(
            &columns.iter().map(|known| known.column.clone()).collect::<Vec<_>>(),
            &self.tables_told(plugin),
            &self.routes_read(index),
        );
        let (digest, contract) = match configure(stage, &given) {
            Ok(configured) => configured,
            Err(refused) => {
                self.problems.push(refusal(stage, plugin, refused));
                return None;
            }
        };
        let checked = contract::Check::new(self, stage, plugin, columns).contract(&contract);
        let behind = contract::behind(stage, plugin, columns, &contract);
        let config = plugin.config.value.clone();
        let work = DraftWork::Plugin(Box::new(DraftPlugin { digest, config, given, contract, checked }));
        Some(Draft { from, work, columns: behind })
    }

    /// The tables that a plugin is told of: those it is granted, or all when the file does not say.
    fn tables_told(&self, plugin: &PluginStage) -> Vec<&'a Table> {
        let granted = |table: &&Table| match &plugin.tables {
            Some(granted) => granted.iter().any(|name| name.value == table.name),
            None => true,
        };
        self.tables.iter().flatten().copied().filter(granted).collect()
    }

    /// The outputs of a stage that others read, by the pipeline's names, each once.
    fn routes_read(&self, stage: usize) -> Vec<String> {
        let mut read = Vec::new();
        for upstream in self.upstream.iter().chain(&self.output_upstream).flatten() {
            match upstream {
                Upstream::Route(from, name) if *from == stage && !read.contains(name) => read.push(name.clone()),
                _ => {}
            }
        }
        read
    }

    fn draft_lookup(
        &mut self,
        stage: &Stage,
        lookup: &LookupStage,
        from: Upstream,
        columns: Vec<Known>,
    ) -> Option<Draft> {
        let (draft, added) = contract::native(self, stage, lookup, &columns)?;
        let mut behind = columns;
        added.into_iter().for_each(|known| contract::put(&mut behind, known));
        Some(Draft { from, work: DraftWork::Lookup(draft), columns: behind })
    }

    /// What nobody reads is probably forgotten.
    fn warn_of_unread(&mut self) {
        let read: Vec<Upstream> = self.upstream.iter().chain(&self.output_upstream).flatten().cloned().collect();
        for (index, source) in self.pipeline.sources.iter().enumerate() {
            if !read.contains(&Upstream::Source(index)) {
                let name = &source.name.value;
                let problem = Problem::warning(format!("nobody reads source \"{name}\""))
                    .at(&source.name.span, "its records are left alone")
                    .help(format!("add from = \"source.{name}\" to a stage or an output, or take the source away"));
                self.problems.push(problem);
            }
        }
        for (index, stage) in self.pipeline.stages.iter().enumerate() {
            let name = &stage.name.value;
            if !read.iter().any(|upstream| upstream.stage() == Some(index)) {
                let problem = Problem::warning(format!("nobody reads {}", stage_text(stage)))
                    .at(&stage.name.span, "what it makes is thrown away")
                    .help(format!("add from = \"{name}\" to a stage or an output, or take the stage away"));
                self.problems.push(problem);
            } else if !read.contains(&Upstream::Stage(index)) {
                for output in self.outputs_of(index) {
                    if !read.contains(&Upstream::Route(index, output.clone())) {
                        let message = format!("nobody reads the output \"{output}\" of {}", stage_text(stage));
                        let problem = Problem::warning(message)
                            .at(&stage.name.span, "the rows that it sends there are thrown away")
                            .help(format!("add an output with from = \"{name}.{output}\""));
                        self.problems.push(problem);
                    }
                }
            }
        }
        self.warn_of_unused_dimensions();
    }

    fn warn_of_unused_dimensions(&mut self) {
        let used = |table: usize| {
            self.drafts.iter().flatten().any(|draft| match &draft.work {
                DraftWork::Lookup(lookup) => lookup.table == table,
                DraftWork::Plugin(plugin) => {
                    plugin.checked.lookups.iter().any(|lookup| lookup.table == table)
                        || plugin.checked.granted.iter().any(|(_, granted)| *granted == table)
                }
            })
        };
        let unused: Vec<usize> = (0..self.pipeline.dimensions.len()).filter(|table| !used(*table)).collect();
        for table in unused {
            let name = &self.pipeline.dimensions[table].name;
            let problem = Problem::warning(format!("nobody looks up in dimension \"{}\"", name.value))
                .at(&name.span, "it is loaded for nothing")
                .help("take it away, or name it in the `tables` of the plugin that asks for it");
            self.problems.push(problem);
        }
    }
}

/// The columns of a source, the one of kept unknown fields last.
pub(super) fn source_columns(source: &Source) -> Vec<Known> {
    let maker = format!("source \"{}\" declares it", source.name.value);
    let mut columns: Vec<Known> = source
        .columns
        .iter()
        .map(|column| Known {
            column: Column {
                name: column.name.value.clone(),
                logical: column.logical.clone(),
                nullable: column.nullable,
            },
            maker: maker.clone(),
            span: column.name.span.clone(),
        })
        .collect();
    if let Unknown::Keep(name) = &source.unknown {
        let column = Column { name: name.clone(), logical: LogicalType::Utf8, nullable: true };
        columns.push(Known { column, maker: "it keeps unknown fields".to_owned(), span: source.name.span.clone() });
    }
    columns
}

fn refusal(stage: &Stage, plugin: &PluginStage, refused: Refused) -> Problem {
    let who = stage_text(stage);
    match refused {
        Refused::File(message) => {
            let span = if plugin.file.span == (0..0) { &stage.name.span } else { &plugin.file.span };
            Problem::error(format!("{who}: {message}")).at(span, "this plugin")
        }
        Refused::Config(message) => {
            let config = &plugin.config.value;
            if config.is_changed() {
                // The pipeline file says something else, so there is no place in it.
                let proposed = config.text();
                return Problem::error(format!("{who}: the plugin refuses the proposed config {proposed}: {message}"));
            }
            let span = match &plugin.config.span {
                span if *span == (0..0) => stage.name.span.clone(),
                span => config.key_of(&message).unwrap_or_else(|| span.clone()),
            };
            Problem::error(format!("{who}: the plugin refuses its config: {message}")).at(&span, "here")
        }
    }
}
