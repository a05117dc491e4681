//! Backwards from the outputs: what nobody needs is not decoded, does not flow, and is not looked up.
//!
//! All children of a place get the same batches, so a column flows when any of them, or anything below one, needs it.

use std::collections::HashSet;

use super::build::{Draft, DraftLookup, DraftPlugin, DraftWork, source_columns};
use super::output::DraftOutput;
use super::{
    Flow, Origin, Place, Plan, PlannedLookup, PlannedOutput, PlannedPlugin, PlannedSource, PlannedStage, Work,
};
use crate::config::{Pipeline, Upstream};
use crate::schema::Column;

/// Makes the plan of what was checked; `None` when something is missing, which the checks exclude.
pub(super) fn plan(
    pipeline: &Pipeline,
    number: u64,
    order: &[usize],
    drafts: Vec<Option<Draft>>,
    outputs: Vec<DraftOutput>,
) -> Option<Plan> {
    let drafts: Vec<Draft> = drafts.into_iter().collect::<Option<_>>()?;
    let needs = Needs::of(pipeline, order, &drafts, &outputs);
    let mut plan = Plan { number, sources: sources(pipeline, &needs), stages: Vec::new(), outputs: Vec::new() };
    let position = |stage: usize| order.iter().position(|other| *other == stage);
    let place = |upstream: &Upstream| -> Option<Place> {
        Some(match upstream {
            Upstream::Source(source) => Place::Source(*source),
            Upstream::Stage(stage) => Place::Stage(position(*stage)?),
            Upstream::Route(stage, name) => {
                let output = route(pipeline, *stage, &drafts[*stage], name)?;
                Place::Route { stage: position(*stage)?, output }
            }
        })
    };
    for index in order {
        let draft = &drafts[*index];
        let from = place(&draft.from)?;
        let input = plan.columns_at(from);
        let stage = planned_stage(pipeline, *index, from, input, draft, &needs.stages[*index])?;
        plan.stages.push(stage);
    }
    for (index, (output, draft)) in pipeline.outputs.iter().zip(&outputs).enumerate() {
        let from = place(&draft.from)?;
        let there = plan.columns_at(from);
        let take: Vec<usize> = positions(&there, &draft.columns)?;
        let columns = take.iter().map(|column| there[*column].clone()).collect();
        plan.outputs.push(PlannedOutput { name: output.name.value.as_str().into(), index, from, take, columns });
    }
    Some(plan)
}

/// The names of the columns that are needed behind each source and each stage.
struct Needs {
    sources: Vec<HashSet<String>>,
    stages: Vec<HashSet<String>>,
}

impl Needs {
    fn of(pipeline: &Pipeline, order: &[usize], drafts: &[Draft], outputs: &[DraftOutput]) -> Self {
        let mut needs =
            Self { sources: vec![HashSet::new(); pipeline.sources.len()], stages: vec![HashSet::new(); drafts.len()] };
        for output in outputs {
            needs.at(&output.from).extend(output.columns.iter().cloned());
        }
        for index in order.iter().rev() {
            let draft = &drafts[*index];
            let below = needs.stages[*index].clone();
            let made = made(pipeline, *index, draft);
            let passed = below.into_iter().filter(|name| !made.contains(name));
            let above = needs.at(&draft.from);
            above.extend(passed);
            above.extend(read(draft));
        }
        needs
    }

    fn at(&mut self, upstream: &Upstream) -> &mut HashSet<String> {
        match upstream {
            Upstream::Source(source) => &mut self.sources[*source],
            Upstream::Stage(stage) | Upstream::Route(stage, _) => &mut self.stages[*stage],
        }
    }
}

/// The columns that a stage makes, by the pipeline's names, in the order of `Origin::Made`.
fn made(pipeline: &Pipeline, index: usize, draft: &Draft) -> Vec<String> {
    match &draft.work {
        DraftWork::Lookup(lookup) => lookup.columns.iter().map(|(name, _)| name.clone()).collect(),
        DraftWork::Plugin(plugin) => plugin
            .contract
            .writes
            .iter()
            .map(|column| pipelines_name(pipeline, index, &column.name).to_owned())
            .collect(),
    }
}

