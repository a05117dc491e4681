//! What the derives say when a row is wrong. The cases need no dependency but the SDK.

#[test]
fn wrong_rows_are_refused_with_a_way_out() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
