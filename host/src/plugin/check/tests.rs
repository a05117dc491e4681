use millstream_sdk::LogicalType;
use proptest::prelude::*;

use super::super::bindings::columns::{ColumnResult, NodeResult, ValuesResult};
use super::*;
use crate::schema::Column;

fn contract(writes: usize, outputs: usize) -> Contract {
    let writes = (0..writes).map(|n| Column { name: format!("w{n}"), logical: LogicalType::Int64, nullable: false });
    let outputs = (0..outputs).map(|n| format!("o{n}"));
    Contract { writes: writes.collect(), outputs: outputs.collect(), ..Contract::default() }
}

fn int64(values: usize) -> ColumnResult {
    ColumnResult { nodes: vec![NodeResult { validity: vec![], values: ValuesResult::Int64(vec![7; values]) }] }
}

fn patch(rows: Option<Vec<u32>>, rejected: &[u32], filtered: &[u32]) -> wit::Patch {
    let rejects = rejected.iter().map(|row| wit::Reject { row: *row, reason: "r".into(), detail: "d".into() });
    let filtered = vec![wit::Filtered { reason: "f".into(), rows: filtered.to_vec() }];
    wit::Patch { rows, columns: vec![], outputs: vec![], rejects: rejects.collect(), filtered }
}

fn wrong(patch: wit::Patch, rows: usize) -> String {
    check(patch, &contract(0, 0), rows).unwrap_err()
}

#[test]
fn a_row_has_exactly_one_fate() {
    assert!(check(patch(Some(vec![0, 2, 2]), &[1], &[3]), &contract(0, 0), 4).is_ok());
    assert_eq!(wrong(patch(Some(vec![0]), &[], &[]), 2), "row 1 is neither kept nor rejected nor filtered");
    assert_eq!(wrong(patch(Some(vec![0, 1]), &[1], &[]), 2), "row 1 is both kept and rejected");
    assert_eq!(wrong(patch(Some(vec![0]), &[1], &[1]), 2), "row 1 is both rejected and filtered");
    assert_eq!(wrong(patch(Some(vec![0]), &[1, 1], &[]), 2), "row 1 is rejected twice");
    assert_eq!(wrong(patch(Some(vec![0]), &[], &[1, 1]), 2), "row 1 is filtered twice");
    assert_eq!(wrong(patch(Some(vec![0, 2]), &[1], &[]), 2), "row 2 is kept, but there are 2 rows");
    assert_eq!(wrong(patch(Some(vec![0]), &[u32::MAX], &[]), 1), "row 4294967295 is rejected, but there are 1 rows");
    assert_eq!(wrong(patch(Some(vec![1, 0]), &[], &[]), 2), "`rows` descends from 1 to 0");
    assert_eq!(
        wrong(patch(None, &[1], &[]), 2),
        "`rows` is none, which keeps all rows, but 1 are rejected or filtered"
    );
}

#[test]
fn columns_and_outputs_fit_the_kept_rows() {
    let whole = |columns, outputs| wit::Patch { columns, outputs, ..patch(Some(vec![0, 0]), &[1], &[]) };
    let ok = check(whole(vec![int64(2)], vec![1, 0]), &contract(1, 2), 2).unwrap();
    assert_eq!(ok.columns[0].len(), 2);
    let wrong = |columns, outputs, contract| check(whole(columns, outputs), &contract, 2).unwrap_err();
    assert_eq!(wrong(vec![], vec![0, 0], contract(1, 2)), "it has 0 columns, but the contract writes 1");
    assert_eq!(
        wrong(vec![int64(1)], vec![0, 0], contract(1, 2)),
        "column \"w0\": node 0 (w0): the column holds 1 values, but 2 rows need 2"
    );
    assert_eq!(wrong(vec![], vec![0, 2], contract(0, 2)), "kept row 1 goes to output 2, but the contract has 2");
    for (outputs, declared) in [(vec![0], 2), (vec![], 2), (vec![0, 0], 0)] {
        assert!(wrong(vec![], outputs, contract(0, declared)).starts_with("it routes "));
    }
}

