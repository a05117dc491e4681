//! Columns as the host may send them: text in both layouts, any offsets and validity; and columns that are wrong.

use std::fmt::Debug;

use millstream_sdk::{
    Column, Dictionary, Natural, Node, Nodes, ReadValue, Repeated, Values, Varlen, WriteValue, WrongShape,
};
use proptest::prelude::*;

fn write<T: WriteValue<M>, M>(values: Vec<T>) -> Vec<Node> {
    let mut builder = T::builder(0);
    values.into_iter().for_each(|value| value.write(&mut builder));
    let mut nodes = Vec::new();
    T::finish(builder, &mut nodes);
    nodes
}

fn read<'a, T: ReadValue<'a, M>, M>(nodes: &'a [Node], rows: usize) -> Result<Vec<T>, WrongShape> {
    let mut nodes = Nodes::new(nodes, rows);
    let reader = T::reader(&mut nodes)?;
    nodes.end()?;
    (0..rows).map(|row| T::read(&reader, row).map_err(|error| WrongShape(error.0))).collect()
}

fn round_trip<T>(values: Vec<T>) -> Result<(), TestCaseError>
where
    T: WriteValue + for<'a> ReadValue<'a> + Clone + PartialEq + Debug,
{
    let nodes = write::<T, Natural>(values.clone());
    prop_assert_eq!(read::<T, Natural>(&nodes, values.len()), Ok(values));
    Ok(())
}

proptest! {
    #[test]
    fn flat_values_come_back(values in prop::collection::vec(any::<Option<i64>>(), 0..100)) {
        round_trip(values)?;
    }

    #[test]
    fn booleans_come_back(values in prop::collection::vec(any::<Option<bool>>(), 0..100)) {
        round_trip(values)?;
    }

    #[test]
    fn text_comes_back(values in prop::collection::vec(any::<Option<String>>(), 0..100)) {
        round_trip(values)?;
    }

    #[test]
    fn lists_come_back(values in prop::collection::vec(any::<Option<Vec<Option<Vec<i8>>>>>(), 0..20)) {
        round_trip(values)?;
    }

    /// Written as a dictionary, each distinct value is there once, and reading gives what plain text gives.
    #[test]
    fn a_dictionary_reads_as_plain_text(values in prop::collection::vec(prop::option::of("[ab]{0,2}"), 0..100)) {
        let plain = write::<_, Natural>(values.clone());
        let dictionary = write::<_, Repeated>(values.clone());
        prop_assert_eq!(read::<Option<&str>, Natural>(&dictionary, values.len()), read(&plain, values.len()));

        let Values::Dictionary(Dictionary { values: distinct, .. }) = &dictionary[0].values else { unreachable!() };
        let mut texts: Vec<&[u8]> =
            distinct.offsets.windows(2).map(|at| &distinct.data[at[0] as usize..at[1] as usize]).collect();
        let count = texts.len();
        texts.sort_unstable();
        texts.dedup();
        prop_assert_eq!(texts.len(), count);
    }

    /// Offsets that do not begin at 0, as a slice of a bigger column has them, are as good as any.
    #[test]
    fn offsets_may_begin_anywhere(values in prop::collection::vec("[a-zü]{0,5}", 0..20), skipped in "[xü]{0,5}") {
        let mut nodes = write::<_, Natural>(values.clone());
        let Values::Varlen(Varlen { offsets, data }) = &mut nodes[0].values else { unreachable!() };
        offsets.iter_mut().for_each(|offset| *offset += skipped.len() as u32);
        data.splice(0..0, skipped.bytes());
        prop_assert_eq!(read::<String, Natural>(&nodes, values.len()), Ok(values));
    }
}

fn column(values: Values) -> Column {
    Column { nodes: vec![values.into()] }
}

#[test]
fn a_column_of_another_shape_is_refused() {
    let text = |offsets: &[u32], data: &[u8]| Values::Varlen(Varlen { offsets: offsets.to_vec(), data: data.to_vec() });
    for (column, problem) in [
        (column(Values::Int64(vec![1, 2])), "its values are `int64`, not `varlen`"),
        (column(text(&[0, 1], b"a")), "it holds 1 values for 2 rows"),
        (column(text(&[0, 1, 2], b"a\xff")), "its text is not UTF-8"),
        (Column::default(), "it has too few nodes"),
        (Column { nodes: vec![text(&[0, 0, 0], b"").into(), Values::None.into()] }, "it has too many nodes"),
        (
            Column { nodes: vec![Node { validity: vec![], values: Values::Bits(vec![]) }] },
            "its values are `bits`, not `varlen`",
        ),
    ] {
        assert_eq!(read::<&str, Natural>(&column.nodes, 2), Err(WrongShape(problem.to_owned())), "{column:?}");
    }
    let nodes = [Node { validity: vec![1], values: Values::Int64(vec![0; 9]) }];
    let problem = "its validity has 1 bytes for 9 rows";
    assert_eq!(read::<Option<i64>, Natural>(&nodes, 9), Err(WrongShape(problem.to_owned())));
}

/// A wrong offset ends in a panic (a trap of the component), never in foreign memory.
#[test]
fn an_offset_that_points_nowhere_panics() {
    for (offsets, data) in [(vec![0, 9], "abc"), (vec![2, 1], "abc"), (vec![0, 1], "ü"), (vec![u32::MAX, u32::MAX], "")]
    {
        let nodes = [Values::Varlen(Varlen { offsets: offsets.clone(), data: data.into() }).into()];
        let outcome = std::panic::catch_unwind(|| read::<String, Natural>(&nodes, 1));
        assert!(outcome.is_err(), "{offsets:?} in {data:?} gave {outcome:?}");
    }
    let dictionary = Dictionary { codes: vec![7], values: Varlen { offsets: vec![0, 1], data: b"a".to_vec() } };
    let nodes = [Values::Dictionary(dictionary).into()];
    assert!(std::panic::catch_unwind(|| read::<String, Natural>(&nodes, 1)).is_err());
}
