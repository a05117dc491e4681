//! Stages with a real plugin that does wrong, and native lookups; every row comes out once.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::config::{Limits, LookupStage, Missing, PluginStage, RejectedShare, StageConfig, StageKind};
use crate::contract::Given;
use crate::plan::{Flow, Origin, Place};
use crate::plugin::testing::{behave, column, limits, located, plugin, users, users_table};
use crate::plugin::worked;
use crate::record::{Partition, Payload, Records};
use crate::schema::Column;

fn records(count: usize) -> Arc<Records> {
    Arc::new(Records {
        partition: Partition { source: "s".into(), key: "0".into() },
        partition_number: 0,
        payload: Payload::Bytes(vec![Some(b"{}".as_slice()); count].into()),
        csv_header: None,
        offsets: (0..count as i64).collect(),
        next_offset: count as i64,
        timestamps_ms: vec![],
        keys: None,
        headers: vec![],
    })
}

/// Rows with `n` and a text that says which row it is.
fn batch(n: &[i64]) -> Batch {
    let text: StringArray = n.iter().enumerate().map(|(row, n)| Some(format!("{row}:{n}"))).collect();
    let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(Int64Array::from(n.to_vec()))), ("text", Arc::new(text))];
    Batch { columns: RecordBatch::try_from_iter(columns).unwrap(), records: records(n.len()), record_of_row: None }
}

fn passed(columns: &[Column]) -> Vec<Flow> {
    let flow = |(index, column): (usize, &Column)| Flow { column: column.clone(), origin: Origin::Input(index) };
    columns.iter().enumerate().map(flow).collect()
}

/// A plugin's stage with all that comes in passed through, as the plan would have it.
fn planned(deed: &str, given: Given) -> (PlannedStage, config::Stage) {
    let input = vec![column("n", "int64"), column("text", "utf8")];
    let config = StageConfig::from(&behave(deed));
    let (_, contract) = plugin().instantiate("test", &config, &given, &limits()).unwrap();
    let place = |name: &str| input.iter().position(|column| column.name == *name).unwrap();
    let reads = contract.reads.iter().map(|column| place(&column.name)).collect();
    let lookups = contract.lookups.iter().map(|lookup| PlannedLookup {
        table: 0,
        key: lookup.key.iter().map(|name| place(name)).collect(),
        columns: (0..lookup.columns.len()).collect(),
        missing: Missing::Null,
    });
    let mut output = passed(&input);
    for (index, column) in contract.writes.iter().enumerate() {
        output.retain(|flow| flow.column.name != column.name);
        output.push(Flow { column: column.clone(), origin: Origin::Made(index) });
    }
    let work = PlannedPlugin {
        digest: plugin().digest().into(),
        config,
        reads,
        lookups: lookups.collect(),
        granted: given.tables.iter().map(|table| (table.name.clone(), 0)).collect(),
        given,
        contract,
    };
    let planned = PlannedStage {
        name: "test".into(),
        index: 0,
        from: Place::Source(0),
        input,
        work: Work::Plugin(Box::new(work)),
        output,
    };
    let kind = StageKind::Plugin(PluginStage {
        file: located("hostile.wasm".into()),
        rename: BTreeMap::new(),
        tables: None,
        sha256: None,
        config: located("{}".into()),
        swap: config::Swap::default(),
    });
    (planned, config::Stage { name: located("test".to_owned()), from: None, kind, limits: limits() })
}

fn stage_within(deed: &str, change: impl FnOnce(&mut Limits)) -> Stage {
    let (planned, mut settings) = planned(deed, Given::default());
    change(&mut settings.limits);
    Stage::new(&planned, &settings, Some(plugin())).unwrap()
}

fn stage(deed: &str) -> Stage {
    stage_within(deed, |_| {})
}

fn apply(stage: &mut Stage, batch: &Batch) -> Result<Applied> {
    stage.apply(batch, &[], 0, Duration::ZERO)
}