#[test]
fn all_rows_in_order_are_no_rows_to_take() {
    assert_eq!(check(patch(Some(vec![0, 1, 2]), &[], &[]), &contract(0, 0), 3).unwrap().rows, None);
    assert_eq!(check(patch(Some(vec![0, 1, 1]), &[2], &[]), &contract(0, 0), 3).unwrap().rows, Some(vec![0, 1, 1]));
}

#[test]
fn what_a_plugin_says_is_bounded() {
    let mut said = patch(Some(vec![]), &[0], &[]);
    said.rejects[0].detail = "é".repeat(5_000);
    said.rejects[0].reason = "x".repeat(1_000);
    said.filtered = (1..=200).map(|n| wit::Filtered { reason: format!("reason {n}"), rows: vec![n] }).collect();
    let checked = check(said, &contract(0, 0), 201).unwrap();
    assert!(checked.rejects[0].detail.len() <= DETAIL_MAX_BYTES && checked.rejects[0].detail.ends_with("é.."));
    assert_eq!(checked.rejects[0].reason.len(), REASON_MAX_BYTES);
    assert_eq!(checked.filtered.len(), FILTERED_MAX_REASONS);
    assert_eq!(checked.filtered.iter().map(|filtered| filtered.rows.len()).sum::<usize>(), 200);
    assert_eq!(checked.filtered.last().map(|filtered| filtered.reason.as_str()), Some("other"));
}

/// The promise said again, as slowly as possible.
fn fits(patch: &wit::Patch, outputs: usize, rows: usize) -> bool {
    let kept: Vec<u32> = patch.rows.clone().unwrap_or_else(|| (0..rows as u32).collect());
    let each_once = (0..rows as u32).all(|row| {
        let times_kept = usize::from(kept.contains(&row));
        let rejected = patch.rejects.iter().filter(|reject| reject.row == row).count();
        let filtered = patch.filtered.iter().flat_map(|f| &f.rows).filter(|r| **r == row).count();
        times_kept + rejected + filtered == 1
    });
    let known = |row: &u32| (*row as usize) < rows;
    let routed = if outputs == 0 { patch.outputs.is_empty() } else { patch.outputs.len() == kept.len() };
    each_once
        && kept.is_sorted()
        && kept.iter().all(known)
        && patch.rejects.iter().all(|reject| known(&reject.row))
        && patch.filtered.iter().flat_map(|f| &f.rows).all(known)
        && routed
        && patch.outputs.iter().all(|output| usize::from(*output) < outputs)
}

/// Patches that are right or nearly so: each row gets a fate, then some are spoilt.
fn nearly_right() -> impl Strategy<Value = (wit::Patch, usize, usize)> {
    let fates = prop::collection::vec(0u8..5, 0..12);
    (fates, 0usize..3, prop::collection::vec((0u8..6, 0u32..14), 0..2)).prop_map(|(fates, outputs, spoils)| {
        let (mut kept, mut rejected, mut filtered) = (vec![], vec![], vec![]);
        for (row, fate) in (0u32..).zip(&fates) {
            match fate {
                0 | 1 => kept.push(row),
                2 => kept.extend([row, row]),
                3 => rejected.push(row),
                _ => filtered.push(row),
            }
        }
        let mut routes = if outputs == 0 { vec![] } else { vec![0u16; kept.len()] };
        let mut all = false;
        for (spoil, row) in spoils {
            match spoil {
                0 => kept.push(row),
                1 => rejected.push(row),
                2 => filtered.push(row),
                3 => kept.retain(|kept| *kept != row),
                4 => routes.push(row as u16),
                _ => all = true,
            }
        }
        let rows = fates.len();
        (wit::Patch { outputs: routes, ..patch((!all).then_some(kept), &rejected, &filtered) }, outputs, rows)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]
    #[test]
    fn exactly_the_patches_that_fit_pass((patch, outputs, rows) in nearly_right()) {
        let fits = fits(&patch, outputs, rows);
        let checked = check(patch.clone(), &contract(0, outputs), rows);
        prop_assert_eq!(checked.is_ok(), fits, "{:?}: {:?}", patch, checked.err());
    }
}
