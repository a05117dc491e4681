//! Holds what a stage wants against what is there: a plugin's contract, and a native lookup.

use std::ops::Range;

use super::build::{Builder, DraftLookup, Known};
use super::names::{Names, stage_text};
use crate::config::{LookupStage, Missing, PluginStage, Problem, Stage, suggestion};
use crate::contract::{Contract, DeclaredLookup, Table};
use crate::schema::Column;

/// A contract in the pipeline's names; parts with problems are left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    /// The column of each of the contract's reads.
    pub reads: Vec<String>,
    /// The contract's lookups.
    pub lookups: Vec<DraftLookup>,
    /// The dimensions that get-many may read: the plugin's name, and the index.
    pub granted: Vec<(String, usize)>,
}

/// Why a column does not do.
enum Misfit {
    Type,
    Null,
}

/// Whether a column may be read as another: the same type, and no null where none is expected.
fn fits(read: &Column, there: &Column) -> Result<(), Misfit> {
    if read.logical != there.logical {
        Err(Misfit::Type)
    } else if there.nullable && !read.nullable {
        Err(Misfit::Null)
    } else {
        Ok(())
    }
}

/// Puts a column that a stage made among the others: in place of one of its name, else behind them.
pub(super) fn put(columns: &mut Vec<Known>, made: Known) {
    match columns.iter_mut().find(|known| known.column.name == made.column.name) {
        Some(known) => *known = made,
        None => columns.push(made),
    }
}

/// The columns behind a plugin: those before it, with what it writes.
pub(super) fn behind(stage: &Stage, plugin: &PluginStage, columns: &[Known], contract: &Contract) -> Vec<Known> {
    let names = Names(&plugin.rename);
    let mut behind = columns.to_vec();
    for written in &contract.writes {
        let column = Column { name: names.pipelines(&written.name).to_owned(), ..written.clone() };
        put(&mut behind, Known { column, maker: format!("{} writes it", stage_text(stage)), span: place(stage) });
    }
    behind
}

/// Where messages about a stage point when nothing nearer is known.
fn place(stage: &Stage) -> Range<usize> {
    stage.name.span.clone()
}

/// The check of one plugin's contract.
pub(super) struct Check<'b, 'a> {
    builder: &'b mut Builder<'a>,
    stage: &'b Stage,
    plugin: &'b PluginStage,
    columns: &'b [Known],
    span: Range<usize>,
}

impl<'b, 'a> Check<'b, 'a> {
    pub fn new(builder: &'b mut Builder<'a>, stage: &'b Stage, plugin: &'b PluginStage, columns: &'b [Known]) -> Self {
        let span = if plugin.file.span == (0..0) { place(stage) } else { plugin.file.span.clone() };
        Self { builder, stage, plugin, columns, span }
    }

    /// Reports everything that does not fit.
    pub fn contract(mut self, contract: &Contract) -> Checked {
        let names = Names(&self.plugin.rename);
        let reads = contract.reads.iter().filter_map(|read| self.read(read)).collect();
        let lookups: Vec<DraftLookup> = contract.lookups.iter().filter_map(|lookup| self.lookup(lookup)).collect();
        self.writes(contract);
        self.outputs(contract);
        self.unused_renames(contract);
        let granted: Vec<usize> = match &self.plugin.tables {
            Some(tables) => tables.iter().filter_map(|table| self.table_index(&table.value)).collect(),
            None => lookups.iter().map(|lookup| lookup.table).collect(),
        };
        let mut named: Vec<(String, usize)> = Vec::new();
        for table in granted {
            for name in names.plugins(&self.builder.pipeline.dimensions[table].name.value) {
                if !named.contains(&(name.clone(), table)) {
                    named.push((name, table));
                }
            }
        }
        Checked { reads, lookups, granted: named }
    }

    fn who(&self) -> String {
        stage_text(self.stage)
    }

