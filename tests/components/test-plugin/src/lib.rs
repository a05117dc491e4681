//! What the plugin does is chosen by its configuration, `{"do":"..."}`; most deeds are done to batches in which a row's
//! `n` is 13, and every other row gets `m = 2 n`.

mod broken;
mod look;

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use std::cell::RefCell;

use exports::millstream::stage::transform::{
    About, Batch, Contract, Failure, Field, Filtered, Given, Guest, Lookup, Patch, Reject,
};
use millstream::stage::columns::{Column, Node, Values};
use millstream::stage::dimensions::get_many;
use millstream::stage::log::{Level, log};

const GUILTY: i64 = 13;
const SKIPPED: i64 = 14;
const DOUBLED: i64 = 15;

thread_local! {
    static DEED: RefCell<String> = const { RefCell::new(String::new()) };
}

struct TestPlugin;

impl Guest for TestPlugin {
    fn describe() -> About {
        About { name: "test-plugin".into(), version: "0.1.0".into(), config_schema: Some("{}".into()) }
    }

    fn configure(config: String, given: Given) -> Result<Contract, String> {
        let deed = config.split("\"do\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("").to_owned();
        let field = |name: &str, data_type: &str, nullable| Field { name: name.into(), data_type: data_type.into(), nullable };
        let n = vec![field("n", "int64", false)];
        let mut contract = Contract { reads: n, lookups: vec![], writes: vec![field("m", "int64", false)], outputs: vec![] };
        match deed.as_str() {
            "echo" => contract = Contract { reads: given.columns.clone(), writes: given.columns, ..contract },
            "discard" => contract = Contract { reads: given.columns, writes: vec![], ..contract },
            "refuse" => return Err("there is no such thing".into()),
            "nonsense" => contract.writes[0].data_type = "text".into(),
            "trap_in_configure" => panic!("not even configured"),
            "allocate_in_configure" => allocate(),
            "loop_in_configure" => spin(),
            "look" => contract.writes = vec![field("seen", "utf8", false)],
            "route" => contract.outputs = vec!["even".into(), "odd".into()],
            "get_many" | "get_many_ungranted" | "get_many_wrong_key" => contract.writes = vec![field("name", "utf8", true)],
            "lookups" => {
                let columns = given.tables[0].columns.clone();
                contract.writes = vec![field("found", "bool", false)];
                contract.writes.extend(columns.clone());
                contract.lookups = vec![Lookup { table: given.tables[0].name.clone(), key: vec!["n".into()], columns }];
            }
            deed if deed.starts_with("broken_") => contract.writes = broken::writes(deed),
            _ => {}
        }
        DEED.set(deed);
        Ok(contract)
    }

    fn process(batch: Batch) -> Result<Patch, Failure> {
        let deed = DEED.with_borrow(String::clone);
        let mut patch = Patch { rows: None, columns: vec![], outputs: vec![], rejects: vec![], filtered: vec![] };
        match deed.as_str() {
            "echo" => return Ok(Patch { columns: batch.columns, ..patch }),
            "discard" => return Ok(patch),
            "look" => {
                let seen = look::around();
                let rows = batch.rows as usize;
                patch.columns = vec![text((0..rows).map(|_| seen.as_str()))];
                return Ok(patch);
            }
            "get_many" => {
                let answer = get_many("users", &batch.columns, &["name".to_owned()]).expect("users are granted");
                return Ok(Patch { columns: answer.columns, ..patch });
            }
            "get_many_ungranted" => panic!("{:?}", get_many("secrets", &batch.columns, &[])),
            "get_many_wrong_key" => {
                let key = [text(["a"].into_iter())];
                panic!("{:?}", get_many("users", &key, &["name".to_owned()]))
            }
            "lookups" => {
                let [joined] = <[_; 1]>::try_from(batch.lookups).unwrap_or_else(|_| panic!("one lookup"));
                patch.columns = vec![Column { nodes: vec![Node { validity: vec![], values: Values::Bits(joined.found) }] }];
                patch.columns.extend(joined.columns);
                return Ok(patch);
            }
            "say" => {
                println!("to stdout");
                eprintln!("to stderr");
                log(Level::Warn, "to the log");
            }
            "say_much" => (0..10_000).for_each(|line| log(Level::Info, &format!("line {line}"))),
            "always_trap" => panic!("always"),
            _ => {}
        }
        let Values::Int64(n) = &batch.columns[0].nodes[0].values else { panic!("n is no int64") };
        if let Some(row) = n.iter().position(|n| *n == GUILTY) {
            match deed.as_str() {
                "trap" => panic!("row {row} is guilty"),
                "loop" => spin(),
                "sleep" => std::thread::sleep(std::time::Duration::from_secs(3_600)),
                "allocate" => allocate(),
                "exit" => std::process::exit(3),
                "overflow_the_stack" => drop(deeper(row as u64)),
                "retry" => return Err(Failure::Retry("the moon is full".into())),
                "fatal" => return Err(Failure::Fatal("never".into())),
                "break" => patch.rows = Some(vec![u32::MAX]),
                _ => {}
            }
        }
        if deed.starts_with("broken_") {
            return Ok(broken::patch(&deed, batch.rows));
        }
        if deed == "reject" {
            sort_out(n, &mut patch);
        }
        let doubled = match &patch.rows {
            Some(rows) => rows.iter().map(|row| n.get(*row as usize).map_or(0, |n| 2 * n)).collect(),
            None => n.iter().map(|n| n * 2).collect(),
        };
        if deed == "route" {
            patch.outputs = n.iter().map(|n| u16::from(n % 2 != 0)).collect();
        }
        patch.columns = vec![Column { nodes: vec![Node { validity: vec![], values: Values::Int64(doubled) }] }];
        Ok(patch)
    }
}

/// Guilty rows are rejected, some are filtered, some doubled.
fn sort_out(n: &[i64], patch: &mut Patch) {
    let (mut rows, mut skipped) = (vec![], vec![]);
    for (row, n) in (0u32..).zip(n) {
        match *n {
            GUILTY => patch.rejects.push(Reject { row, reason: "guilty".into(), detail: format!("n is {n}") }),
            SKIPPED => skipped.push(row),
            DOUBLED => rows.extend([row, row]),
            _ => rows.push(row),
        }
    }
    patch.rows = Some(rows);
    patch.filtered = vec![Filtered { reason: "skipped".into(), rows: skipped }];
}

fn text<'a>(rows: impl Iterator<Item = &'a str>) -> Column {
    let (mut offsets, mut data) = (vec![0], vec![]);
    for row in rows {
        data.extend_from_slice(row.as_bytes());
        offsets.push(data.len() as u32);
    }
    let values = Values::Varlen(millstream::stage::columns::Varlen { offsets, data });
    Column { nodes: vec![Node { validity: vec![], values }] }
}

fn spin() {
    let mut spins = 0u64;
    while std::hint::black_box(spins) < u64::MAX {
        spins += 1;
    }
}

fn allocate() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    deeper(depth + 1) + here[(depth % 64) as usize]
}

export!(TestPlugin);
