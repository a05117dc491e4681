//! What a hostile plugin does to an instance, and what comes of it: an error in so many words, in bounded time and memory.
//! What becomes of the pipeline is in `tests/tests/e2e/hostile.rs`.

use super::*;

/// What `configure` comes to.
fn configured(behaviour: &str, number: u64) -> Result<Contract, String> {
    let config = behave(&format!("{behaviour}:{number}"));
    let made = plugin().instantiate("clean", &config, &given(vec![column("n", "int64")]), &limits());
    made.map(|(_, contract)| contract).map_err(|error| error.message().to_owned())
}

/// One call of a fresh instance for three rows, the second guilty, and the plugin's and host's processor time for it.
fn processed(behaviour: &str, number: u64, limits: &Limits) -> (Result<Patch, Failure>, Duration) {
    let given = Given { tables: vec![users_table()], ..Given::default() };
    let (mut instance, contract) =
        plugin().instantiate("test", &behave(&format!("{behaviour}:{number}")), &given, limits).unwrap();
    let (_folder, users) = users();
    let began = worked();
    let outcome = instance.process(&n(&[1, 13, 2]), &contract, &[Some(users.snapshot())], limits.deadline).unwrap();
    assert!(instance.memory_bytes() <= limits.memory_bytes);
    (outcome, worked() - began)
}

fn message(outcome: Result<Patch, Failure>) -> String {
    outcome.map(|patch| format!("{patch:?}")).unwrap_err().to_string()
}

#[test]
fn a_plugin_that_never_is_configured_is_given_up() {
    let began = worked();
    let endless = configured("loop_in_configure", 0).unwrap_err();
    assert_eq!(endless, "stage \"clean\": hostile.wasm cannot be started: the plugin worked longer than 10s");
    assert!(worked() - began < CONFIGURE_DEADLINE * 2);
    let deep = configured("overflow_in_configure", 0).unwrap_err();
    // Which of its two stacks is at its end first is the compiler's doing: wasm's own, or the one in its memory.
    assert!(deep.contains("call stack exhausted") || deep.contains("out of bounds memory access"), "{deep}");
    let early = configured("look_up_in_configure", 0).unwrap_err();
    assert!(early.contains("NotGranted"), "{early}");
}

#[test]
fn a_contract_that_is_too_much_is_refused() {
    for (behaviour, number, wrong) in [
        ("refuse_at_length", 1_000_000, "the plugin refuses its configuration: no no no"),
        ("deep_type", 1_000, "a type nested deeper than 16"),
        ("deep_type", 1_000_000, "has a type longer than 16384 bytes: \"list<list<"),
        ("wide_type", 100_000, "has a type longer than 16384 bytes: \"struct<f0: int8"),
        ("many_writes", 5_000, "it declares 5000 writes, more than 4096"),
        ("many_writes", 500_000, "it declares 500000 writes, more than 4096"),
        ("long_name", 300, "a name in `writes` is longer than 256 bytes: \"mmm"),
    ] {
        let message = configured(behaviour, number).unwrap_err();
        assert!(message.contains(wrong), "{behaviour}: {message}");
        assert!(message.len() < 2 * DETAIL_MAX_BYTES, "{behaviour}: {} bytes", message.len());
    }
}

#[test]
fn no_instance_can_tell_itself_from_another() {
    let whims: Vec<Contract> = (0..3).map(|_| configured("whim", 0).unwrap()).collect();
    assert!(whims.iter().all(|contract| *contract == whims[0]), "{whims:?}");
}

