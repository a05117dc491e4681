//! `rename`: between the names of a plugin and those of the pipeline. One map serves columns, tables and outputs.

use std::collections::BTreeMap;

use crate::config::Stage;
use crate::contract::{Given, Table};
use crate::schema::Column;

/// A stage's `rename`.
#[derive(Clone, Copy)]
pub(super) struct Names<'a>(pub &'a BTreeMap<String, String>);

impl<'a> Names<'a> {
    /// The pipeline's name of what a plugin calls `own`.
    pub fn pipelines(&self, own: &'a str) -> &'a str {
        self.0.get(own).map_or(own, String::as_str)
    }

    /// The plugin's names of what the pipeline calls `name`: every one that is mapped to it, else the same. None when the
    /// plugin uses that name for something else.
    pub fn plugins(&self, name: &str) -> Vec<String> {
        let mapped: Vec<String> = self.0.iter().filter(|(_, to)| *to == name).map(|(own, _)| own.clone()).collect();
        match mapped.is_empty() && !self.0.contains_key(name) {
            true => vec![name.to_owned()],
            false => mapped,
        }
    }

    /// `"url"`, or `"url" (the pipeline's "page_url")`, for messages.
    pub fn said(&self, own: &str) -> String {
        match self.0.get(own) {
            Some(name) if name != own => format!("\"{own}\" (here \"{name}\")"),
            _ => format!("\"{own}\""),
        }
    }

    /// What a plugin is told, in its own names.
    pub fn given(&self, columns: &[Column], tables: &[&Table], outputs: &[String]) -> Given {
        let rename = |column: &Column| {
            let names = self.plugins(&column.name);
            let column = column.clone();
            names.into_iter().map(move |name| Column { name, ..column.clone() })
        };
        let tables = tables
            .iter()
            .flat_map(|table| self.plugins(&table.name).into_iter().map(|name| Table { name, ..(*table).clone() }));
        Given {
            columns: columns.iter().flat_map(rename).collect(),
            tables: tables.collect(),
            outputs: outputs.iter().flat_map(|output| self.plugins(output)).collect(),
        }
    }
}

/// `stage "clean"`, for messages.
pub(super) fn stage_text(stage: &Stage) -> String {
    format!("stage \"{}\"", stage.name.value)
}
