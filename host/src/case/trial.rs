//! A plugin or a pipeline set up on a case's tables, in memory and a temporary folder: no data folder, no lake, no broker.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::file::types;
use super::memory::Memory;
use super::records::blocks;
use super::{Case, Fate, Kind};
use crate::config::{
    self, BatchSettings, ColumnFrom, Compression, Duplicates, EpochSettings, FileSource, Format, Located, OutputKind,
    ParquetOutput, Pipeline, PluginStage, Rejects, Source, SourceColumn, SourceKind, Stage, StageKind, Unknown,
};
use crate::contract::{Contract, Given, Table};
use crate::dimension::{self, Dimension};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Walk;
use crate::plan::{Plan, Work};
use crate::plugin::{Plugin, typed};
use crate::record::Records;
use crate::schema::Column;
use crate::service::{Failure, Plugins, build_plan, decoders, event_time, stages};

/// The name of a plugin's stage, and of its source.
const PLUGIN: &str = "plugin";

/// A pipeline that is ready to take a case's rows: the whole of one, or a plugin as the only stage.
pub struct Trial {
    kind: Kind,
    pipeline: Pipeline,
    plugins: Plugins,
    plan: Arc<Plan>,
    tables: Arc<Vec<Dimension>>,
    /// Where the tables lie.
    _folder: TempDir,
}

impl Trial {
    /// A plugin on the columns and tables of a case.
    ///
    /// # Errors
    /// What is wrong with the case's header, and why the plugin does not fit it.
    pub fn of_plugin(case: &Case, plugin: &Arc<Plugin>) -> Result<Self, Failure> {
        let header = &case.header;
        let wrong = |why: String| Error::new(ErrorKind::Config, format!("{}: {why}", case.path.display()));
        let tables = header.tables().map_err(wrong)?;
        let config = header.config.clone().unwrap_or_else(|| Value::Object(Map::new()));
        let limits = header.limits().map_err(wrong)?;
        let said = header.columns().map_err(wrong)?;
        let given = Given {
            columns: said.clone().unwrap_or_default(),
            tables: tables.clone(),
            outputs: header.outputs.clone(),
        };
        let (_, contract) = plugin.instantiate(PLUGIN, &config.to_string(), &given, &limits).map_err(|error| {
            let error = error.within(case.path.display());
            match &said {
                Some(_) => error,
                None => error.help(
                    "the header of the case has its \"config\"; a plugin that types itself from what is upstream needs \"columns\" there, too",
                ),
            }
        })?;
        missing_table(&contract, &tables).map_or(Ok(()), |(missing, help)| Err(wrong(missing).help(help)))?;
        let columns = said.unwrap_or_else(|| wanted(&contract, &tables));
        let stage = Stage {
            name: located(PLUGIN.to_owned()),
            from: None,
            kind: StageKind::Plugin(PluginStage {
                file: located(plugin.origin().into()),
                rename: BTreeMap::new(),
                tables: Some(tables.iter().map(|table| located(table.name.clone())).collect()),
                sha256: None,
                config: located((&config.to_string()).into()),
                swap: Default::default(),
            }),
            limits,
        };
        let pipeline = pipeline_of(case, columns, stage);
        Self::new(case, pipeline, Plugins::from([(PLUGIN.to_owned(), Arc::clone(plugin))]))
    }

    /// A whole pipeline. Tables that the case has rows of are made of these; others come from their files.
    ///
    /// # Errors
    /// What is wrong with the case's tables, and every problem of the plan.
    pub fn of_pipeline(case: &Case, mut pipeline: Pipeline, plugins: Plugins) -> Result<Self, Failure> {
        // A share of a few rows says nothing.
        pipeline.stages.iter_mut().for_each(|stage| stage.limits.rejected = None);
        Self::new(case, pipeline, plugins)
    }