fn pipelines_name<'a>(pipeline: &'a Pipeline, stage: usize, own: &'a str) -> &'a str {
    match &pipeline.stages[stage].kind {
        crate::config::StageKind::Plugin(plugin) => super::names::Names(&plugin.rename).pipelines(own),
        crate::config::StageKind::Lookup(_) => own,
    }
}

/// The columns that a stage reads itself.
fn read(draft: &Draft) -> Vec<String> {
    match &draft.work {
        DraftWork::Lookup(lookup) => lookup.key.clone(),
        DraftWork::Plugin(plugin) => {
            let checked = &plugin.checked;
            checked.reads.iter().chain(checked.lookups.iter().flat_map(|lookup| &lookup.key)).cloned().collect()
        }
    }
}

fn route(pipeline: &Pipeline, stage: usize, draft: &Draft, name: &str) -> Option<u16> {
    let DraftWork::Plugin(plugin) = &draft.work else { return None };
    let output = plugin.contract.outputs.iter().position(|own| pipelines_name(pipeline, stage, own) == name)?;
    u16::try_from(output).ok()
}

fn sources(pipeline: &Pipeline, needs: &Needs) -> Vec<PlannedSource> {
    let source = |(source, needs): (&crate::config::Source, &HashSet<String>)| {
        let all: Vec<Column> = source_columns(source).into_iter().map(|known| known.column).collect();
        let needed: Vec<bool> = all.iter().map(|column| needs.contains(&column.name)).collect();
        let columns = all.into_iter().filter(|column| needs.contains(&column.name)).collect();
        PlannedSource { name: source.name.value.as_str().into(), needed, columns }
    };
    pipeline.sources.iter().zip(&needs.sources).map(source).collect()
}

fn positions(columns: &[Column], names: &[String]) -> Option<Vec<usize>> {
    names.iter().map(|name| columns.iter().position(|column| column.name == *name)).collect()
}

fn planned_stage(
    pipeline: &Pipeline,
    index: usize,
    from: Place,
    input: Vec<Column>,
    draft: &Draft,
    needs: &HashSet<String>,
) -> Option<PlannedStage> {
    let mut made = made(pipeline, index, draft);
    let work = match &draft.work {
        DraftWork::Lookup(lookup) => {
            let mut lookup = lookup.clone();
            lookup.columns.retain(|(name, _)| needs.contains(name));
            made.retain(|name| needs.contains(name));
            Work::Lookup(planned_lookup(&input, &lookup)?)
        }
        DraftWork::Plugin(plugin) => {
            let DraftPlugin { digest, config, given, contract, checked } = &**plugin;
            let lookups: Option<Vec<_>> = checked.lookups.iter().map(|lookup| planned_lookup(&input, lookup)).collect();
            Work::Plugin(Box::new(PlannedPlugin {
                digest: digest.clone(),
                config: config.clone(),
                given: given.clone(),
                contract: contract.clone(),
                reads: positions(&input, &checked.reads)?,
                lookups: lookups?,
                granted: checked.granted.clone(),
            }))
        }
    };
    let mut output = Vec::new();
    for known in draft.columns.iter().filter(|known| needs.contains(&known.column.name)) {
        let name = &known.column.name;
        let origin = match made.iter().position(|made| made == name) {
            Some(made) => Origin::Made(made),
            None => Origin::Input(input.iter().position(|column| column.name == *name)?),
        };
        output.push(Flow { column: known.column.clone(), origin });
    }
    let name = pipeline.stages[index].name.value.as_str().into();
    Some(PlannedStage { name, index, from, input, work, output })
}

fn planned_lookup(input: &[Column], lookup: &DraftLookup) -> Option<PlannedLookup> {
    Some(PlannedLookup {
        table: lookup.table,
        key: positions(input, &lookup.key)?,
        columns: lookup.columns.iter().map(|(_, column)| *column).collect(),
        missing: lookup.missing,
    })
}
