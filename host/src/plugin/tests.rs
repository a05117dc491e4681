//! Real components that do what no plugin should.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;

use super::testing::{behave, column, engine, hostile, limits, plugin, users, users_table};
use super::*;
use crate::config::{Limits, StageConfig};
use crate::contract::{Call, Contract, Given, Patch};
use crate::error::ErrorKind;
use crate::schema::Column;

mod hostile;

/// `n` and whatever else is given.
fn given(columns: Vec<Column>) -> Given {
    Given { columns, ..Given::default() }
}

fn instance(deed: &str, given: &Given, limits: &Limits) -> (Instance, Contract) {
    plugin().instantiate("test", &behave(deed), given, limits).unwrap()
}

fn call(arrays: Vec<ArrayRef>) -> Call {
    let fields: Vec<Field> = arrays
        .iter()
        .enumerate()
        .map(|(at, array)| Field::new(at.to_string(), array.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(arrays[0].len()));
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap();
    Call { columns, lookups: vec![], now_ms: 1_700_000_000_123 }
}

fn n(values: &[i64]) -> Call {
    call(vec![Arc::new(Int64Array::from(values.to_vec()))])
}

/// One call of a fresh instance for rows of which the second is guilty.
fn deed(deed: &str) -> Result<Patch, Failure> {
    let (mut instance, contract) = instance(deed, &given(vec![]), &limits());
    instance.process(&n(&[1, 13, 2]), &contract, &[], Duration::from_millis(300)).unwrap()
}

#[test]
fn a_plugin_is_loaded_and_says_what_it_is() {
    let plugin = plugin();
    assert_eq!(plugin.digest().len(), 64);
    assert_eq!(plugin.size_bytes(), hostile().len() as u64);
    assert!(
        plugin.imports().iter().any(|import| import == "millstream:stage/dimensions@0.1.0"),
        "{:?}",
        plugin.imports()
    );
    assert_eq!(plugin.exports(), ["millstream:stage/transform@0.1.0"]);
    let about = plugin.describe().unwrap();
    assert_eq!((about.name.as_str(), about.version.as_str()), ("hostile", "0.1.0"));
    assert_eq!(about.config_schema.as_deref(), Some("{}"));
}

#[test]
fn what_cannot_be_a_plugin_is_refused() {
    let refused = |bytes: &[u8]| engine().load(bytes, "a.wasm").unwrap_err();
    let half = refused(&hostile()[..hostile().len() / 2]);
    assert_eq!(half.kind(), ErrorKind::Plugin);
    assert_eq!(half.message(), "a.wasm is not a valid WebAssembly component");
    let preamble = b"\0asm\x0d\0\x01\0";
    assert_eq!(
        refused(preamble).message(),
        "a.wasm does not export millstream:stage/transform@0.1.0; it exports nothing"
    );
    // (component (import "acme:secrets/vault@1.0.0" (instance)))
    let mut importing = preamble.to_vec();
    importing.extend_from_slice(b"\x07\x03\x01\x42\x00");
    importing.extend_from_slice(b"\x0a\x1d\x01\x00\x18acme:secrets/vault@1.0.0\x05\x00");
    assert_eq!(refused(&importing).message(), "a.wasm imports what Millstream does not have: acme:secrets/vault@1.0.0");
}

#[test]
fn a_plugin_that_cannot_be_configured_says_why() {
    let wrong =
        |deed: &str, limits: Limits| plugin().instantiate("clean", &behave(deed), &given(vec![]), &limits).unwrap_err();
    let refused = wrong("refuse", limits());
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert_eq!(refused.message(), "stage \"clean\": the plugin refuses its configuration: there is no such thing");
    let nonsense = wrong("nonsense", limits());
    assert!(
        nonsense.message().starts_with(
            "stage \"clean\": hostile.wasm declares a contract that is wrong: column \"m\" in `writes` has the type \
             \"text\": `text` is not a type"
        ),
        "{nonsense}"
    );
    let trapped = wrong("trap_in_configure", limits());
    assert!(trapped.message().contains("not even configured"), "{trapped}");
    let greedy = wrong("allocate_in_configure", limits());
    assert!(greedy.message().ends_with("needs more than its 64.0 MiB of memory"), "{greedy}");
    assert!(greedy.way_out().is_some_and(|way| way.contains("memory")));
    let small = wrong("", Limits { memory_bytes: 64 << 10, ..limits() });
    assert!(small.message().ends_with("needs more than its 0.1 MiB of memory"), "{small}");
}

#[test]
fn every_type_goes_through_a_real_component() {
    for (type_text, array) in columns::tests::examples() {
        let given = given(vec![column("x", type_text)]);
        let (mut instance, contract) = instance("echo", &given, &limits());
        assert_eq!(contract.writes, given.columns);
        for array in [array.clone(), array.slice(1, 3)] {
            let patch =
                instance.process(&call(vec![array.clone()]), &contract, &[], Duration::from_secs(10)).unwrap().unwrap();
            let back = cast(&patch.columns[0], array.data_type()).unwrap();
            assert_eq!(back.to_data(), array.to_data(), "{type_text}");
        }
    }
}

#[test]
fn there_is_nothing_to_see_in_the_sandbox() {
    let seen = || {
        let (mut instance, contract) = instance("look", &given(vec![]), &limits());
        let mut see = || {
            let patch = instance.process(&n(&[1]), &contract, &[], Duration::from_secs(10)).unwrap().unwrap();
            patch.columns[0].as_string::<i32>().value(0).to_owned()
        };
        (see(), see())
    };
    let start = Instant::now();
    let (first, again) = seen();
    assert!(start.elapsed() < Duration::from_secs(60), "an hour's sleep takes no time");
    assert!(
        first.starts_with(
            "env 0; args 0; file false; folder false; write false; connect false; listen false; udp false; name false; \
             stdin 0; now 1700000000123; slept 3600; random "
        ),
        "{first}"
    );
    // The second call's number is the plugin's own doing: Rust's `RandomState` counts up from the seed that it got.
    let but_the_number = |seen: &str| seen.rsplit_once(' ').unwrap().0.to_owned();
    assert_eq!(but_the_number(&first), but_the_number(&again), "two calls see the same");
    assert_eq!((first, again), seen(), "two instances see the same");
}

#[test]
fn a_trap_says_what_happened_and_where() {
    let Err(Failure::Trap { message, backtrace, row: None }) = deed("trap") else { panic!("a trap") };
    assert!(message.contains("row 1 is guilty"), "{message}");
    assert!(backtrace.contains("process"), "{backtrace}");
    assert!(message.len() + backtrace.len() <= DETAIL_MAX_BYTES);
    assert!(matches!(deed("exit"), Err(Failure::Trap { message, .. }) if message.contains("exit")));
    assert!(matches!(deed("overflow_the_stack"), Err(Failure::Trap { .. })));
}

#[test]
fn time_and_memory_are_limited() {
    assert_eq!(deed("loop").unwrap_err(), Failure::Deadline { after: Duration::from_millis(300) });
    assert_eq!(deed("allocate").unwrap_err(), Failure::OutOfMemory { limit_bytes: 64 << 20 });
    assert!(deed("sleep").is_ok(), "sleeping takes no time");
}

#[test]
fn a_plugins_own_word_is_heard() {
    assert_eq!(deed("retry").unwrap_err(), Failure::Retry("the moon is full".to_owned()));
    assert_eq!(deed("fatal").unwrap_err(), Failure::Fatal("never".to_owned()));
}

#[test]
fn an_instance_that_failed_is_of_no_more_use() {
    for fate in ["trap", "break", "allocate"] {
        let (mut instance, contract) = instance(fate, &given(vec![]), &limits());
        let mut process =
            |values: &[i64]| instance.process(&n(values), &contract, &[], Duration::from_secs(10)).unwrap();
        assert!(process(&[1, 2]).is_ok());
        assert!(process(&[13]).is_err());
        assert_eq!(process(&[1]).unwrap_err(), Failure::Fatal("the instance has ended".to_owned()));
    }
}

#[test]
fn a_broken_patch_is_refused_with_what_is_wrong() {
    for (how, wrong) in [
        ("short_column", "column \"m\": node 0 (m): the column holds 2 values, but 3 rows need 3"),
        ("layout", "column \"m\": node 0 (m): its values are not in the layout of int64"),
        ("null", "column \"m\": node 0 (m): row 0 is null, but the column is not nullable"),
        ("utf8", "column \"m\": node 0 (m): row 0 is not UTF-8"),
        ("offsets", "column \"m\": node 0 (m): offsets end at 3, but there are 2 bytes"),
        ("code", "column \"m\": node 0 (m): row 0 has code 1, but the dictionary holds 1 values"),
        ("decimal", "column \"m\": node 0 (m): row 0 has more than the 4 digits of decimal(4,2)"),
        ("list", "column \"m\": it has 1 nodes, but there is none for m.item"),
        ("missing_row", "row 0 is neither kept nor rejected nor filtered"),
        ("two_fates", "row 0 is both kept and rejected"),
        ("descending", "`rows` descends from 2 to 1"),
        ("filtered", "row 3 is filtered, but there are 3 rows"),
        ("route", "it routes 3 rows, but the contract has 0 outputs and 3 rows are kept"),
        ("columns", "it has 0 columns, but the contract writes 1"),
    ] {
        assert_eq!(deed(&format!("broken_{how}")).unwrap_err(), Failure::Broken(wrong.to_owned()), "{how}");
    }
}

#[test]
fn get_many_reads_granted_tables_only() {
    let (_folder, users) = users();
    let given = Given { tables: vec![users_table()], ..Given::default() };
    let process = |deed: &str| {
        let (mut instance, contract) = instance(deed, &given, &limits());
        instance.process(&n(&[1, 5, 7, 2]), &contract, &[Some(users.snapshot())], Duration::from_secs(10)).unwrap()
    };
    let names = process("get_many").unwrap().columns[0].clone();
    let names = cast(&names, &DataType::Utf8).unwrap();
    let names: Vec<Option<&str>> = names.as_string::<i32>().iter().collect();
    assert_eq!(names, [Some("user 1"), None, None, Some("user 2")]);
    let message = |deed: &str| match process(deed) {
        Err(Failure::Trap { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    assert!(message("get_many_ungranted").contains("NotGranted"));
    assert!(message("get_many_wrong_key").contains("WrongKey"));
}

/// What is logged while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = Written::default();
    let writer = written.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = written.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_a_plugin_says_goes_to_the_log_with_its_stage() {
    let log = logged(|| {
        let (mut instance, contract) =
            plugin().instantiate("talker", &behave("say"), &given(vec![]), &limits()).unwrap();
        instance.process(&n(&[1]), &contract, &[], Duration::from_secs(10)).unwrap().unwrap();
    });
    let digest = plugin().digest()[..12].to_owned();
    for (level, line) in [(" INFO", "to stdout"), (" WARN", "to stderr"), (" WARN", "to the log")] {
        let whole = format!("{level} millstream::plugin: {line} stage=\"talker\" digest=\"{digest}\"");
        assert!(log.contains(&whole), "{whole} in {log}");
    }
}

#[test]
fn only_lines_of_the_levels_that_a_stage_grants_go_to_the_log() {
    for (granted, told) in [
        (LevelFilter::DEBUG, vec!["to stdout", "to stderr", "to the log"]),
        (LevelFilter::WARN, vec!["to stderr", "to the log"]),
        (LevelFilter::ERROR, vec![]),
        (LevelFilter::OFF, vec![]),
    ] {
        let limits = Limits { log: granted, ..limits() };
        let log = logged(|| {
            let (mut instance, contract) =
                plugin().instantiate("talker", &behave("say"), &given(vec![]), &limits).unwrap();
            instance.process(&n(&[1]), &contract, &[], Duration::from_secs(10)).unwrap().unwrap();
        });
        for line in ["to stdout", "to stderr", "to the log"] {
            assert_eq!(log.contains(line), told.contains(&line), "{granted}: {line} in {log}");
        }
    }
}

/// A candidate without secrets is tried beside the live instance, which has one.
#[test]
fn an_instance_hides_its_own_secrets_whatever_its_neighbour_has() {
    let config = serde_json::json!({ "behaviour": "say", "key": { "secret": "KEY" } });
    let config = StageConfig::with_secret(&config, "KEY", "to the log");
    let log = logged(|| {
        let (mut live, contract) = plugin().instantiate("neighbours", &config, &given(vec![]), &limits()).unwrap();
        plugin().instantiate("neighbours", &behave("say"), &given(vec![]), &limits()).unwrap();
        live.process(&n(&[1]), &contract, &[], Duration::from_secs(10)).unwrap().unwrap();
    });
    assert!(!log.contains("to the log") && log.contains("(secret KEY)"), "{log}");
}

/// The secrets are what the test plugin says, so that it tells them in every way that there is.
#[test]
fn a_plugin_that_tells_its_secret_is_not_heard() {
    let told = |deed: &str, secret: &str| {
        let config = serde_json::json!({ "behaviour": deed, "key": { "secret": "KEY" } });
        let config = StageConfig::with_secret(&config, "KEY", secret);
        let mut outcome = String::new();
        let log = logged(|| match plugin().instantiate("teller", &config, &given(vec![]), &limits()) {
            Ok((mut instance, contract)) => {
                let batch = n(&[1, 13]);
                outcome = format!("{:?}", instance.process(&batch, &contract, &[], Duration::from_secs(10)).unwrap());
            }
            Err(error) => outcome = error.to_string(),
        });
        format!("{outcome}\n{log}")
    };
    for (deed, secret) in [
        ("say", "to stdout"),
        ("say", "to stderr"),
        ("say", "to the log"),
        ("refuse", "no such thing"),
        ("trap_in_configure", "not even configured"),
        ("trap", "is guilty"),
        ("retry", "the moon is full"),
    ] {
        let told = told(deed, secret);
        assert!(!told.contains(secret) && told.contains("(secret KEY)"), "{deed}: {told}");
    }
}

#[test]
fn a_plugin_cannot_flood_the_log() {
    let start = Instant::now();
    let log = logged(|| {
        let (mut instance, contract) =
            plugin().instantiate("flood", &behave("say_much:10000000"), &given(vec![]), &limits()).unwrap();
        instance.process(&n(&[1]), &contract, &[], Duration::from_secs(60)).unwrap().unwrap();
    });
    let seconds = start.elapsed().as_secs() as usize + 2;
    let lines = log.lines().filter(|line| line.contains("millstream::plugin: the same line")).count();
    assert!(lines > 0 && lines <= seconds * LOG_MAX_LINES_PER_SECOND as usize, "{lines} in {seconds} s");
}

#[test]
fn an_instance_keeps_within_its_memory() {
    let (mut instance, contract) = instance("", &given(vec![]), &limits());
    let fresh = instance.memory_bytes();
    assert!(fresh > 0);
    let rows: Vec<i64> = (100..100_100).collect();
    let patch = instance.process(&n(&rows), &contract, &[], Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(patch.columns[0].as_primitive::<Int64Type>().value(99_999), 2 * 100_099);
    assert!(instance.memory_bytes() > fresh && instance.memory_bytes() <= 64 << 20);
}
