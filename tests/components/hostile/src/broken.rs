//! Patches that are wrong, each in its own way.

use crate::contract::field;
use crate::exports::millstream::stage::transform::{Field, Filtered, Patch, Reject};
use crate::millstream::stage::columns::{Column, Dictionary, Node, Values, Varlen};
use crate::{column, empty};

/// The columns that the behaviour promises to write.
pub fn writes(behaviour: &str) -> Vec<Field> {
    let data_type = match behaviour {
        "broken_utf8" | "broken_characters" | "broken_code" => "utf8",
        "broken_offsets" | "broken_offsets_descend" | "broken_offsets_few" => "utf8",
        "broken_decimal" => "decimal(4,2)",
        "broken_bits" => "bool",
        "broken_list" | "broken_list_offsets" => "list<int64>",
        _ => "int64",
    };
    vec![field("m", data_type, false)]
}

/// A broken patch for `rows` rows, of which there are at least three.
pub fn patch(behaviour: &str, rows: u32) -> Patch {
    match values(behaviour, rows as usize) {
        Some(columns) => Patch { columns, ..empty() },
        None => fates(behaviour, rows),
    }
}

/// Wrong columns for every row.
fn values(behaviour: &str, rows: usize) -> Option<Vec<Column>> {
    let right = || vec![0; rows];
    let ends = || (0..=rows as u32).collect::<Vec<_>>();
    let validity = match behaviour {
        "broken_null" => vec![0; rows.div_ceil(8)],
        "broken_validity" => vec![0xff; rows],
        _ => vec![],
    };
    let values = match behaviour {
        "broken_short_column" => Values::Int64(vec![0; rows - 1]),
        "broken_long_column" => Values::Int64(vec![0; rows + 1]),
        "broken_layout" => Values::Float64(vec![0.0; rows]),
        "broken_null" | "broken_validity" => Values::Int64(right()),
        "broken_bits" => Values::Bits(vec![0xff; rows]),
        "broken_utf8" => varlen(ends(), vec![0xff; rows]),
        // Whole text, but the offsets cut its characters.
        "broken_characters" => varlen(ends(), "ä".repeat(rows).into_bytes()),
        "broken_offsets" => varlen(ends(), vec![b'x'; rows - 1]),
        "broken_offsets_descend" => varlen(ends().into_iter().rev().collect(), vec![b'x'; rows]),
        "broken_offsets_few" => varlen(vec![0, 1], vec![b'x'; rows]),
        "broken_code" => Values::Dictionary(Dictionary {
            codes: vec![1; rows],
            values: Varlen { offsets: vec![0, 1], data: vec![b'x'] },
        }),
        "broken_decimal" => Values::Fixed(10_000i128.to_le_bytes().repeat(rows)),
        "broken_list" => Values::Offsets(ends()),
        "broken_list_offsets" => {
            let mut column = column(Values::Offsets(vec![u32::MAX; rows + 1]));
            column.nodes.push(Node { validity: vec![], values: Values::Int64(vec![0]) });
            return Some(vec![column]);
        }
        "broken_nodes" => {
            let nodes = (0..2).map(|_| Node { validity: vec![], values: Values::Int64(right()) });
            return Some(vec![Column { nodes: nodes.collect() }]);
        }
        "broken_columns" => return Some(vec![]),
        "broken_more_columns" => return Some(vec![column(Values::Int64(right())), column(Values::Int64(right()))]),
        _ => return None,
    };
    Some(vec![Column { nodes: vec![Node { validity, values }] }])
}

fn varlen(offsets: Vec<u32>, data: Vec<u8>) -> Values {
    Values::Varlen(Varlen { offsets, data })
}

/// Rows that are in no place, in two, or nowhere at all.
fn fates(behaviour: &str, rows: u32) -> Patch {
    let reject = |row| Reject { row, reason: "r".into(), detail: String::new() };
    let filtered = |rows| Filtered { reason: "f".into(), rows };
    let all = || Some((0..rows).collect::<Vec<_>>());
    let mut patch = empty();
    match behaviour {
        "broken_descending" => patch.rows = Some((0..rows).rev().collect()),
        "broken_swapped" => patch.rows = Some((0..rows).map(|row| if row < 2 { 1 - row } else { row }).collect()),
        "broken_kept" => patch.rows = Some((1..=rows).collect()),
        "broken_missing_row" => patch.rows = Some((1..rows).collect()),
        "broken_two_fates" => (patch.rows, patch.rejects) = (all(), vec![reject(0)]),
        "broken_two_rejects" => (patch.rows, patch.rejects) = (Some((1..rows).collect()), vec![reject(0), reject(0)]),
        "broken_reject" => (patch.rows, patch.rejects) = (all(), vec![reject(u32::MAX)]),
        "broken_reject_of_all" => patch.rejects = vec![reject(0)],
        "broken_filtered" => (patch.rows, patch.filtered) = (all(), vec![filtered(vec![rows])]),
        "broken_two_filters" => {
            (patch.rows, patch.filtered) = (Some((1..rows).collect()), vec![filtered(vec![0]), filtered(vec![0])]);
        }
        "broken_route" => patch.outputs = vec![0; rows as usize],
        other => panic!("{other} is not known"),
    }
    let kept = patch.rows.as_ref().map_or(rows as usize, Vec::len);
    patch.columns = vec![column(Values::Int64(vec![0; kept]))];
    patch
}