#[test]
fn every_broken_patch_is_refused_with_what_is_wrong() {
    for (how, wrong) in [
        ("long_column", "node 0 (m): the column holds 4 values, but 3 rows need 3"),
        ("validity", "node 0 (m): validity holds 3 bytes, but 3 rows need 1"),
        ("bits", "node 0 (m): bits holds 3 bytes, but 3 rows need 1"),
        ("characters", "node 0 (m): row 0 is not UTF-8"),
        ("offsets_descend", "node 0 (m): offsets descend from 3 to 2 at row 0"),
        ("offsets_few", "node 0 (m): offsets holds 2 entries, but 3 rows need 4"),
        ("list_offsets", "node 0 (m): offsets end at 4294967295, beyond 2^31 - 1"),
        ("nodes", "column \"m\" has 2 nodes, but int64 needs 1"),
        ("more_columns", "it has 2 columns, but the contract writes 1"),
        ("swapped", "`rows` descends from 1 to 0"),
        ("kept", "row 3 is kept, but there are 3 rows"),
        ("two_rejects", "row 0 is rejected twice"),
        ("two_filters", "row 0 is filtered twice"),
        ("reject", "row 4294967295 is rejected, but there are 3 rows"),
        ("reject_of_all", "`rows` is none, which keeps all rows, but 1 are rejected or filtered"),
    ] {
        let Err(Failure::Broken(message)) = deed(&format!("broken_{how}")) else { panic!("{how} is let through") };
        assert!(message.ends_with(wrong), "{how}: {message}");
    }
}

/// What is vast is refused before the host makes room for it: nothing here takes more than the plugin's own memory.
#[test]
fn what_is_vast_is_refused_before_it_is_taken_over() {
    let roomy = Limits { memory_bytes: 4 << 30, ..limits() };
    let too_much = "the plugin returned a broken patch: it hands over more than 512.0 MiB at once";
    for (behaviour, number, wrong) in [
        ("vast_rejects", 10_000_000, too_much),
        ("vast_filtered", 15_000_000, too_much),
        ("vast_column", 2_147_000_000, too_much),
        ("vast_columns", 30_000_000, too_much),
        ("vast_nodes", 10_000_000, too_much),
        ("vast_rejects", 4_000, "the plugin returned a broken patch: row 0 is rejected twice"),
        ("vast_rows", 10_000_000, "it makes 10000002 rows of 3, more than 1048576"),
        ("vast_columns", 10_000, "it has 10000 columns, but the contract writes 1"),
        ("vast_dictionary", 100_000_000, "its text takes 300000000 bytes when it is written out, more than 268435456"),
    ] {
        let message = message(processed(behaviour, number, &roomy).0);
        assert!(message.ends_with(wrong), "{behaviour}: {message}");
    }
    let usual = processed("vast_column", 2_147_000_000, &limits()).0.unwrap_err();
    assert_eq!(usual, Failure::OutOfMemory { limit_bytes: 64 << 20 });
    let usual = processed("vast_rejects", 10_000_000, &limits()).0.unwrap_err();
    assert_eq!(usual, Failure::OutOfMemory { limit_bytes: 64 << 20 });
}

#[test]
fn calls_of_the_host_are_no_way_around_the_deadline() {
    let hurried = Limits { deadline: Duration::from_millis(500), ..limits() };
    let (outcome, took) = processed("log_for_ever", 0, &hurried);
    assert_eq!(outcome.unwrap_err(), Failure::Deadline { after: hurried.deadline });
    assert!(took < 4 * hurried.deadline, "{took:?}");
    let allowed = GET_MANY_KEYS_BESIDE + 3 * GET_MANY_KEYS_PER_ROW;
    let wrong =
        format!("get-many was asked for more than the {allowed} keys that a call of this many rows may look up");
    for (behaviour, number) in [("get_many_calls", 10_000_000), ("get_many_keys", 2_000_000)] {
        let (outcome, took) = processed(behaviour, number, &limits());
        let message = message(outcome);
        assert!(message.contains(&wrong), "{behaviour}: {message}");
        assert!(took < Duration::from_secs(5), "{behaviour} took {took:?}");
    }
    assert!(processed("get_many_calls", allowed / GET_MANY_KEYS_MIN, &limits()).0.is_ok(), "so many are allowed");
    assert!(message(processed("get_many_columns", 0, &limits()).0).contains("WrongKey"), "a column only once");
}
