//! Properties of the JSON decoder: what becomes of a record depends on it alone, and is what serde_json makes of it.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::json_text::{blank, damaged, json, number, object, string};
use super::tests::{block, json_decoder};
use super::*;

const COLUMNS: &[(&str, &str, &str)] = &[
    ("id", "int64", ""),
    ("name", "utf8?", ""),
    ("share", "float64?", ""),
    ("ok", "bool?", ""),
    ("os", "utf8?", "device.os"),
    ("tags", "list<utf8?>?", ""),
    ("item", "struct<sku: utf8, n: int64?>?", ""),
];

/// A value that mostly fits its column.
fn value_for(column: &'static str) -> BoxedStrategy<String> {
    let null = || Just("null".to_owned());
    let fitting = match column {
        "id" => number().boxed(),
        "share" => prop_oneof![4 => number(), 1 => null()].boxed(),
        "ok" => prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned).boxed(),
        "device" => prop_oneof![fields(&["os", "model"]), null()].boxed(),
        "tags" => prop_oneof![
            prop::collection::vec(prop_oneof![4 => string(), 1 => null()], 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            null()
        ]
        .boxed(),
        "item" => prop_oneof![4 => fields(&["sku", "n", "more"]), 1 => null()].boxed(),
        "n" => prop_oneof![4 => number(), 1 => null()].boxed(),
        "name" | "os" | "sku" | "model" => prop_oneof![6 => string(), 1 => null()].boxed(),
        _ => json().boxed(),
    };
    prop_oneof![25 => fitting, 1 => json()].boxed()
}

/// An object with most of these fields, mostly in this order.
fn fields(names: &[&'static str]) -> BoxedStrategy<String> {
    let one = |name: &'static str| {
        (prop::bool::weighted(0.9), value_for(name), blank(), 0_u32..40)
            .prop_map(move |(there, value, blank, at)| (there, name, value, blank, at))
    };
    let all: Vec<_> = names.iter().map(|name| one(name)).collect();
    all.prop_map(|mut fields| {
        fields.sort_by_key(|field| if field.4 < 3 { field.4 } else { 3 });
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|field| field.0)
            .map(|(_, name, value, blank, _)| (name.to_owned(), value, blank))
            .collect();
        object(&fields)
    })
    .boxed()
}

fn record() -> BoxedStrategy<String> {
    let whole = fields(&["id", "name", "extra", "share", "ok", "device", "other", "tags", "item"]);
    prop_oneof![6 => whole.clone(), 1 => damaged(whole), 1 => json()].boxed()
}

/// A row as JSON without its nulls, or why there is none.
type Outcome = std::result::Result<Value, (String, String)>;

fn outcomes(decoder: &mut Decoder, records: &[&str]) -> Vec<Outcome> {
    let decoded = decoder.decode(&block(records)).expect("decoded");
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&decoded.columns).and_then(|()| writer.finish()).expect("written");
    let text = String::from_utf8(writer.into_inner()).expect("utf8");
    let mut rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("json"));
    let mut rejects = decoded.rejects.iter();
    let refused: Vec<u32> = decoded.rejects.iter().map(|refusal| refusal.row).collect();
    (0_u32..)
        .zip(records)
        .map(|(record, _)| match refused.contains(&record) {
            true => {
                rejects.next().map(|refusal| Err((refusal.reason.clone(), refusal.detail.clone()))).expect("a reject")
            }
            false => Ok(rows.next().expect("a row")),
        })
        .collect()
}

/// What serde_json makes of a record for `COLUMNS`; none when it is refused.
fn reference(text: &str) -> Option<Value> {
    let Value::Object(record) = serde_json::from_str(text).ok()? else { return None };
    let mut row = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            row.insert(name.to_owned(), value);
        }
    };
    let get = |name: &str| record.get(name).cloned().unwrap_or_default();
    put("id", Some(integer(&get("id"))?).filter(|id| !id.is_null())?);
    put("name", Some(get("name")).filter(|name| name.is_string() || name.is_null())?);
    put(
        "share",
        match get("share") {
            Value::Number(number) => number.as_f64()?.into(),
            Value::Null => Value::Null,
            _ => return None,
        },
    );
    put("ok", Some(get("ok")).filter(|ok| ok.is_boolean() || ok.is_null())?);
    let os = match get("device") {
        Value::Object(device) => device.get("os").cloned().unwrap_or_default(),
        Value::Null => Value::Null,
        _ => return None,
    };
    put("os", Some(os).filter(|os| os.is_string() || os.is_null())?);
    let tags = get("tags");
    put(
        "tags",
        Some(tags).filter(|tags| {
            tags.is_null()
                || tags.as_array().is_some_and(|tags| tags.iter().all(|tag| tag.is_string() || tag.is_null()))
        })?,
    );
    put(
        "item",
        match get("item") {
            Value::Object(item) => {
                let mut kept = Map::new();
                kept.insert("sku".to_owned(), item.get("sku").filter(|sku| sku.is_string())?.clone());
                let n = integer(&item.get("n").cloned().unwrap_or_default())?;
                if !n.is_null() {
                    kept.insert("n".to_owned(), n);
                }
                kept.into()
            }
            Value::Null => Value::Null,
            _ => return None,
        },
    );
    Some(row.into())
}

