//! Every input that a fuzz run kept, and some seconds of new ones, through the functions that `make fuzz` guides by
//! coverage. An input that once broke a promise stays in the corpus.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::select;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this"));
    let folder = package.join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let inputs: Vec<Vec<u8>> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() > 10, "the corpus of {target} is there");
    inputs
}

#[test]
fn patches_of_the_corpus() {
    corpus("patch").iter().for_each(|input| millstream_fuzz::patch::check(input));
}

#[test]
fn contracts_of_the_corpus() {
    corpus("contract").iter().for_each(|input| millstream_fuzz::contract::check(input));
}

#[test]
fn components_of_the_corpus() {
    corpus("component").iter().for_each(|input| millstream_fuzz::component::check(input));
}

/// An input of the corpus with some bytes changed, taken away or repeated.
fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8);
    (select(corpus(target)), edits).prop_map(|(mut input, edits)| {
        for (at, byte, how) in edits {
            if input.is_empty() {
                return input;
            }
            let at = at.index(input.len());
            match how {
                0 => input[at] = byte,
                1 => drop(input.remove(at)),
                _ => input.insert(at, byte),
            }
        }
        input
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn new_patches(input in prop_oneof![changed("patch"), prop::collection::vec(any::<u8>(), 0..2_048)]) {
        millstream_fuzz::patch::check(&input);
    }

    #[test]
    fn new_contracts(input in prop_oneof![changed("contract"), prop::collection::vec(any::<u8>(), 0..512)]) {
        millstream_fuzz::contract::check(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn new_components(input in changed("component")) {
        millstream_fuzz::component::check(&input);
    }
}