fn int64(batch: &Batch, name: &str) -> Vec<i64> {
    batch.columns.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn text(batch: &Batch, name: &str) -> Vec<Option<String>> {
    let column = cast(batch.columns.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn reasons(applied: &Applied) -> Vec<(u32, &str)> {
    applied.rejects.iter().map(|reject| (reject.row, reject.reason.as_str())).collect()
}

#[test]
fn what_a_plugin_does_not_touch_is_not_copied() {
    let batch = batch(&[1, 2, 3]);
    let applied = apply(&mut stage(""), &batch).unwrap();
    assert_eq!(int64(&applied.kept, "m"), [2, 4, 6]);
    let buffer = |batch: &Batch| batch.columns.column_by_name("text").unwrap().to_data().buffers()[1].as_ptr();
    assert_eq!(buffer(&applied.kept), buffer(&batch));
    assert_eq!(applied.kept.record_of_row, None);
    assert_eq!((applied.multiplied, applied.rejects.len(), applied.filtered.len()), (0, 0, 0));
}

#[test]
fn rows_are_kept_rejected_filtered_and_doubled() {
    let batch =
        Batch { record_of_row: Some(vec![10, 11, 12, 13, 14]), records: records(20), ..batch(&[1, 13, 14, 15, 2]) };
    let applied = apply(&mut stage("reject"), &batch).unwrap();
    assert_eq!(int64(&applied.kept, "n"), [1, 15, 15, 2]);
    assert_eq!(int64(&applied.kept, "m"), [2, 30, 30, 4]);
    assert_eq!(applied.kept.record_of_row.as_deref(), Some(&[10, 13, 13, 14][..]));
    assert_eq!(applied.rejects, [Refusal { row: 1, reason: "guilty".into(), detail: "n is 13".into() }]);
    assert_eq!(applied.filtered, [Filtered { reason: "skipped".into(), rows: vec![2] }]);
    assert_eq!(applied.multiplied, 1);
}

#[test]
fn rows_are_routed() {
    let applied = apply(&mut stage("route"), &batch(&[1, 2, 4])).unwrap();
    assert_eq!(applied.routes, [1, 0, 0]);
}

#[test]
fn no_rows_need_no_call() {
    let applied = apply(&mut stage("always_trap"), &batch(&[])).unwrap();
    assert_eq!((applied.kept.rows(), applied.kept.columns.num_columns()), (0, 3));
}

#[test]
fn guilty_rows_are_singled_out_and_all_others_go_through_in_order() {
    for (deed, reason, says) in [
        ("trap", "trap", "is guilty"),
        ("exit", "trap", "exit"),
        ("allocate", "out_of_memory", "needs more than its 8.0 MiB of memory"),
        ("break", "broken_patch", "row 4294967295 is kept, but there are 1 rows"),
    ] {
        let mut n: Vec<i64> = (100..4_196).collect();
        (n[100], n[3_000], n[3_001]) = (13, 13, 13);
        let mut stage = stage_within(deed, |limits| limits.memory_bytes = 8 << 20);
        let applied = apply(&mut stage, &batch(&n)).unwrap();
        assert_eq!(reasons(&applied), [(100, reason), (3_000, reason), (3_001, reason)], "{deed}");
        assert!(applied.rejects[0].detail.contains(says), "{}", applied.rejects[0].detail);
        n.retain(|n| *n != 13);
        assert_eq!(int64(&applied.kept, "n"), n);
        assert_eq!(int64(&applied.kept, "m"), n.iter().map(|n| 2 * n).collect::<Vec<_>>());
        let applied = apply(&mut stage, &batch(&[1])).unwrap();
        assert_eq!(int64(&applied.kept, "m"), [2], "the stage goes on with a new instance");
    }
}

#[test]
fn a_row_that_takes_for_ever_is_singled_out() {
    let mut stage = stage_within("loop", |limits| limits.deadline = Duration::from_millis(400));
    let applied = apply(&mut stage, &batch(&[1, 2, 3, 13, 5, 6, 7, 8])).unwrap();
    assert_eq!(reasons(&applied), [(3, "deadline")]);
    assert_eq!(applied.rejects[0].detail, "the plugin worked longer than 50ms");
    assert_eq!(applied.kept.rows(), 7);
}

#[test]
fn a_plugin_that_keeps_trapping_fails_its_stage() {
    let mut stage = stage_within("always_trap", |limits| limits.trap_calls = 20);
    let error = apply(&mut stage, &batch(&(0..4_096).collect::<Vec<_>>())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    let begins = "stage \"test\" keeps failing: 20 calls in this epoch went into finding guilty rows; last, the plugin trapped: ";
    assert!(error.message().starts_with(begins) && error.message().contains("always"), "{error}");
}

#[test]
fn a_plugin_that_traps_slowly_fails_its_stage_in_time() {
    let began = worked();
    let mut stage = stage_within("always_trap_slowly", |limits| limits.deadline = Duration::from_secs(2));
    let error = apply(&mut stage, &batch(&(0..4_096).collect::<Vec<_>>())).unwrap_err();
    assert!(error.message().starts_with("stage \"test\" keeps failing: "), "{error}");
    assert!(worked() - began < LOST_MAX + Duration::from_secs(2), "{error} after {:?}", worked() - began);
}

#[test]
fn what_earlier_calls_left_behind_is_no_rows_fault() {
    for calls in [2, 3, 7] {
        let mut stage = stage(&format!("trap_on_call:{calls}"));
        for first in 0..20 {
            let n: Vec<i64> = (100 * first..100 * first + 100).collect();
            let applied = apply(&mut stage, &batch(&n)).unwrap();
            assert_eq!((reasons(&applied).len(), int64(&applied.kept, "n")), (0, n), "each {calls}. call traps");
        }
    }
    let error = apply(&mut stage("trap_on_call:1"), &batch(&(0..4_096).collect::<Vec<_>>())).unwrap_err();
    assert!(error.message().contains("keeps failing"), "{error}");
}

#[test]
fn a_percent_of_guilty_rows_is_found_to_the_row_batch_after_batch() {
    let mut stage = stage("trap");
    for first in 0..10 {
        let n: Vec<i64> = (0..4_096).map(|row| if (row * 7_919 + first) % 101 == 0 { 13 } else { 100 + row }).collect();
        let applied = apply(&mut stage, &batch(&n)).unwrap();
        let guilty: Vec<(u32, &str)> = (0..).zip(&n).filter(|(_, n)| **n == 13).map(|(row, _)| (row, "trap")).collect();
        assert!(guilty.len() >= 40);
        assert_eq!(reasons(&applied), guilty);
        assert_eq!(int64(&applied.kept, "n"), n.into_iter().filter(|n| *n != 13).collect::<Vec<_>>());
    }
}

#[test]
fn a_plugin_may_say_which_row_it_traps_over_and_gains_nothing_by_a_lie() {
    for first in 0..5 {
        let n: Vec<i64> = (0..4_096).map(|row| if (row * 31 + first) % 97 == 0 { 13 } else { 100 + row }).collect();
        let guilty: Vec<(u32, &str)> = (0..).zip(&n).filter(|(_, n)| **n == 13).map(|(row, _)| (row, "trap")).collect();
        let mut told = stage("trap_and_tell");
        for _ in 0..3 {
            let applied = apply(&mut told, &batch(&n)).unwrap();
            assert_eq!(reasons(&applied), guilty);
            let detail = &applied.rejects[0].detail;
            assert!(detail.contains("is guilty") && !detail.contains("millstream: row"), "{detail}");
            assert_eq!(int64(&applied.kept, "n"), n.iter().copied().filter(|n| *n != 13).collect::<Vec<_>>());
        }
        // A row that is not there is no row; another one than the guilty one is as good as rejected by the plugin.
        assert_eq!(reasons(&apply(&mut stage("trap_and_rave"), &batch(&n)).unwrap()), guilty);
        let lied = apply(&mut stage("trap_and_lie"), &batch(&n)).unwrap();
        assert!(guilty.iter().all(|row| reasons(&lied).contains(row)), "{:?}", reasons(&lied));
        assert_eq!(lied.kept.rows() + lied.rejects.len(), 4_096);
    }
    // What earlier calls left behind is no row's fault, whatever the plugin says.
    let mut stage = stage("tell_on_call:2");
    for _ in 0..9 {
        assert!(apply(&mut stage, &batch(&[1, 2, 3])).unwrap().rejects.is_empty());
    }
}

#[test]
fn copies_of_rows_are_bounded_by_what_they_copy() {
    let wide = "x".repeat(10_000);
    let columns: [(&str, ArrayRef); 2] = [
        ("n", Arc::new(Int64Array::from(vec![1, 13, 2]))),
        ("text", Arc::new(StringArray::from(vec![wide.as_str(); 3]))),
    ];
    let batch =
        Batch { columns: RecordBatch::try_from_iter(columns).unwrap(), records: records(3), record_of_row: None };
    let mut stage = stage("vast_rows:100000");
    let applied = apply(&mut stage, &batch).unwrap();
    assert_eq!(reasons(&applied), [(1, "broken_patch")]);
    assert!(applied.rejects[0].detail.contains("its copies of rows take"), "{}", applied.rejects[0].detail);
    assert_eq!(int64(&applied.kept, "n"), [1, 2]);
}

#[test]
fn the_calls_of_bisection_are_counted_anew_with_each_epoch() {
    // Two rows of which one is guilty cost two calls more.
    let mut stage = stage_within("trap", |limits| limits.trap_calls = 3);
    assert!(apply(&mut stage, &batch(&[1, 13])).is_ok());
    assert!(apply(&mut stage, &batch(&[1, 13])).is_err());
    stage.begin_epoch();
    assert!(apply(&mut stage, &batch(&[1, 13])).is_ok());
}

#[test]
fn what_is_about_the_batch_is_an_error() {
    let retry = apply(&mut stage("retry"), &batch(&[13])).unwrap_err();
    assert_eq!(retry.kind(), ErrorKind::Unavailable);
    assert_eq!(retry.message(), "stage \"test\": the plugin asks to have the batch again later: the moon is full");
    let fatal = apply(&mut stage("fatal"), &batch(&[13])).unwrap_err();
    assert_eq!((fatal.kind(), fatal.message()), (ErrorKind::Plugin, "stage \"test\": the plugin gives up: never"));
}

#[test]
fn a_contract_that_is_not_the_planned_one_is_refused() {
    let (mut planned, settings) = planned("", Given::default());
    if let Work::Plugin(work) = &mut planned.work {
        work.contract.writes[0].nullable = true;
    }
    let error = Stage::new(&planned, &settings, Some(plugin())).unwrap_err();
    assert!(error.message().contains("another contract than before"), "{error}");
}

#[test]
fn wide_rows_do_not_trap_a_healthy_plugin() {
    let given = Given { columns: vec![column("text", "utf8")], ..Given::default() };
    let (planned, mut settings) = planned("echo", given);
    settings.limits.memory_bytes = 16 << 20;
    let mut stage = Stage::new(&planned, &settings, Some(plugin())).unwrap();
    let wide: Vec<String> = (0..60u8).map(|row| char::from(b'a' + row % 26).to_string().repeat(1 << 20)).collect();
    let columns: [(&str, ArrayRef); 2] =
        [("n", Arc::new(Int64Array::from(vec![0; 60]))), ("text", Arc::new(StringArray::from(wide.clone())))];
    let batch =
        Batch { columns: RecordBatch::try_from_iter(columns).unwrap(), records: records(60), record_of_row: None };
    let applied = apply(&mut stage, &batch).unwrap();
    assert!(applied.rejects.is_empty(), "{}", applied.rejects[0].detail);
    assert_eq!(text(&applied.kept, "text"), wide.into_iter().map(Some).collect::<Vec<_>>());
    assert!(stage.memory_bytes() <= 16 << 20);
}

#[test]
fn too_many_rejects_stop_the_stage() {
    let limit = RejectedShare { share: 0.05, over: Duration::from_secs(60) };
    let mut stage = stage_within("reject", |limits| limits.rejected = Some(limit));
    let mut n = vec![1; 2_000];
    assert!(apply(&mut stage, &batch(&n)).is_ok());
    n[..300].fill(13);
    let error = apply(&mut stage, &batch(&n)).unwrap_err();
    assert!(error.message().starts_with("stage \"test\" rejected 7.5% of 4000 rows"), "{error}");
    assert!(error.message().ends_with("most often: guilty (300)"), "{error}");
}

#[test]
fn declared_lookups_are_made_by_the_host() {
    let (_folder, users) = users();
    let (planned, settings) = planned("lookups", Given { tables: vec![users_table()], ..Given::default() });
    let mut stage = Stage::new(&planned, &settings, Some(plugin())).unwrap();
    let applied = stage.apply(&batch(&[1, 5, 7, 2]), &[users.snapshot()], 0, Duration::ZERO).unwrap();
    let found: Vec<bool> = applied.kept.columns.column_by_name("found").unwrap().as_boolean().values().iter().collect();
    assert_eq!(found, [true, false, true, true], "a key that is not there differs from a null");
    assert_eq!(text(&applied.kept, "name"), [Some("user 1".to_owned()), None, None, Some("user 2".to_owned())]);
}

fn native(missing: Missing, n: &[i64]) -> Applied {
    let (_folder, users) = users();
    let input = vec![column("n", "int64"), column("text", "utf8")];
    let mut output = passed(&input);
    output.push(Flow { column: column("user", "utf8?"), origin: Origin::Made(0) });
    let lookup = PlannedLookup { table: 0, key: vec![0], columns: vec![0], missing };
    let planned = PlannedStage {
        name: "native".into(),
        index: 0,
        from: Place::Source(0),
        input,
        work: Work::Lookup(lookup),
        output,
    };
    let kind = StageKind::Lookup(LookupStage {
        table: located("users".to_owned()),
        key: vec![located("n".to_owned())],
        add: vec![(located("user".to_owned()), located("name".to_owned()))],
        missing,
    });
    let settings = config::Stage { name: located("native".to_owned()), from: None, kind, limits: limits() };
    let mut stage = Stage::new(&planned, &settings, None).unwrap();
    stage.apply(&batch(n), &[users.snapshot()], 0, Duration::ZERO).unwrap()
}

#[test]
fn a_native_lookup_adds_columns() {
    let user = |name: &str| Some(name.to_owned());
    let applied = native(Missing::Null, &[1, 5, 2]);
    assert_eq!(text(&applied.kept, "user"), [user("user 1"), None, user("user 2")]);
    let column = applied.kept.columns.column_by_name("user").unwrap();
    assert!(matches!(column.data_type(), DataType::Dictionary(..)), "a dictionary stays one");

    let applied = native(Missing::Reject, &[1, 5, 7, 2]);
    assert_eq!(text(&applied.kept, "user"), [user("user 1"), None, user("user 2")]);
    assert_eq!(int64(&applied.kept, "n"), [1, 7, 2]);
    let detail = "\"users\" has no row with n = 5".to_owned();
    assert_eq!(applied.rejects, [Refusal { row: 1, reason: "lookup_missing".into(), detail }]);

    let applied = native(Missing::Filter, &[5, 1, 6_000]);
    assert_eq!(int64(&applied.kept, "n"), [1]);
    assert_eq!(applied.filtered, [Filtered { reason: "lookup_missing".into(), rows: vec![0, 2] }]);
    assert_eq!(applied.kept.record_of_row, Some(vec![1]));

    assert_eq!(native(Missing::Reject, &[1, 2]).kept.record_of_row, None, "when all are there nothing is taken");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_row_comes_out_once(
        n in prop::collection::vec(prop_oneof![4 => 16i64..99, 1 => 13i64..16], 0..40), deed in 0usize..3,
    ) {
        let deed = ["reject", "trap", "break"][deed];
        let applied = apply(&mut stage(deed), &batch(&n)).unwrap();
        let filtered: usize = applied.filtered.iter().map(|filtered| filtered.rows.len()).sum();
        let out = applied.kept.rows() + applied.rejects.len() + filtered;
        prop_assert_eq!(n.len() as u64 + applied.multiplied, out as u64);
        let guilty: Vec<u32> = (0u32..).zip(&n).filter(|(_, n)| **n == 13).map(|(row, _)| row).collect();
        let rejected: Vec<u32> = applied.rejects.iter().map(|reject| reject.row).collect();
        prop_assert_eq!(rejected, guilty);
        let kept: Vec<i64> = n.iter().flat_map(|n| match (deed, *n) {
            (_, 13) | ("reject", 14) => vec![],
            ("reject", 15) => vec![15, 15],
            (_, n) => vec![n],
        }).collect();
        prop_assert_eq!(int64(&applied.kept, "n"), kept.clone());
        prop_assert_eq!(int64(&applied.kept, "m"), kept.iter().map(|n| 2 * n).collect::<Vec<_>>());
    }
}