    fn new(case: &Case, mut pipeline: Pipeline, plugins: Plugins) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        place_tables(case, &mut pipeline, folder.path())?;
        let mut tables = Vec::with_capacity(pipeline.dimensions.len());
        for dimension in &pipeline.dimensions {
            tables.push(Dimension::open(dimension, &folder.path().join("tables").join(&dimension.name.value))?);
        }
        let described: Vec<Table> = tables.iter().map(|table| table.table().clone()).collect();
        let plan = build_plan(&pipeline, &described, &plugins, 1)?.plan;
        Ok(Self { kind: case.kind, pipeline, plugins, plan: Arc::new(plan), tables: Arc::new(tables), _folder: folder })
    }

    /// Takes the case's rows through, and says what became of each.
    pub fn run(&self, case: &Case) -> Result<Vec<Fate>> {
        let mut walk = Walk::new(
            Arc::clone(&self.plan),
            event_time(&self.pipeline, &self.plan),
            decoders(&self.pipeline, &self.plan)?,
            stages(&self.pipeline, &self.plan, &self.plugins)?,
            Arc::clone(&self.tables),
        );
        let mut memory = Memory::new(Arc::clone(&self.plan), self.kind, case.rows.len());
        for (source, records) in self.blocks(case)? {
            walk.process(source, records, Duration::ZERO, &mut memory)?;
            walk.begin_epoch();
        }
        walk.take_counts()?;
        Ok(memory.into_fates())
    }

    /// The case's rows as records: the index of the source, the block.
    pub fn blocks(&self, case: &Case) -> Result<Vec<(usize, Records)>> {
        let mut blocks = blocks(case, &self.pipeline.sources)?;
        if self.kind == Kind::Plugin {
            let now_ms = case
                .header
                .now_ms()
                .map_err(|wrong| Error::new(ErrorKind::Config, format!("{}: now: {wrong}", case.path.display())))?;
            blocks.iter_mut().for_each(|(_, records)| records.timestamps_ms = vec![now_ms; records.len()]);
        }
        Ok(blocks)
    }

    /// Whether every output that the case's rows expect something in is there.
    ///
    /// # Errors
    /// `Config` with the line that names another one, and those that there are.
    pub fn knows_outputs_of(&self, case: &Case) -> Result<()> {
        let known: Vec<&str> = match self.kind {
            Kind::Plugin => {
                let outputs = self.contract().map_or(&[][..], |contract| &contract.outputs);
                outputs.iter().map(String::as_str).collect()
            }
            Kind::Pipeline => self.plan.outputs.iter().map(|output| output.name.as_ref()).collect(),
        };
        for row in &case.rows {
            let named = row.expected.iter().flat_map(Fate::destinations).flatten();
            if let Some(unknown) = named.into_iter().find(|name| !known.contains(&name.as_str())) {
                let whose = if self.kind == Kind::Plugin { "the plugin" } else { "the pipeline" };
                let help = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("{}:{}: {whose} has no output \"{unknown}\"", case.path.display(), row.line);
                return Err(Error::new(ErrorKind::Config, message).help(format!("it has {help}")));
            }
        }
        Ok(())
    }

    /// The columns of the rows that go to a place: an output of the pipeline, or what a plugin writes.
    pub fn columns_of(&self, to: Option<&str>) -> &[Column] {
        match self.kind {
            Kind::Plugin => self.contract().map_or(&[], |contract| &contract.writes),
            Kind::Pipeline => {
                let output = self.plan.outputs.iter().find(|output| Some(output.name.as_ref()) == to);
                output.map_or(&[], |output| &output.columns)
            }
        }
    }

    /// What the plugin of a plugin's case declared.
    pub fn contract(&self) -> Option<&Contract> {
        match self.plan.stages.first().map(|stage| &stage.work) {
            Some(Work::Plugin(plugin)) => Some(&plugin.contract),
            _ => None,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The pipeline, with a case's tables in the place of its own.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The tables.
    pub fn tables(&self) -> &[Dimension] {
        &self.tables
    }
}

/// A table that the contract looks up in and the case does not have: what is wrong, and the way out.
fn missing_table(contract: &Contract, tables: &[Table]) -> Option<(String, String)> {
    let lookup = contract.lookups.iter().find(|lookup| !tables.iter().any(|table| table.name == lookup.table))?;
    let table = lookup.table.as_str();
    let header = json!({ "tables": { table: { "key": { "KEY": "TYPE" }, "columns": types(&lookup.columns) } } });
    let message =
        format!("the plugin looks up in table \"{table}\" by {}, which the case does not have", lookup.key.join(", "));
    Some((message, format!("say its types in the header, {header}, and give its rows in lines of their own")))
}

/// The columns that a contract needs upstream: those it reads, and the keys of its lookups.
fn wanted(contract: &Contract, tables: &[Table]) -> Vec<Column> {
    let mut columns = contract.reads.clone();
    for lookup in &contract.lookups {
        let Some(table) = tables.iter().find(|table| table.name == lookup.table) else { continue };
        for (name, part) in lookup.key.iter().zip(&table.key) {
            if !columns.iter().any(|column| column.name == *name) {
                columns.push(Column { name: name.clone(), nullable: true, ..part.clone() });
            }
        }
    }
    columns
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

fn source_column(column: &Column) -> SourceColumn {
    SourceColumn {
        name: located(column.name.clone()),
        logical: column.logical.clone(),
        nullable: column.nullable,
        from: ColumnFrom::Field(vec![column.name.clone()]),
    }
}

/// The pipeline around one plugin: a source of typed rows, and outputs that read whatever others would.
fn pipeline_of(case: &Case, columns: Vec<Column>, stage: Stage) -> Pipeline {
    let output = |(index, from): (usize, String)| config::Output {
        name: located(format!("out{index}")),
        from: Some(located(from)),
        columns: None,
        kind: OutputKind::Parquet(ParquetOutput {
            path: format!("nowhere{index}").into(),
            partition: Vec::new(),
            target_file_bytes: 1 << 20,
            max_age: Duration::from_secs(60),
            compression: Compression::None,
        }),
    };
    let routes = case.header.outputs.iter().map(|output| format!("{PLUGIN}.{output}"));
    let outputs = std::iter::once(PLUGIN.to_owned()).chain(routes).enumerate().map(output).collect();
    Pipeline {
        name: PLUGIN.to_owned(),
        path: case.path.clone(),
        text: String::new(),
        data: "nowhere".into(),
        workers: 1,
        commit: config::CommitTo::Log,
        epoch: EpochSettings { interval: Duration::from_secs(10), memory_bytes: 256 << 20 },
        batch: BatchSettings { rows: 4_096, bytes: 4 << 20 },
        sources: vec![Source {
            name: located(PLUGIN.to_owned()),
            kind: SourceKind::File(FileSource { paths: Vec::new() }),
            format: located(Format::Parquet),
            unknown: Unknown::Ignore,
            event_time: None,
            columns: columns.iter().map(source_column).collect(),
        }],
        dimensions: case.header.tables.keys().map(|name| unplaced(name)).collect(),
        stages: vec![stage],
        outputs,
        rejects: Rejects::File { path: "nowhere".into(), keep: None },
    }
}

/// A dimension that `place_tables` gives its file and its key.
fn unplaced(name: &str) -> config::Dimension {
    config::Dimension {
        name: located(name.to_owned()),
        path: located("nowhere.parquet".into()),
        key: Vec::new(),
        columns: Vec::new(),
        duplicates: Duplicates::Refuse,
        shrink: 1.0,
        memory_bytes: 256 << 20,
    }
}

/// Writes the case's tables to files, and has the pipeline's dimensions read them.
fn place_tables(case: &Case, pipeline: &mut Pipeline, folder: &Path) -> Result<()> {
    let wrong = |why: String| Error::new(ErrorKind::Config, format!("{}: {why}", case.path.display()));
    let declared = case.header.tables().map_err(wrong)?;
    let mut rows: BTreeMap<&str, Vec<Map<String, Value>>> =
        declared.iter().map(|table| (table.name.as_str(), Vec::new())).collect();
    for (table, row) in &case.tables {
        rows.entry(table).or_default().push(row.clone());
    }
    for (name, rows) in rows {
        let dimension = pipeline.dimensions.iter_mut().find(|dimension| dimension.name.value == name);
        let dimension = dimension.ok_or_else(|| wrong(format!("there is no table \"{name}\"")))?;
        let table = match declared.iter().find(|table| table.name == name) {
            Some(table) => table.clone(),
            None => dimension::describe(dimension).map_err(|error| {
                error.help(format!("say the types of \"{name}\" in the header of the case: \"tables\""))
            })?,
        };
        let columns: Vec<Column> = table.key.iter().chain(&table.columns).cloned().collect();
        let unknown = rows.iter().flat_map(Map::keys).find(|name| !columns.iter().any(|column| column.name == **name));
        if let Some(unknown) = unknown {
            return Err(wrong(format!("table \"{name}\" has no column \"{unknown}\"")));
        }
        let batch =
            typed(&columns, &rows).map_err(|(row, why)| wrong(format!("table \"{name}\", row {}: {why}", row + 1)))?;
        let path = folder.join(format!("{name}.parquet"));
        write(&path, &batch)?;
        dimension.path = located(path);
        dimension.columns = Vec::new();
        dimension.key = table.key.iter().map(|column| located(column.name.clone())).collect();
    }
    Ok(())
}

fn write(path: &Path, rows: &arrow::array::RecordBatch) -> Result<()> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Storage, format!("{} cannot be written", path.display())).caused_by(error)
    };
    let file = File::create(path).map_err(|error| failed(error.into()))?;
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).map_err(|error| failed(error.into()))?;
    writer.write(rows).map_err(|error| failed(error.into()))?;
    writer.close().map_err(|error| failed(error.into()))?;
    Ok(())
}
