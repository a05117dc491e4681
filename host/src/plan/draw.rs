//! The plan as a tree for the terminal: which columns flow where.

use std::fmt::Write;

use super::{Origin, Place, Plan, PlannedLookup, PlannedPlugin, PlannedStage, Work};
use crate::config::{
    KafkaOutput, Missing, OutputKind, ParquetOutput, PartitionBy, PartitionTransform, Pipeline, Rejects, SourceKind,
    StageKind, Unknown,
};
use crate::digest::short;
use crate::schema::Column;

/// The columns of a terminal that lines are broken at.
const WIDTH: usize = 100;

impl Plan {
    /// The tree: sources with their columns and what is not decoded; stages with digest, reads, lookups and writes;
    /// outputs with columns and partitions. `pipeline` is the one that the plan was built from.
    pub fn draw(&self, pipeline: &Pipeline) -> String {
        let mut drawing = Drawing { plan: self, pipeline, lines: String::new() };
        drawing.line("", &format!("pipeline {}, plan {}", pipeline.name, self.number));
        for source in 0..self.sources.len() {
            drawing.line("", "");
            drawing.source(source);
        }
        drawing.line("", "");
        let rejects = match &pipeline.rejects {
            Rejects::File { path, .. } => format!("files in {}", shown(pipeline, path)),
            Rejects::Kafka(KafkaOutput { topic, .. }) => format!("topic {}", topic.value),
        };
        drawing.line("", &format!("rejects: {rejects}"));
        drawing.lines
    }
}

/// A child in the tree.
#[derive(Clone, Copy)]
enum Child {
    Stage(usize),
    Output(usize),
}

struct Drawing<'a> {
    plan: &'a Plan,
    pipeline: &'a Pipeline,
    lines: String,
}

