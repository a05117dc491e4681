//! What may change while the stream runs. Files and topics of one output are read as one table, before and behind a
//! swap, so only what a reader of that table survives is let through: nullable columns come and go, types stay.

use super::{Plan, PlannedOutput};
use crate::schema::Column;

impl Plan {
    /// Whether `next` may take this plan's place without a stop.
    ///
    /// # Errors
    /// What does not fit, one sentence each.
    pub fn compatible(&self, next: &Self) -> Result<(), Vec<String>> {
        let mut misfits = Vec::new();
        for output in &self.outputs {
            match next.outputs.iter().find(|other| other.name == output.name) {
                Some(other) => compare(output, other, &mut misfits),
                None => misfits.push(format!("output \"{}\" would be gone", output.name)),
            }
        }
        for output in &next.outputs {
            if !self.outputs.iter().any(|other| other.name == output.name) {
                misfits.push(format!("output \"{}\" would be new", output.name));
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(misfits) }
    }
}

fn compare(output: &PlannedOutput, next: &PlannedOutput, misfits: &mut Vec<String>) {
    let name = &output.name;
    for column in &output.columns {
        match next.columns.iter().find(|other| other.name == column.name) {
            None if column.nullable => {}
            None => misfits.push(format!(
                "output \"{name}\" would lose column \"{}\" {}, which readers count on: only nullable columns can go",
                column.name,
                column.type_text()
            )),
            Some(other) if fits(column, other) => {}
            Some(other) => misfits.push(format!(
                "output \"{name}\" would have column \"{}\" as {}, but its files have {}",
                column.name,
                other.type_text(),
                column.type_text()
            )),
        }
    }
    for column in &next.columns {
        if !column.nullable && !output.columns.iter().any(|other| other.name == column.name) {
            misfits.push(format!(
                "output \"{name}\" would get column \"{}\" {}, which older files do not have: make it nullable ({}?)",
                column.name,
                column.type_text(),
                column.logical
            ));
        }
    }
}

/// A column that was nullable may stop to be: its readers expect nulls anyway.
fn fits(column: &Column, next: &Column) -> bool {
    column.logical == next.logical && (column.nullable || !next.nullable)
}