    fn known(&self, name: &str) -> Option<&'b Known> {
        self.columns.iter().find(|known| known.column.name == name)
    }

    fn table_index(&self, name: &str) -> Option<usize> {
        self.builder.pipeline.dimensions.iter().position(|dimension| dimension.name.value == name)
    }

    fn report(&mut self, problem: Problem) {
        self.builder.problems.push(problem);
    }

    /// One column that the plugin reads; the pipeline's name of it.
    fn read(&mut self, read: &Column) -> Option<String> {
        let names = Names(&self.plugin.rename);
        let name = names.pipelines(&read.name);
        let wanted = format!("{} reads column {} as {}", self.who(), names.said(&read.name), read.type_text());
        let Some(known) = self.known(name) else {
            let problem = Problem::error(format!("{wanted}, but no such column reaches it"))
                .at(&self.span, near(name, self.columns))
                .help(no_column_help(&read.name, self.columns));
            self.report(problem);
            return None;
        };
        if let Err(misfit) = fits(read, &known.column) {
            let there = known.column.type_text();
            let problem = Problem::error(format!("{wanted}, but {} {there}", known.maker))
                .at(&self.span, format!("reads {}", read.type_text()))
                .at(&known.span, format!("{there} here"))
                .help(match misfit {
                    Misfit::Type => "change the type here, or in the plugin",
                    Misfit::Null => {
                        "a null would meet a plugin that expects none: read it as nullable (`Option<..>`) in the plugin, \
                         or take the `?` away here, so that rows without it are rejected"
                    }
                });
            self.report(problem);
            return None;
        }
        Some(name.to_owned())
    }

    fn lookup(&mut self, lookup: &DeclaredLookup) -> Option<DraftLookup> {
        let names = Names(&self.plugin.rename);
        let name = names.pipelines(&lookup.table);
        let said = names.said(&lookup.table);
        let Some(index) = self.table_index(name) else {
            let known: Vec<&str> =
                self.builder.pipeline.dimensions.iter().map(|dimension| dimension.name.value.as_str()).collect();
            let problem = Problem::error(format!("{} looks up in table {said}, which is no dimension", self.who()))
                .at(&self.span, suggestion(name, known, "there are no dimensions"))
                .help(format!(
                    "add [dimension.{name}], or map the plugin's name: rename = {{ {} = \"..\" }}",
                    lookup.table
                ));
            self.report(problem);
            return None;
        };
        if let Some(granted) = &self.plugin.tables
            && !granted.iter().any(|table| table.value == name)
        {
            let problem = Problem::error(format!("{} looks up in table {said}, which it is not granted", self.who()))
                .at(&granted.first().map_or(self.span.clone(), |table| table.span.clone()), "these are granted")
                .help(format!("add \"{name}\" to `tables`"));
            self.report(problem);
            return None;
        }
        let table = self.builder.tables[index]?;
        let key: Vec<String> = lookup.key.iter().map(|part| names.pipelines(part).to_owned()).collect();
        let (stage, columns) = (self.who(), self.columns);
        let key_fits = check_key(self.builder, &stage, &self.span, table, &key, columns);
        let found: Vec<Option<usize>> = lookup.columns.iter().map(|column| self.table_column(table, column)).collect();
        let found: Vec<usize> = found.into_iter().collect::<Option<_>>()?;
        let columns = lookup.columns.iter().zip(found).map(|(column, index)| (column.name.clone(), index)).collect();
        key_fits.then_some(DraftLookup { table: index, key, columns, missing: Missing::Null })
    }

    /// One column that a lookup asks for; its index in the table.
    fn table_column(&mut self, table: &Table, asked: &Column) -> Option<usize> {
        let who = format!("{} asks table \"{}\" for \"{}\"", self.who(), table.name, asked.name);
        let Some(index) = table.columns.iter().position(|column| column.name == asked.name) else {
            let problem = no_table_column(&who, table, &asked.name, &self.span);
            self.report(problem);
            return None;
        };
        let there = &table.columns[index];
        let Err(misfit) = fits(asked, there) else { return Some(index) };
        let problem =
            Problem::error(format!("{who} as {}, but the table has {}", asked.type_text(), there.type_text()))
                .at(&self.span, format!("asks for {}", asked.type_text()))
                .at(&self.dimension_span(&table.name), format!("{} here", there.type_text()))
                .help(match misfit {
                    Misfit::Type => "change the type in the plugin, or in the dimension's `columns`",
                    Misfit::Null => "read it as nullable (`Option<..>`) in the plugin",
                });
        self.report(problem);
        None
    }

    fn dimension_span(&self, name: &str) -> Range<usize> {
        let dimension = self.builder.pipeline.dimensions.iter().find(|dimension| dimension.name.value == name);
        dimension.map_or(0..0, |dimension| dimension.name.span.clone())
    }

    fn writes(&mut self, contract: &Contract) {
        let names = Names(&self.plugin.rename);
        for (index, written) in contract.writes.iter().enumerate() {
            let name = names.pipelines(&written.name);
            if contract.writes[..index].iter().any(|other| names.pipelines(&other.name) == name) {
                let message = format!("{} writes column {} twice", self.who(), names.said(&written.name));
                let problem = Problem::error(message).at(&self.span, "this plugin");
                self.report(problem.help("give one of them another name, in the plugin or with `rename`"));
            }
        }
    }

    fn outputs(&mut self, contract: &Contract) {
        let names = Names(&self.plugin.rename);
        for (index, output) in contract.outputs.iter().enumerate() {
            let name = names.pipelines(output);
            if contract.outputs[..index].iter().any(|other| names.pipelines(other) == name) {
                let message = format!("{} has two outputs of the name {}", self.who(), names.said(output));
                let problem = Problem::error(message).at(&self.span, "this plugin");
                self.report(problem.help("give one of them another name, in the plugin or with `rename`"));
            }
        }
    }

    /// A name in `rename` that the plugin does not use is probably mistyped.
    fn unused_renames(&mut self, contract: &Contract) {
        let lookups = contract.lookups.iter();
        let used: Vec<&str> = (contract.reads.iter().chain(&contract.writes).map(|column| column.name.as_str()))
            .chain(lookups.flat_map(|lookup| std::iter::once(&lookup.table).chain(&lookup.key)).map(String::as_str))
            .chain(contract.outputs.iter().map(String::as_str))
            .collect();
        for own in self.plugin.rename.keys().filter(|own| !used.contains(&own.as_str())) {
            let message = format!("{} renames \"{own}\", which its plugin does not use", self.who());
            let problem = Problem::warning(message)
                .at(&self.span, suggestion(own, used.iter().copied(), "it uses no names"))
                .help("`rename` has the plugin's name on the left, the pipeline's on the right");
            self.builder.problems.push(problem);
        }
    }
}

