//! Patches. A patch that the host accepts has each row in exactly one place, a whole column for every written one, and
//! nothing in it that Arrow's own complete validation refuses; a patch without a fault is accepted.

use arbitrary::{Result, Unstructured};
use arrow::array::Array;
use arrow::datatypes::DataType;
use millstream::contract::{Contract, Patch};
use millstream::plugin::fuzzed::check as check_patch;
use millstream::plugin::fuzzed::transform::{Filtered, Patch as Given, Reject};
use millstream::plugin::{DETAIL_MAX_BYTES, FILTERED_MAX_REASONS, REASON_MAX_BYTES};
use millstream::schema::{Column, arrow_type};

use crate::column::{Chooser, column, declared};

/// A batch of this fuzz target has at most so many rows.
const MAX_ROWS: usize = 40;

/// Makes a contract and a patch of the bytes and checks the patch.
///
/// # Panics
/// When a promise does not hold.
pub fn check(bytes: &[u8]) {
    // Too few bytes make no patch: there is nothing to check then.
    let _ = try_check(&mut Unstructured::new(bytes));
}

fn try_check(from: &mut Unstructured<'_>) -> Result<()> {
    let rows = from.int_in_range(0..=MAX_ROWS)?;
    let contract = contract(from)?;
    let mut choose = Chooser { from, faults: 0 };
    let given = patch(&mut choose, &contract, rows)?;
    let faults = choose.faults;
    match check_patch(given, &contract, rows) {
        Ok(patch) => holds(&patch, &contract, rows),
        Err(wrong) => {
            assert!(!wrong.is_empty(), "an error says what is wrong");
            assert!(faults > 0, "a patch without a fault is refused: {wrong}");
        }
    }
    Ok(())
}

fn contract(from: &mut Unstructured<'_>) -> Result<Contract> {
    let writes = from.int_in_range(0..=3)?;
    let writes: Vec<Column> = (0..writes).map(|at| declared(from, format!("c{at}"))).collect::<Result<_>>()?;
    let outputs = (0..from.int_in_range(0..=3)?).map(|at| format!("o{at}")).collect();
    Ok(Contract { writes, outputs, ..Contract::default() })
}

fn patch(choose: &mut Chooser<'_, '_>, contract: &Contract, rows: usize) -> Result<Given> {
    let mut given = fates(choose, rows)?;
    let kept = given.rows.as_ref().map_or(rows, Vec::len);
    for declared in &contract.writes {
        given.columns.push(column(choose, declared, kept)?);
    }
    if choose.fault()? && given.columns.pop().is_none() {
        given.outputs.push(0);
    }
    if !contract.outputs.is_empty() {
        for _ in 0..choose.length(kept)? {
            let most = if choose.fault()? { u16::MAX } else { contract.outputs.len() as u16 - 1 };
            given.outputs.push(choose.from.int_in_range(0..=most)?);
        }
    }
    Ok(given)
}

/// What becomes of each row.
fn fates(choose: &mut Chooser<'_, '_>, rows: usize) -> Result<Given> {
    let mut given = Given { rows: None, columns: vec![], outputs: vec![], rejects: vec![], filtered: vec![] };
    if choose.from.arbitrary()? && !choose.fault()? {
        return Ok(given);
    }
    let mut kept = Vec::new();
    for row in 0..rows as u32 {
        let row = if choose.fault()? { choose.from.arbitrary()? } else { row };
        match choose.from.int_in_range(0..=7)? {
            0 => given.rejects.push(Reject { row, reason: text(choose)?, detail: text(choose)? }),
            1 => given.filtered.push(Filtered { reason: text(choose)?, rows: vec![row] }),
            2 => kept.extend([row, row]),
            _ => kept.push(row),
        }
        if choose.fault()? {
            kept.push(row);
        }
    }
    if choose.fault()? {
        kept.pop();
    }
    if !choose.fault()? {
        given.rows = Some(kept);
    }
    Ok(given)
}

fn text(choose: &mut Chooser<'_, '_>) -> Result<String> {
    let text: String = choose.from.arbitrary()?;
    let times = if choose.from.ratio(1, 32)? { 2 * DETAIL_MAX_BYTES / text.len().max(1) } else { 1 };
    Ok(text.repeat(times))
}

/// What is true of every patch that was accepted.
fn holds(patch: &Patch, contract: &Contract, rows: usize) {
    let mut places = vec![0u32; rows];
    let kept: Vec<u32> = patch.rows.clone().unwrap_or_else(|| (0..rows as u32).collect());
    assert!(kept.is_sorted(), "kept rows ascend: {kept:?}");
    let mut distinct = kept.clone();
    distinct.dedup();
    let filtered = patch.filtered.iter().flat_map(|filtered| filtered.rows.iter().copied());
    for row in distinct.into_iter().chain(patch.rejects.iter().map(|reject| reject.row)).chain(filtered) {
        places[row as usize] += 1;
    }
    assert!(places.iter().all(|times| *times == 1), "each row is in one place: {places:?}");
    assert_eq!(patch.columns.len(), contract.writes.len());
    for (array, declared) in patch.columns.iter().zip(&contract.writes) {
        assert_eq!(array.len(), kept.len(), "{}", declared.name);
        assert!(
            has_type(array.data_type(), &arrow_type(&declared.logical)),
            "{} is {}",
            declared.name,
            array.data_type()
        );
        assert!(declared.nullable || array.logical_null_count() == 0, "{} has nulls", declared.name);
        array.to_data().validate_full().unwrap_or_else(|wrong| panic!("{}: {wrong}", declared.name));
    }
    let routed = if contract.outputs.is_empty() { 0 } else { kept.len() };
    assert_eq!(patch.outputs.len(), routed);
    assert!(patch.outputs.iter().all(|output| usize::from(*output) < contract.outputs.len()));
    assert!(patch.filtered.len() <= FILTERED_MAX_REASONS);
    let reasons = patch.rejects.iter().map(|reject| &reject.reason);
    for reason in reasons.chain(patch.filtered.iter().map(|filtered| &filtered.reason)) {
        assert!(!reason.is_empty() && reason.len() <= REASON_MAX_BYTES);
    }
    assert!(patch.rejects.iter().all(|reject| reject.detail.len() <= DETAIL_MAX_BYTES));
}

/// Whether an array's type is the declared one, with text as it is or as a dictionary at any depth.
fn has_type(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Dictionary(code, values), DataType::Utf8) => **code == DataType::Int32 && **values == DataType::Utf8,
        (DataType::List(found), DataType::List(wanted)) => has_type(found.data_type(), wanted.data_type()),
        (DataType::Struct(found), DataType::Struct(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| has_type(found.data_type(), wanted.data_type()))
        }
        (found, wanted) => found == wanted,
    }
}
