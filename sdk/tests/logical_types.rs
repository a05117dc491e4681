//! Each logical type, both ways: JSON to a column, the column to a row's field, back to a column, back to JSON. The
//! contract names the type on both sides.

use millstream_sdk::prelude::*;
use millstream_sdk::{Field, Plugin, json, testing};

/// A field of a nested struct, and one inside of a list.
#[derive(Struct)]
struct Item<'a> {
    sku: &'a str,
    quantity: Option<i32>,
    #[column(type = "decimal(9,2)")]
    price: Decimal,
    sizes: Vec<Size>,
}

#[derive(Struct)]
struct Size {
    #[column("width_mm")]
    width: i16,
    label: Option<String>,
}

/// A test for each type: a stage that writes the field `x` as it read it gives the rows back as they were.
macro_rules! echoes {
    ($($(#[$attribute:meta])? $name:ident: $rust:ty => $logical:literal, $rows:expr;)*) => {$(
        #[test]
        fn $name() {
            /// Both ways the same struct; the lifetime is there for those that borrow.
            #[derive(Input, Output)]
            struct Row<'a> {
                $(#[$attribute])?
                x: $rust,
                anchor: Option<&'a str>,
            }

            struct Echo;

            impl<'a> Transform<'a> for Echo {
                type Config = ();
                type In = Row<'a>;
                type Out = Row<'a>;

                fn new((): ()) -> Result<Self, ConfigError> {
                    Ok(Self)
                }

                fn transform(&mut self, row: Row<'a>) -> Result<Emit<Row<'a>>, Reject> {
                    Ok(Emit::one(row))
                }
            }
            millstream_sdk::export!(Echo);

            echo::<Echo>($logical, $rows);
        }
    )*};
}

fn echo<P: Plugin>(logical: &str, rows: serde_json::Value) {
    let mut plugin = testing::configure::<P>(json!({})).expect("no config is needed");
    let Field { logical: declared, nullable, .. } = &plugin.contract().reads[0];
    assert_eq!(format!("{declared}{}", if *nullable { "?" } else { "" }), logical);
    assert_eq!(plugin.contract().reads, plugin.contract().writes);

    let rows: Vec<_> = rows.as_array().expect("rows").iter().map(|x| json!({ "x": x, "anchor": null })).collect();
    assert_eq!(plugin.process(rows.clone().into()).rows(), rows);
}

echoes! {
    booleans: bool => "bool", json!([true, false, true]);
    nullable_booleans: Option<bool> => "bool?", json!([null, true, false, null, null, true, false, true, null, true]);
    int8: i8 => "int8", json!([-128, 127]);
    int16: i16 => "int16", json!([-32768, 32767]);
    int32: i32 => "int32", json!([i32::MIN, i32::MAX]);
    int64: i64 => "int64", json!([i64::MIN, i64::MAX]);
    nullable_int64: Option<i64> => "int64?", json!([1, null, 3]);
    float32: f32 => "float32", json!([0.5, -1.25, "NaN", "-inf"]);
    float64: f64 => "float64", json!([0.1, 1e300, "inf"]);
    text: &'a str => "utf8", json!(["", "a", "grüße", "日本"]);
    nullable_text: Option<&'a str> => "utf8?", json!(["a", null, ""]);
    owned_text: String => "utf8", json!(["", "a"]);
    maybe_borrowed_text: Cow<'a, str> => "utf8", json!(["", "a"]);
    bytes: &'a [u8] => "binary", json!(["", "00ff10"]);
    owned_bytes: Option<Vec<u8>> => "binary?", json!(["00", null]);
    maybe_borrowed_bytes: Cow<'a, [u8]> => "binary", json!(["0001"]);
    uuids: Uuid => "uuid", json!(["67e55044-10b1-426f-9247-bb680e5fe0c8"]);
    raw_uuids: Option<[u8; 16]> => "uuid?", json!(["67e55044-10b1-426f-9247-bb680e5fe0c8", null]);
    dates: Date => "date", json!(["1969-12-31", "1970-01-01", "2024-02-29", "-009999-01-01", "9999-12-31"]);
    nullable_dates: Option<Date> => "date?", json!(["1582-10-15", null]);
    #[column(type = "date")]
    raw_dates: i32 => "date", json!(["1969-12-31", "2013-01-01"]);
    timestamps: Timestamp => "timestamp(ms)", json!(["2013-01-01T05:00:00.001Z", "1969-12-31T23:59:59.999Z"]);
    #[column(type = "timestamp(s)")]
    seconds: Option<Timestamp> => "timestamp(s)?", json!(["1969-12-31T23:59:59Z", null, "2013-01-01T05:00:00Z"]);
    #[column(type = "timestamp(us)")]
    microseconds: Timestamp => "timestamp(us)", json!(["1969-12-31T23:59:59.999999Z", "2013-01-01T05:00:00.000001Z"]);
    #[column(type = "timestamp(ns)")]
    nanoseconds: Timestamp => "timestamp(ns)", json!(["1969-12-31T23:59:59.999999999Z", "2262-04-11T23:47:16.854775807Z"]);
    #[column(type = "timestamp(us)")]
    raw_timestamps: i64 => "timestamp(us)", json!(["2013-01-01T05:00:00.000001Z"]);
    #[column(type = "decimal(12,2)")]
    decimals: Decimal => "decimal(12,2)", json!(["0.00", "-0.01", "9999999999.99"]);
    #[column(type = "decimal(28,0)")]
    whole_decimals: Option<Decimal> => "decimal(28,0)?", json!(["9999999999999999999999999999", null]);
    #[column(type = "decimal(38,4)")]
    raw_decimals: i128 => "decimal(38,4)", json!(["-9999999999999999999999999999999999.9999"]);
    lists: Vec<&'a str> => "list<utf8>", json!([["a", "b"], [], ["c"]]);
    nullable_lists: Option<Vec<Option<i64>>> => "list<int64?>?", json!([[1, null], null, []]);
    lists_of_lists: Vec<Vec<bool>> => "list<list<bool>>", json!([[[true], []], [], [[false, true]]]);
    #[column(type = "decimal(9,2)")]
    lists_of_decimals: Vec<Option<Decimal>> => "list<decimal(9,2)?>", json!([["0.10", null], []]);
    structs: Size => "struct<width_mm: int16, label: utf8?>", json!([{ "width_mm": 1, "label": null }]);
    nullable_structs: Option<Size> => "struct<width_mm: int16, label: utf8?>?", json!([null, { "width_mm": 1, "label": "x" }]);
    lists_of_structs: Option<Vec<Option<Item<'a>>>>
        => "list<struct<sku: utf8, quantity: int32?, price: decimal(9,2), sizes: list<struct<width_mm: int16, label: utf8?>>>?>?",
        json!([
            [{ "sku": "a", "quantity": 1, "price": "1.50", "sizes": [{ "width_mm": 1, "label": "s" }] }, null],
            null,
            [],
            [{ "sku": "b", "quantity": null, "price": "-0.05", "sizes": [] }],
        ]);
}

#[derive(Input)]
struct Amounts {
    #[column(type = "decimal(38,3)")]
    amount: i128,
    #[column(type = "timestamp(us)")]
    at: Option<Timestamp>,
}

#[derive(Output)]
struct Narrow {
    #[column(type = "decimal(4,2)")]
    amount: Decimal,
    at: Option<Timestamp>,
}

struct ToNarrow;

impl Transform<'_> for ToNarrow {
    type Config = ();
    type In = Amounts;
    type Out = Narrow;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, row: Amounts) -> Result<Emit<Narrow>, Reject> {
        let amount = Decimal::try_from_i128_with_scale(row.amount, 3)?;
        Ok(Emit::many([Narrow { amount: Decimal::ONE, at: None }, Narrow { amount, at: row.at }]))
    }
}
millstream_sdk::export!(ToNarrow);

#[test]
fn a_value_that_does_not_fit_rejects_its_row_whole() {
    let mut plugin = testing::configure::<ToNarrow>(json!({})).expect("no config");
    let outcome = plugin.process(json!([
        { "amount": "99.990", "at": "1969-12-31T23:59:59.999999Z" },
        { "amount": "1.005" },
        { "amount": "100.000" },
        { "amount": "1.5", "at": i64::MAX },
        { "amount": "1" },
    ]));
    let one = json!({ "amount": "1.00", "at": null });
    // Digits finer than the column's unit are cut off towards the past.
    let kept = json!({ "amount": "99.99", "at": "1969-12-31T23:59:59.999Z" });
    assert_eq!(outcome.kept(), [(0, one.clone()), (0, kept), (4, one.clone()), (4, one)]);
    assert_eq!(
        outcome.rejects(),
        [
            (1, "out_of_range", "column `amount`: 1.005 does not fit 2 digits behind the point: round it first"),
            (2, "out_of_range", "column `amount`: 100.000 has more than 4 digits"),
            (
                3,
                "out_of_range",
                "column `at`: 9223372036854775807 us since 1970 lies outside of the years -9999 to 9999"
            ),
        ]
    );
}