/// An int64 or null; none for anything else. Floats lose digits in serde_json: only those that cannot are used.
fn integer(value: &Value) -> Option<Value> {
    match value {
        Value::Null => Some(Value::Null),
        Value::Number(number) if number.is_i64() => Some(value.clone()),
        Value::Number(number) => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e18)?;
            Some((float as i64).into())
        }
        _ => None,
    }
}

/// Whether serde_json's `f64` may have lost digits of a number, or a key stands twice: then it is no oracle.
fn beyond_the_oracle(text: &str, outcome: &Outcome) -> bool {
    let long_number = text
        .split(|c: char| !(c.is_ascii_digit() || ".eE+-".contains(c)))
        .any(|number| number.bytes().filter(u8::is_ascii_digit).count() > 15 || number.contains(['e', 'E']));
    let duplicate = matches!(outcome, Err((reason, _)) if reason == "duplicate_key");
    long_number || duplicate
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_becomes_of_a_record_does_not_depend_on_the_others(records in prop::collection::vec(record(), 1..24), rotate: prop::sample::Index) {
        let alone: Vec<Outcome> = records.iter().flat_map(|record| outcomes(&mut json_decoder(COLUMNS, &Unknown::Ignore), &[record])).collect();
        let mut decoder = json_decoder(COLUMNS, &Unknown::Ignore);
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        prop_assert_eq!(&outcomes(&mut decoder, &records), &alone);
        // The decoder remembers the shapes of the first pass, and the records come in another order.
        let by = rotate.index(records.len());
        let (mut again, mut expected) = (records.clone(), alone.clone());
        again.rotate_left(by);
        expected.rotate_left(by);
        again.reverse();
        expected.reverse();
        prop_assert_eq!(outcomes(&mut decoder, &again), expected);
    }

    #[test]
    fn values_are_those_of_serde_json(records in prop::collection::vec(record(), 1..24)) {
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let mut decoder = json_decoder(COLUMNS, &Unknown::Ignore);
        for (text, outcome) in records.iter().zip(outcomes(&mut decoder, &records)) {
            if !beyond_the_oracle(text, &outcome) {
                prop_assert_eq!(outcome.clone().ok(), reference(text), "{}: {:?}", text, outcome);
            }
        }
    }

    #[test]
    fn kept_unknown_fields_are_those_that_no_column_names(record in record()) {
        let mut decoder = json_decoder(COLUMNS, &Unknown::Keep("rest".to_owned()));
        let outcome = outcomes(&mut decoder, &[&record]).remove(0);
        if let (Ok(row), false) = (&outcome, beyond_the_oracle(&record, &outcome)) {
            let kept: Map<String, Value> = row.get("rest").map_or_else(Map::new, |rest| serde_json::from_str(rest.as_str().expect("text")).expect("an object"));
            let mut whole: Map<String, Value> = serde_json::from_str(&record).expect("json");
            for name in ["id", "name", "share", "ok", "tags"] {
                whole.shift_remove(name);
            }
            for (object, names) in [("device", &["os"][..]), ("item", &["sku", "n"])] {
                if let Some(Value::Object(inner)) = whole.get_mut(object) {
                    names.iter().for_each(|name| drop(inner.shift_remove(*name)));
                }
                if whole.get(object).is_some_and(|inner| inner.is_null() || inner.as_object().is_some_and(Map::is_empty)) {
                    whole.shift_remove(object);
                }
            }
            prop_assert_eq!(kept, whole, "{}", record);
        }
    }
}