impl Drawing<'_> {
    fn line(&mut self, prefix: &str, text: &str) {
        let line = format!("{prefix}{text}");
        self.lines.push_str(line.trim_end());
        self.lines.push('\n');
    }

    /// `label   item, item, item`, broken between items, aligned behind the label.
    fn items(&mut self, prefix: &str, label: &str, items: &[String]) {
        const LABEL: usize = 13;
        let mut line = format!("{label:<LABEL$}");
        let mut empty = true;
        for (index, item) in items.iter().enumerate() {
            let comma = if index + 1 < items.len() { "," } else { "" };
            let width = prefix.chars().count() + line.chars().count() + 1 + item.chars().count() + comma.len();
            if !empty && width > WIDTH {
                self.line(prefix, &line);
                line = " ".repeat(LABEL);
                empty = true;
            }
            let space = if empty { "" } else { " " };
            let _ = write!(line, "{space}{item}{comma}");
            empty = false;
        }
        self.line(prefix, &line);
    }

    fn children(&self, of: Place) -> Vec<(Option<u16>, Child)> {
        let below = |place: Place| match (of, place) {
            (Place::Source(of), Place::Source(place)) => (of == place).then_some(None),
            (Place::Stage(of), Place::Stage(place)) => (of == place).then_some(None),
            (Place::Stage(of), Place::Route { stage, output }) => (of == stage).then_some(Some(output)),
            _ => None,
        };
        let stages = self.plan.stages.iter().enumerate().map(|(index, stage)| (stage.from, Child::Stage(index)));
        let outputs = self.plan.outputs.iter().enumerate().map(|(index, output)| (output.from, Child::Output(index)));
        stages.chain(outputs).filter_map(|(place, child)| Some((below(place)?, child))).collect()
    }

    fn source(&mut self, index: usize) {
        let (planned, source) = (&self.plan.sources[index], &self.pipeline.sources[index]);
        let kind = match &source.kind {
            SourceKind::Kafka(kafka) => format!("topic {}", kafka.topic.value),
            SourceKind::File(file) => {
                let paths = file.paths.iter().map(|path| shown(self.pipeline, std::path::Path::new(&path.value)));
                paths.collect::<Vec<_>>().join(", ")
            }
        };
        let format = format!("{:?}", source.format.value).to_lowercase();
        self.line("", &format!("source {}  ({kind}, {format})", planned.name));
        let children = self.children(Place::Source(index));
        let prefix = if children.is_empty() { "  " } else { "│ " };
        if planned.columns.is_empty() {
            self.items(prefix, "decodes", &["nothing".to_owned()]);
        } else {
            self.items(prefix, "decodes", &column_texts(&planned.columns));
        }
        let kept = match &source.unknown {
            Unknown::Keep(name) => Some(format!("{name} utf8?")),
            _ => None,
        };
        let all = source.columns.iter().map(|column| {
            format!("{} {}{}", column.name.value, column.logical, if column.nullable { "?" } else { "" })
        });
        let left: Vec<String> =
            all.chain(kept).zip(&planned.needed).filter(|(_, needed)| !**needed).map(|(text, _)| text).collect();
        if !left.is_empty() {
            self.items(prefix, "not decoded", &left);
        }
        self.below("", &children, None);
    }

    fn below(&mut self, prefix: &str, children: &[(Option<u16>, Child)], parent: Option<usize>) {
        for (index, (route, child)) in children.iter().enumerate() {
            let last = index + 1 == children.len();
            self.line(prefix, "│");
            let route = route.and_then(|output| self.route(parent?, output)).map(|name| format!(".{name} → "));
            let title = format!("{prefix}{}{}", if last { "└─ " } else { "├─ " }, route.unwrap_or_default());
            let rest = format!("{prefix}{}", if last { "   " } else { "│  " });
            match child {
                Child::Stage(stage) => self.stage(&title, &rest, *stage),
                Child::Output(output) => self.output(&title, &rest, *output),
            }
        }
    }

    /// The pipeline's name of a stage's output.
    fn route(&self, stage: usize, output: u16) -> Option<String> {
        let planned = &self.plan.stages[stage];
        let Work::Plugin(plugin) = &planned.work else { return None };
        let own = plugin.contract.outputs.get(usize::from(output))?;
        match &self.pipeline.stages[planned.index].kind {
            StageKind::Plugin(stage) => Some(stage.rename.get(own).unwrap_or(own).clone()),
            StageKind::Lookup(_) => None,
        }
    }

    fn stage(&mut self, title: &str, rest: &str, index: usize) {
        let plan = self.plan;
        let stage = &plan.stages[index];
        let children = self.children(Place::Stage(index));
        let prefix = format!("{rest}{}", if children.is_empty() { "  " } else { "│ " });
        match &stage.work {
            Work::Plugin(plugin) => self.plugin(title, &prefix, stage, plugin),
            Work::Lookup(lookup) => self.lookup(title, &prefix, stage, lookup),
        }
        let passed: Vec<String> = stage
            .output
            .iter()
            .filter(|flow| matches!(flow.origin, Origin::Input(_)))
            .map(|flow| flow.column.name.clone())
            .collect();
        if !passed.is_empty() {
            self.items(&prefix, "passes on", &passed);
        }
        self.below(rest, &children, Some(index));
    }

    fn plugin(&mut self, title: &str, prefix: &str, stage: &PlannedStage, plugin: &PlannedPlugin) {
        let StageKind::Plugin(written) = &self.pipeline.stages[stage.index].kind else { return };
        let digest = short(&plugin.digest);
        let file = shown(self.pipeline, &written.file.value);
        self.line(title, &format!("stage {}  (plugin {file}, {digest})", stage.name));
        let own = |own: &str| match written.rename.get(own) {
            Some(name) => format!("{name} as {own}"),
            None => own.to_owned(),
        };
        if !plugin.contract.reads.is_empty() {
            let reads = plugin.contract.reads.iter();
            let reads: Vec<String> =
                reads.map(|column| format!("{} {}", own(&column.name), column.type_text())).collect();
            self.items(prefix, "reads", &reads);
        }
        for (declared, planned) in plugin.contract.lookups.iter().zip(&plugin.lookups) {
            self.items(
                prefix,
                "looks up",
                &lookup_items(self.pipeline, stage, planned, column_texts(&declared.columns)),
            );
        }
        if !plugin.contract.writes.is_empty() {
            let written: Vec<String> = plugin
                .contract
                .writes
                .iter()
                .enumerate()
                .map(|(index, column)| match stage.output.iter().find(|flow| flow.origin == Origin::Made(index)) {
                    Some(flow) => format!("{} {}", flow.column.name, flow.column.type_text()),
                    None => format!("{} {} (unused)", own(&column.name), column.type_text()),
                })
                .collect();
            self.items(prefix, "writes", &written);
        }
    }

    fn lookup(&mut self, title: &str, prefix: &str, stage: &PlannedStage, lookup: &PlannedLookup) {
        self.line(title, &format!("stage {}  (lookup)", stage.name));
        let made = stage.output.iter().filter(|flow| matches!(flow.origin, Origin::Made(_)));
        let made: Vec<String> = made.map(|flow| format!("{} {}", flow.column.name, flow.column.type_text())).collect();
        self.items(prefix, "looks up", &lookup_items(self.pipeline, stage, lookup, made));
        let missing = match lookup.missing {
            Missing::Null => return,
            Missing::Reject => "rejected",
            Missing::Filter => "filtered",
        };
        self.items(prefix, "missing", &[format!("rows without a match are {missing}")]);
    }

    fn output(&mut self, title: &str, rest: &str, index: usize) {
        let planned = &self.plan.outputs[index];
        let kind = &self.pipeline.outputs[planned.index].kind;
        let place = match kind {
            OutputKind::Parquet(ParquetOutput { path, .. }) => format!("parquet {}", shown(self.pipeline, path)),
            OutputKind::Kafka(kafka) => format!("topic {}", kafka.topic.value),
        };
        self.line(title, &format!("output {}  ({place})", planned.name));
        let prefix = format!("{rest}  ");
        self.items(&prefix, "columns", &column_texts(&planned.columns));
        match kind {
            OutputKind::Parquet(parquet) if !parquet.partition.is_empty() => {
                let parts: Vec<String> = parquet.partition.iter().map(partition_text).collect();
                self.items(&prefix, "partitions", &parts);
            }
            OutputKind::Kafka(KafkaOutput { key: Some(key), .. }) => {
                self.items(&prefix, "key", std::slice::from_ref(&key.value))
            }
            _ => {}
        }
    }
}

fn column_texts(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| format!("{} {}", column.name, column.type_text())).collect()
}

/// `users by user_id: country utf8?, plan utf8`
fn lookup_items(
    pipeline: &Pipeline,
    stage: &PlannedStage,
    lookup: &PlannedLookup,
    columns: Vec<String>,
) -> Vec<String> {
    let table = &pipeline.dimensions[lookup.table].name.value;
    let key: Vec<&str> = lookup.key.iter().map(|column| stage.input[*column].name.as_str()).collect();
    let by = format!("{table} by {}", key.join(" + "));
    let mut columns = columns.into_iter();
    match columns.next() {
        Some(first) => std::iter::once(format!("{by}: {first}")).chain(columns).collect(),
        None => vec![by],
    }
}

fn partition_text(part: &PartitionBy) -> String {
    match part.transform {
        PartitionTransform::Value => part.column.value.clone(),
        PartitionTransform::Day => format!("day({})", part.column.value),
        PartitionTransform::Hour => format!("hour({})", part.column.value),
    }
}

/// A path as it stands in the file: relative to its folder when it lies below.
fn shown(pipeline: &Pipeline, path: &std::path::Path) -> String {
    let folder = pipeline.path.parent().unwrap_or(std::path::Path::new(""));
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}