/// The key of a lookup against the table's.
fn check_key(
    builder: &mut Builder<'_>,
    who: &str,
    span: &Range<usize>,
    table: &Table,
    key: &[String],
    columns: &[Known],
) -> bool {
    let errors = builder.problems.errors();
    let parts: Vec<String> = table.key.iter().map(|part| format!("{} {}", part.name, part.type_text())).collect();
    let help = format!("the key of table \"{}\" is {}", table.name, parts.join(", "));
    if key.len() != table.key.len() {
        let counted = |count| if count == 1 { "1 column".to_owned() } else { format!("{count} columns") };
        let (given, wanted) = (counted(key.len()), counted(table.key.len()));
        let message = format!("{who} looks table \"{}\" up by {given}, but its key has {wanted}", table.name);
        builder.problems.push(Problem::error(message).at(span, format!("{given} here")).help(help));
        return false;
    }
    for (name, part) in key.iter().zip(&table.key) {
        let wanted = format!("{who} looks table \"{}\" up by column \"{name}\"", table.name);
        match columns.iter().find(|known| known.column.name == *name) {
            None => {
                let problem = Problem::error(format!("{wanted}, but no such column reaches it"));
                builder.problems.push(problem.at(span, near(name, columns)).help(help.clone()));
            }
            Some(known) if known.column.logical != part.logical => {
                let there = &known.column.logical;
                let message = format!("{wanted} as {}, but {} {there}", part.logical, known.maker);
                let problem = Problem::error(message).at(span, format!("{} is expected", part.logical));
                builder.problems.push(problem.at(&known.span, format!("{there} here")).help(help.clone()));
            }
            Some(_) => {}
        }
    }
    builder.problems.errors() == errors
}

