//! What is done at `configure`, and what is declared there.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::exports::millstream::stage::transform::{Contract, Field, Given, Lookup};
use crate::millstream::stage::dimensions::get_many;
use crate::{allocate, broken, deeper, flood, spin};

/// The contract of a behaviour.
pub fn declare(behaviour: &str, number: u64, given: Given) -> Result<Contract, String> {
    let n = vec![field("n", "int64", false)];
    let mut contract =
        Contract { reads: n, lookups: vec![], writes: vec![field("m", "int64", false)], outputs: vec![] };
    match behaviour {
        "refuse" => return Err("there is no such thing".into()),
        "refuse_at_length" => return Err("no ".repeat(number as usize)),
        "trap_in_configure" => panic!("not even configured"),
        "allocate_in_configure" => allocate(),
        "loop_in_configure" => spin(u64::MAX),
        "overflow_in_configure" => drop(deeper(0)),
        "look_up_in_configure" => panic!("{:?}", get_many("users", &[], &[])),
        "echo" => contract = Contract { reads: given.columns.clone(), writes: given.columns, ..contract },
        "discard" => contract = Contract { reads: given.columns, writes: vec![], ..contract },
        "route" => contract.outputs = vec!["even".into(), "odd".into()],
        "look" => contract.writes = vec![field("seen", "utf8", false)],
        "get_many" => contract.writes = vec![field("name", "utf8", true)],
        "lookups" => {
            let columns = given.tables[0].columns.clone();
            contract.writes = [vec![field("found", "bool", false)], columns.clone()].concat();
            contract.lookups = vec![Lookup { table: given.tables[0].name.clone(), key: vec!["n".into()], columns }];
        }
        "nonsense" => contract.writes[0].data_type = "text".into(),
        "deep_type" => contract.writes[0].data_type = "list<".repeat(number as usize),
        "wide_type" => {
            let fields: Vec<String> = (0..number).map(|field| format!("f{field}: int8")).collect();
            contract.writes[0].data_type = format!("struct<{}>", fields.join(", "));
        }
        "many_writes" => contract.writes = (0..number).map(|at| field(&at.to_string(), "int8", false)).collect(),
        "long_name" => contract.writes[0].name = "m".repeat(number as usize),
        "whim" => contract.writes[0].name = format!("m_{}", whim()),
        _ if behaviour.starts_with("broken_") => contract.writes = broken::writes(behaviour),
        _ if behaviour.starts_with("vast_") => contract.writes = flood::writes(behaviour),
        _ => {}
    }
    Ok(contract)
}

pub fn field(name: &str, data_type: &str, nullable: bool) -> Field {
    Field { name: name.into(), data_type: data_type.into(), nullable }
}

/// A number from all that might differ from one instance to the next.
#[expect(clippy::disallowed_methods, reason = "time passes")]
fn whim() -> u64 {
    let start = Instant::now();
    std::thread::sleep(Duration::from_micros(1));
    let here = Box::new(0u8);
    let place = std::ptr::from_ref(&*here) as usize;
    RandomState::new().hash_one((start.elapsed(), place, std::env::vars().count(), std::thread::current().id()))
}
