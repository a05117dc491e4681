//! Columns taken row by row, and text in slots, against what the same values give when they are written anew.

use millstream_sdk::columnwise::{NULL_ROW, Texts};
use millstream_sdk::{Column, ColumnType, Natural, Nodes, ReadValue, Repeated, WriteValue};
use proptest::prelude::*;

fn write<T: WriteValue<M>, M>(values: impl IntoIterator<Item = T>) -> Column {
    let mut builder = T::builder(0);
    values.into_iter().for_each(|value| value.write(&mut builder));
    let mut nodes = Vec::new();
    T::finish(builder, &mut nodes);
    Column { nodes }
}

fn read<T: for<'a> ReadValue<'a>>(column: &Column, rows: usize) -> Vec<T> {
    let mut nodes = Nodes::new(&column.nodes, rows);
    let reader = T::reader(&mut nodes).unwrap();
    nodes.end().unwrap();
    (0..rows).map(|row| T::read(&reader, row).unwrap()).collect()
}

fn taken<T>(values: Vec<Option<T>>, picks: &[usize]) -> Result<(), TestCaseError>
where
    Option<T>: WriteValue + for<'a> ReadValue<'a> + Clone + PartialEq + std::fmt::Debug,
    T: ColumnType,
{
    let rows: Vec<u32> = picks.iter().map(|pick| if *pick < values.len() { *pick as u32 } else { NULL_ROW }).collect();
    let expected: Vec<Option<T>> = picks.iter().map(|pick| values.get(*pick).cloned().flatten()).collect();
    let column = write::<_, Natural>(values).take(&T::logical(), &rows);
    prop_assert_eq!(read::<Option<T>>(&column, picks.len()), expected);
    Ok(())
}

fn picks() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..24, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn numbers_are_taken(values in prop::collection::vec(any::<Option<i32>>(), 0..20), picks in picks()) {
        taken(values, &picks)?;
    }

    #[test]
    fn booleans_are_taken(values in prop::collection::vec(any::<Option<bool>>(), 0..20), picks in picks()) {
        taken(values, &picks)?;
    }

    #[test]
    fn text_is_taken(values in prop::collection::vec(prop::option::of("[aü]{0,4}"), 0..20), picks in picks()) {
        taken(values, &picks)?;
    }

    #[test]
    fn lists_are_taken(
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<Option<i8>>(), 0..4)), 0..20),
        picks in picks(),
    ) {
        taken(values, &picks)?;
    }

    /// Work on slots, spread to rows, is work on rows: for plain text, a dictionary, and one with more values than rows.
    #[test]
    fn slots_spread_to_rows(
        values in prop::collection::vec(prop::option::of("[ab]{0,2}"), 1..40), some in 1_usize..40,
    ) {
        let dictionary = write::<_, Repeated>(values.clone());
        let first: Vec<u32> = (0..some.min(values.len()) as u32).collect();
        let few = dictionary.take(&millstream_sdk::LogicalType::Utf8, &first);
        let plain = write::<_, Natural>(values.clone());
        for (column, rows) in [(plain, values.len()), (dictionary, values.len()), (few, first.len())] {
            let texts = Texts::of(&column, rows).unwrap();
            let slots = (0..texts.slots()).map(|slot| texts.slot(slot));
            let doubled = |text: &str| Some(format!("{text}{text}")).filter(|text| text != "aa");
            let upper = texts.spread(write::<_, Natural>(slots.clone().map(doubled)));
            let again = texts.spread(write::<_, Repeated>(slots.clone().map(doubled)));
            let lengths = texts.spread(write::<_, Natural>(slots.map(|text| text.len() as i64)));
            let expected: Vec<Option<String>> =
                values[..rows].iter().map(|value| value.as_deref().and_then(doubled)).collect();
            prop_assert_eq!(&read::<Option<String>>(&upper, rows), &expected);
            prop_assert_eq!(&read::<Option<String>>(&again, rows), &expected);
            let expected: Vec<Option<i64>> =
                values[..rows].iter().map(|value| value.as_ref().map(|text| text.len() as i64)).collect();
            prop_assert_eq!(read::<Option<i64>>(&lengths, rows), expected);
        }
    }
}

#[test]
fn structs_are_taken_with_their_fields() {
    let rows =
        serde_json::json!([{ "x": { "a": 1, "b": ["u", "v"] } }, { "x": null }, { "x": { "a": null, "b": [] } }]);
    struct Twice;
    impl millstream_sdk::Stage for Twice {
        type Config = ();
        fn configure(
            (): (),
            given: &millstream_sdk::Given,
        ) -> Result<(Self, millstream_sdk::Contract), millstream_sdk::ConfigError> {
            let fields = given.columns.clone();
            Ok((Self, millstream_sdk::Contract { reads: fields.clone(), writes: fields, ..Default::default() }))
        }
        fn process(&mut self, batch: millstream_sdk::Batch) -> Result<millstream_sdk::Patch, millstream_sdk::Failure> {
            let logical = "struct<a: int8?, b: list<utf8>>".parse().unwrap();
            let rows = vec![0, 0, 1, 2];
            let columns = vec![batch.columns[0].take(&logical, &rows)];
            Ok(millstream_sdk::Patch { rows: Some(rows), columns, ..Default::default() })
        }
    }
    millstream_sdk::export!(Twice);
    let mut stage = millstream_sdk::testing::Setup::new(serde_json::json!({}))
        .columns("x: struct<a: int8?, b: list<utf8>>?")
        .configure::<Twice>()
        .unwrap();
    let found: Vec<_> = stage.process(rows.clone()).rows();
    assert_eq!(found, [rows[0].clone(), rows[0].clone(), rows[1].clone(), rows[2].clone()]);
}