/// A native lookup, and the columns that it adds.
pub(super) fn native(
    builder: &mut Builder<'_>,
    stage: &Stage,
    lookup: &LookupStage,
    columns: &[Known],
) -> Option<(DraftLookup, Vec<Known>)> {
    let dimensions = &builder.pipeline.dimensions;
    let index = dimensions.iter().position(|dimension| dimension.name.value == lookup.table.value)?;
    let table = builder.tables[index]?;
    let key: Vec<String> = lookup.key.iter().map(|part| part.value.clone()).collect();
    let span = lookup.key.first().map_or(place(stage), |first| first.span.clone());
    let mut fine = check_key(builder, &stage_text(stage), &span, table, &key, columns);
    let mut taken = Vec::new();
    let mut added = Vec::new();
    for (new, asked) in &lookup.add {
        let who = format!("{} adds \"{}\"", stage_text(stage), new.value);
        if let Some(known) = columns.iter().find(|known| known.column.name == new.value) {
            let problem = Problem::error(format!("{who}, but the column is there already: {} so", known.maker))
                .at(&new.span, "a second one")
                .at(&known.span, "the first")
                .help("a lookup adds columns and replaces none: give the new one another name");
            builder.problems.push(problem);
            fine = false;
        }
        match table.columns.iter().position(|column| column.name == asked.value) {
            Some(found) => {
                let nullable = table.columns[found].nullable || lookup.missing == Missing::Null;
                let column = Column { name: new.value.clone(), nullable, ..table.columns[found].clone() };
                let maker = format!("{} adds it", stage_text(stage));
                added.push(Known { column, maker, span: new.span.clone() });
                taken.push((new.value.clone(), found));
            }
            None => {
                let asks = format!("{} asks table \"{}\" for \"{}\"", stage_text(stage), table.name, asked.value);
                builder.problems.push(no_table_column(&asks, table, &asked.value, &asked.span));
                fine = false;
            }
        }
    }
    fine.then_some((DraftLookup { table: index, key, columns: taken, missing: lookup.missing }, added))
}

fn no_table_column(who: &str, table: &Table, asked: &str, span: &Range<usize>) -> Problem {
    let problem = Problem::error(format!("{who}, which the table does not have"));
    if table.key.iter().any(|part| part.name == asked) {
        return problem.at(span, "part of the key").help("the stage has the key already: it looks up by it");
    }
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("{} {}", column.name, column.type_text())).collect();
    let known = table.columns.iter().map(|column| column.name.as_str());
    problem.at(span, suggestion(asked, known, "the table has only its key")).help(format!(
        "table \"{}\" has {}",
        table.name,
        columns.join(", ")
    ))
}

/// `did you mean "url"?`, or nothing more than that it is missing.
pub(super) fn near(name: &str, columns: &[Known]) -> String {
    let names = columns.iter().map(|known| known.column.name.as_str());
    match crate::config::nearest(name, names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "missing".to_owned(),
    }
}

/// The columns that are there, for help texts.
pub(super) fn columns_text(columns: &[Known]) -> String {
    let texts: Vec<String> =
        columns.iter().map(|known| format!("{} {}", known.column.name, known.column.type_text())).collect();
    texts.join(", ")
}

fn no_column_help(own: &str, columns: &[Known]) -> String {
    format!("these columns reach it: {}; map one with rename = {{ {own} = \"..\" }}", columns_text(columns))
}
