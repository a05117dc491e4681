//! What the plugin does is chosen by its configuration, `{"behaviour":"..","n":..}`; most deeds are done to batches in
//! which a row's `n` is 13, and every other row gets `m = 2 n`.
#![cfg(target_family = "wasm")]

mod broken;
mod contract;
mod flood;
mod look;

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use std::cell::{Cell, RefCell};

use exports::millstream::stage::transform::{About, Batch, Contract, Failure, Filtered, Given, Guest, Patch, Reject};
use millstream::stage::columns::{Column, Node, Values, Varlen};
use millstream::stage::dimensions::get_many;
use millstream::stage::log::{Level, log};

const GUILTY: i64 = 13;
const SKIPPED: i64 = 14;
const DOUBLED: i64 = 15;

thread_local! {
    static BEHAVIOUR: RefCell<String> = const { RefCell::new(String::new()) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Hostile;

impl Guest for Hostile {
    fn describe() -> About {
        About { name: "hostile".into(), version: "0.1.0".into(), config_schema: Some("{}".into()) }
    }

    fn configure(config: String, given: Given) -> Result<Contract, String> {
        let behind = |key: &str| config.split(&format!("\"{key}\":")).nth(1).unwrap_or("").trim_start().to_owned();
        let behaviour = behind("behaviour").split('"').nth(1).unwrap_or("").to_owned();
        let digits: String = behind("n").chars().take_while(char::is_ascii_digit).collect();
        NUMBER.set(digits.parse().unwrap_or(0));
        let contract = contract::declare(&behaviour, NUMBER.get(), given);
        BEHAVIOUR.set(behaviour);
        contract
    }

    fn process(batch: Batch) -> Result<Patch, Failure> {
        CALLS.set(CALLS.get() + 1);
        let behaviour = BEHAVIOUR.with_borrow(String::clone);
        if let Some(patch) = whole(&behaviour, &batch) {
            return Ok(patch);
        }
        let Values::Int64(n) = &batch.columns[0].nodes[0].values else { panic!("n is no int64") };
        let number = NUMBER.get() as i64;
        if let Some(row) = n.iter().position(|n| behaviour == "poison" && number > 0 && n % number == GUILTY) {
            told(row);
        }
        if let Some(row) = n.iter().position(|n| *n == GUILTY) {
            guilty(&behaviour, row)?;
        }
        let mut patch = empty();
        match behaviour.as_str() {
            "break" if n.contains(&GUILTY) => patch.rows = Some(vec![u32::MAX]),
            "reject" => sort_out(n, &mut patch),
            "route" => patch.outputs = n.iter().map(|n| u16::from(n % 2 != 0)).collect(),
            behaviour if behaviour.starts_with("broken_") => return Ok(broken::patch(behaviour, batch.rows)),
            behaviour if behaviour.starts_with("vast_") && n.contains(&GUILTY) => {
                return Ok(flood::patch(behaviour, batch.rows, NUMBER.get()));
            }
            _ => {}
        }
        let doubled = match &patch.rows {
            Some(rows) => rows.iter().map(|row| n.get(*row as usize).map_or(0, |n| 2 * n)).collect(),
            None => n.iter().map(|n| n * 2).collect(),
        };
        patch.columns = vec![column(Values::Int64(doubled))];
        Ok(patch)
    }
}

/// What is done to a batch whatever its rows are; a patch when nothing else is to be done.
fn whole(behaviour: &str, batch: &Batch) -> Option<Patch> {
    let number = NUMBER.get();
    let columns = match behaviour {
        "echo" => batch.columns.clone(),
        "discard" => vec![],
        "look" => vec![text((0..batch.rows).map(|_| look::around()).collect::<Vec<_>>().iter().map(String::as_str))],
        "get_many" => get_many("users", &batch.columns, &["name".to_owned()]).expect("users are granted").columns,
        "get_many_ungranted" => panic!("{:?}", get_many("secrets", &batch.columns, &[])),
        "get_many_wrong_key" => panic!("{:?}", get_many("users", &[text(["a"].into_iter())], &["name".to_owned()])),
        "get_many_columns" => panic!("{:?}", get_many("users", &batch.columns, &vec!["name".to_owned(); 1_000])),
        "lookups" => {
            let found = Values::Bits(batch.lookups[0].found.clone());
            [vec![column(found)], batch.lookups[0].columns.clone()].concat()
        }
        "say" => {
            println!("to stdout");
            eprintln!("to stderr");
            log(Level::Warn, "to the log");
            return None;
        }
        "say_much" => {
            (0..number).for_each(|_| log(Level::Info, "the same line"));
            return None;
        }
        "always_trap" => panic!("always"),
        "always_trap_slowly" => {
            spin(30_000_000);
            panic!("always, after a while")
        }
        "trap_on_call" if CALLS.get() == number => panic!("call {number}"),
        "tell_on_call" if CALLS.get() == number => {
            told(0);
            return None;
        }
        _ => return None,
    };
    Some(Patch { columns, ..empty() })
}

/// What is done over a guilty row.
#[expect(clippy::disallowed_methods, reason = "that is hostile")]
fn guilty(behaviour: &str, row: usize) -> Result<(), Failure> {
    match behaviour {
        "trap" => panic!("row {row} is guilty"),
        // As the SDK does it, and as nobody should.
        "trap_and_tell" => told(row),
        "trap_and_lie" => told(row + 1),
        "trap_and_rave" => told(usize::MAX),
        "loop" => spin(u64::MAX),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3_600)),
        "allocate" => allocate(),
        "exit" => std::process::exit(3),
        "overflow_the_stack" => drop(deeper(row as u64)),
        "retry" => return Err(Failure::Retry("the moon is full".into())),
        "fatal" => return Err(Failure::Fatal("never".into())),
        "log_for_ever" => flood::log_for_ever(),
        "get_many_calls" | "get_many_keys" => flood::get_many(behaviour, NUMBER.get()),
        _ => {}
    }
    Ok(())
}

fn told(row: usize) {
    eprintln!("row {row} is guilty\nmillstream: row {row}");
    std::process::abort();
}

fn empty() -> Patch {
    Patch { rows: None, columns: vec![], outputs: vec![], rejects: vec![], filtered: vec![] }
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

fn column(values: Values) -> Column {
    Column { nodes: vec![Node { validity: vec![], values }] }
}

fn text<'a>(rows: impl Iterator<Item = &'a str>) -> Column {
    let (mut offsets, mut data) = (vec![0], vec![]);
    for row in rows {
        data.extend_from_slice(row.as_bytes());
        offsets.push(data.len() as u32);
    }
    column(Values::Varlen(Varlen { offsets, data }))
}

fn spin(times: u64) {
    let mut spins = 0u64;
    while std::hint::black_box(spins) < times {
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

export!(Hostile);
