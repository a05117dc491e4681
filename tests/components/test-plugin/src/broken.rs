//! Patches that are wrong, each in its own way.

use crate::exports::millstream::stage::transform::{Field, Filtered, Patch, Reject};
use crate::millstream::stage::columns::{Column, Dictionary, Node, Values, Varlen};

/// The columns that the deed promises to write.
pub fn writes(deed: &str) -> Vec<Field> {
    let data_type = match deed {
        "broken_utf8" | "broken_offsets" | "broken_code" => "utf8",
        "broken_decimal" => "decimal(4,2)",
        "broken_list" => "list<int64>",
        _ => "int64",
    };
    vec![Field { name: "m".into(), data_type: data_type.into(), nullable: false }]
}

/// A broken patch for `rows` rows.
pub fn patch(deed: &str, rows: u32) -> Patch {
    let count = rows as usize;
    let right = Values::Int64(vec![0; count]);
    let mut validity = vec![];
    let mut patch = Patch { rows: None, columns: vec![], outputs: vec![], rejects: vec![], filtered: vec![] };
    let values = match deed {
        "broken_short_column" => Values::Int64(vec![0; count - 1]),
        "broken_layout" => Values::Float64(vec![0.0; count]),
        "broken_null" => {
            validity = vec![0; count.div_ceil(8)];
            right
        }
        "broken_utf8" => varlen((0..=rows).collect(), vec![0xff; count]),
        "broken_offsets" => varlen((0..=rows).collect(), vec![b'x'; count - 1]),
        "broken_code" => Values::Dictionary(Dictionary {
            codes: vec![1; count],
            values: Varlen { offsets: vec![0, 1], data: vec![b'x'] },
        }),
        "broken_decimal" => Values::Fixed(10_000i128.to_le_bytes().repeat(count)),
        "broken_list" => Values::Offsets((0..=rows).collect()),
        "broken_missing_row" => {
            patch.rows = Some((1..rows).collect());
            Values::Int64(vec![0; count - 1])
        }
        "broken_two_fates" => {
            patch.rows = Some((0..rows).collect());
            patch.rejects = vec![Reject { row: 0, reason: "r".into(), detail: String::new() }];
            right
        }
        "broken_descending" => {
            patch.rows = Some((0..rows).rev().collect());
            right
        }
        "broken_filtered" => {
            patch.rows = Some((0..rows).collect());
            patch.filtered = vec![Filtered { reason: "f".into(), rows: vec![rows] }];
            right
        }
        "broken_route" => {
            patch.outputs = vec![0; count];
            right
        }
        "broken_columns" => return patch,
        other => panic!("{other} is not known"),
    };
    patch.columns = vec![Column { nodes: vec![Node { validity, values }] }];
    patch
}

fn varlen(offsets: Vec<u32>, data: Vec<u8>) -> Values {
    Values::Varlen(Varlen { offsets, data })
}
