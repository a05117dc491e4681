//! The checks of a patch.
//!
//! Promise: a patch that passes puts every input row into exactly one of kept, rejected and filtered, names no row or
//! output that is not there, and has a value for every kept row in every written column. So `in + multiplied = out +
//! rejected + filtered` holds for every call. It holds because every row's fate is written down once, in one place, and
//! a row without a fate or with two is an error.

use arrow::array::ArrayRef;

use super::bindings::transform as wit;
use super::columns;
use crate::contract::{Contract, Filtered, Patch};
use crate::record::Refusal;

/// Longest reason of a reject or of filtered rows; more is cut off.
pub const REASON_MAX_BYTES: usize = 128;
/// Longest detail of a reject; more is cut off.
pub const DETAIL_MAX_BYTES: usize = 4_096;
/// Most reasons for filtered rows in one patch; rows of further ones are counted as `other`.
pub const FILTERED_MAX_REASONS: usize = 64;
/// Most rows that may be made of a batch.
pub const KEPT_MAX_ROWS: usize = 1 << 20;
/// Most bytes of text in the columns of a patch, also below lists and structs, when each row's is written out.
pub const TEXT_MAX_BYTES: usize = 256 * 1024 * 1024;

/// Checks what a plugin returned for `rows` rows. The error says what is wrong, with column, row or output.
pub fn check(patch: wit::Patch, contract: &Contract, rows: usize) -> Result<Patch, String> {
    let kept = patch.rows.as_ref().map_or(rows, Vec::len);
    if kept > KEPT_MAX_ROWS.max(rows) {
        return Err(format!("it makes {kept} rows of {rows}, more than {KEPT_MAX_ROWS}"));
    }
    fates(&patch, rows)?;
    outputs(&patch.outputs, contract, kept)?;
    let (given, declared) = (patch.columns.len(), contract.writes.len());
    if given != declared {
        return Err(format!("it has {given} columns, but the contract writes {declared}"));
    }
    let columns = patch.columns.into_iter().zip(&contract.writes);
    let mut text = columns::Text::default();
    let lifted = columns.map(|(column, declared)| columns::lift_within(column, declared, kept, &mut text));
    let columns: Vec<ArrayRef> = lifted.collect::<Result<_, _>>()?;
    columns.iter().try_for_each(|column| text.take(column))?;
    let rejects = patch.rejects.into_iter().map(|reject| Refusal {
        row: reject.row,
        reason: reason(reject.reason),
        detail: cut(reject.detail, DETAIL_MAX_BYTES),
    });
    Ok(Patch {
        // Every row once, in order: the columns that pass through need no copy.
        rows: patch.rows.filter(|kept| kept.len() != rows || kept.iter().zip(0..).any(|(row, all)| *row != all)),
        columns,
        outputs: patch.outputs,
        rejects: rejects.collect(),
        filtered: by_reason(patch.filtered),
    })
}

/// What became of a row, while fates are handed out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    None,
    Kept,
    Rejected,
    Filtered,
}

impl Fate {
    fn text(self) -> &'static str {
        match self {
            Self::None => "nowhere",
            Self::Kept => "kept",
            Self::Rejected => "rejected",
            Self::Filtered => "filtered",
        }
    }
}

fn fates(patch: &wit::Patch, rows: usize) -> Result<(), String> {
    let Some(kept) = &patch.rows else {
        let filtered: usize = patch.filtered.iter().map(|filtered| filtered.rows.len()).sum();
        return match patch.rejects.len() + filtered {
            0 => Ok(()),
            some => Err(format!("`rows` is none, which keeps all rows, but {some} are rejected or filtered")),
        };
    };
    if let Some(at) = kept.iter().zip(kept.iter().skip(1)).position(|(this, next)| this > next) {
        return Err(format!("`rows` descends from {} to {}", kept[at], kept[at + 1]));
    }
    let mut fates = vec![Fate::None; rows];
    let mut decide = |row: u32, fate: Fate| match fates.get_mut(row as usize) {
        None => Err(format!("row {row} is {}, but there are {rows} rows", fate.text())),
        Some(now) if *now == Fate::None || (*now == Fate::Kept && fate == Fate::Kept) => {
            *now = fate;
            Ok(())
        }
        Some(now) if *now == fate => Err(format!("row {row} is {} twice", fate.text())),
        Some(now) => Err(format!("row {row} is both {} and {}", now.text(), fate.text())),
    };
    kept.iter().try_for_each(|row| decide(*row, Fate::Kept))?;
    patch.rejects.iter().try_for_each(|reject| decide(reject.row, Fate::Rejected))?;
    patch.filtered.iter().flat_map(|filtered| &filtered.rows).try_for_each(|row| decide(*row, Fate::Filtered))?;
    match fates.iter().position(|fate| *fate == Fate::None) {
        Some(row) => Err(format!("row {row} is neither kept nor rejected nor filtered")),
        None => Ok(()),
    }
}

fn outputs(outputs: &[u16], contract: &Contract, kept: usize) -> Result<(), String> {
    let declared = contract.outputs.len();
    let wanted = if declared == 0 { 0 } else { kept };
    if outputs.len() != wanted {
        let given = outputs.len();
        return Err(format!(
            "it routes {given} rows, but the contract has {declared} outputs and {kept} rows are kept"
        ));
    }
    match outputs.iter().position(|output| usize::from(*output) >= declared) {
        Some(at) => Err(format!("kept row {at} goes to output {}, but the contract has {declared}", outputs[at])),
        None => Ok(()),
    }
}

fn by_reason(filtered: Vec<wit::Filtered>) -> Vec<Filtered> {
    let mut merged: Vec<Filtered> = Vec::new();
    for filtered in filtered.into_iter().filter(|filtered| !filtered.rows.is_empty()) {
        let mut reason = reason(filtered.reason);
        let known = merged.iter().any(|other| other.reason == reason);
        if !known && merged.len() >= FILTERED_MAX_REASONS - 1 {
            "other".clone_into(&mut reason);
        }
        match merged.iter_mut().find(|other| other.reason == reason) {
            Some(other) => other.rows.extend(filtered.rows),
            None => merged.push(Filtered { reason, rows: filtered.rows }),
        }
    }
    merged
}

fn reason(reason: String) -> String {
    if reason.is_empty() { "unnamed".to_owned() } else { cut(reason, REASON_MAX_BYTES) }
}

/// Cuts a text off at a character boundary and says so.
pub fn cut(mut text: String, most_bytes: usize) -> String {
    const MARK: &str = "..";
    if text.len() > most_bytes {
        text.truncate(text.floor_char_boundary(most_bytes.saturating_sub(MARK.len())));
        text.push_str(MARK);
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests;
