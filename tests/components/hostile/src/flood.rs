//! Too much of everything.

use crate::contract::field;
use crate::exports::millstream::stage::transform::{Field, Filtered, Patch, Reject};
use crate::millstream::stage::columns::{Column, Dictionary, Node, Values, Varlen};
use crate::millstream::stage::dimensions;
use crate::millstream::stage::log::{Level, log};
use crate::{column, empty};

/// The columns that the behaviour promises to write.
pub fn writes(behaviour: &str) -> Vec<Field> {
    let data_type = match behaviour {
        "vast_column" | "vast_dictionary" => "utf8",
        _ => return vec![field("m", "int64", false)],
    };
    vec![field("m", data_type, true)]
}

/// A patch that is vast: `number` of something.
pub fn patch(behaviour: &str, rows: u32, number: u64) -> Patch {
    let (count, number) = (rows as usize, number as usize);
    let mut patch = empty();
    let values = match behaviour {
        "vast_rejects" => {
            patch.rows = Some((1..rows).collect());
            patch.rejects =
                (0..number).map(|_| Reject { row: 0, reason: String::new(), detail: String::new() }).collect();
            Values::Int64(vec![0; count - 1])
        }
        "vast_filtered" => {
            patch.filtered = (0..number).map(|_| Filtered { reason: String::new(), rows: vec![] }).collect();
            Values::Int64(vec![0; count])
        }
        "vast_rows" => {
            patch.rows = Some(vec![0; number].into_iter().chain(1..rows).collect());
            Values::Int64(vec![0; number + count - 1])
        }
        // Zeros are text; memory that is zero costs nothing before it is read.
        "vast_column" => Values::Varlen(Varlen { offsets: vec![0; count + 1], data: vec![0; number] }),
        "vast_dictionary" => Values::Dictionary(Dictionary {
            codes: vec![0; count],
            values: Varlen { offsets: vec![0, number as u32], data: vec![b'x'; number] },
        }),
        "vast_columns" => {
            patch.columns = (0..number).map(|_| column(Values::Int64(vec![]))).collect();
            return patch;
        }
        "vast_nodes" => {
            let nodes = (0..number).map(|_| Node { validity: vec![], values: Values::None });
            patch.columns = vec![Column { nodes: nodes.collect() }];
            return patch;
        }
        other => panic!("{other} is not known"),
    };
    patch.columns = vec![column(values)];
    patch
}

/// Says as much as it can in as few calls as it can, without an end.
pub fn log_for_ever() {
    let blank = " ".repeat(1 << 20);
    loop {
        log(Level::Error, &blank);
    }
}

/// `number` lookups, one by one or in one.
pub fn get_many(behaviour: &str, number: u64) {
    let name = ["name".to_owned()];
    if behaviour == "get_many_keys" {
        let key = column(Values::Int64(vec![1; number as usize]));
        drop(dimensions::get_many("users", &[key], &name));
        return;
    }
    let key = [column(Values::Int64(vec![1]))];
    for _ in 0..number {
        drop(dimensions::get_many("users", &key, &name));
    }
}
