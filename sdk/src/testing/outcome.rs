//! What a plugin made of a batch of a test.

use serde_json::{Map, Value};

use crate::columns::Patch;
use crate::contract::Contract;
use crate::log::Level;

/// What became of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    kept: Vec<(u32, Value)>,
    routes: Vec<(u32, String)>,
    rejects: Vec<(u32, String, String)>,
    filtered: Vec<(u32, String)>,
    lines: Vec<(Level, String)>,
}

impl Outcome {
    /// The input row and the written columns of each output row.
    pub fn kept(&self) -> &[(u32, Value)] {
        &self.kept
    }

    /// The written columns of each output row.
    pub fn rows(&self) -> Vec<Value> {
        self.kept.iter().map(|(_, written)| written.clone()).collect()
    }

    /// The input row and the output that it went to, of each output row of a stage that routes.
    pub fn routes(&self) -> Vec<(u32, &str)> {
        self.routes.iter().map(|(row, output)| (*row, output.as_str())).collect()
    }

    /// The rows that were refused: row, reason, detail.
    pub fn rejects(&self) -> Vec<(u32, &str, &str)> {
        self.rejects.iter().map(|(row, reason, detail)| (*row, reason.as_str(), detail.as_str())).collect()
    }

    /// The rows that were left out on purpose, and why.
    pub fn filtered(&self) -> Vec<(u32, &str)> {
        self.filtered.iter().map(|(row, reason)| (*row, reason.as_str())).collect()
    }

    /// What was logged.
    pub fn lines(&self) -> Vec<(Level, &str)> {
        self.lines.iter().map(|(level, line)| (*level, line.as_str())).collect()
    }

    /// Checks the patch as the host does, and reads it.
    pub(super) fn new(rows: u32, contract: &Contract, patch: Patch, lines: Vec<(Level, String)>) -> Self {
        let kept_rows = patch.rows.unwrap_or_else(|| (0..rows).collect());
        let mut filtered: Vec<(u32, String)> = patch
            .filtered
            .into_iter()
            .flat_map(|filtered| filtered.rows.into_iter().map(move |row| (row, filtered.reason.clone())))
            .collect();
        filtered.sort();
        let rejects: Vec<_> = patch.rejects.into_iter().map(|r| (r.row, r.reason, r.detail)).collect();
        each_row_once(rows, &kept_rows, &rejects, &filtered);

        let mut written = vec![Map::new(); kept_rows.len()];
        assert_eq!(patch.columns.len(), contract.writes.len(), "columns in the patch, against those of the contract");
        for (field, column) in contract.writes.iter().zip(&patch.columns) {
            let values = super::json_of_column(field, column, kept_rows.len());
            let values = values.unwrap_or_else(|wrong| panic!("written column `{}`: {wrong}", field.name));
            for (row, value) in written.iter_mut().zip(values) {
                row.insert(field.name.clone(), value);
            }
        }
        if !contract.outputs.is_empty() {
            assert_eq!(patch.outputs.len(), kept_rows.len(), "routes in the patch, against output rows");
        }
        let routes = kept_rows.iter().zip(&patch.outputs).map(|(row, output)| {
            match contract.outputs.get(usize::from(*output)) {
                Some(name) => (*row, name.clone()),
                None => panic!("row {row} goes to output {output}, but there are {}", contract.outputs.len()),
            }
        });
        let routes = routes.collect();
        let kept = kept_rows.into_iter().zip(written.into_iter().map(Value::Object)).collect();
        Self { kept, routes, rejects, filtered, lines }
    }
}

fn each_row_once(rows: u32, kept: &[u32], rejects: &[(u32, String, String)], filtered: &[(u32, String)]) {
    assert!(kept.is_sorted(), "the kept rows do not ascend: {kept:?}");
    let mut distinct = kept.to_vec();
    distinct.dedup();
    let mut all: Vec<u32> = distinct;
    all.extend(rejects.iter().map(|(row, ..)| *row));
    all.extend(filtered.iter().map(|(row, _)| *row));
    all.sort_unstable();
    assert!(
        all.iter().copied().eq(0..rows),
        "each of {rows} rows must be kept, rejected or filtered, once; got {all:?}"
    );
}
