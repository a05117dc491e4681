//! JSON texts for property tests: written by hand rather than by a library, so that blanks, escapes and numbers take
//! all the forms that the grammar allows.

use proptest::prelude::*;

pub(super) fn blank() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t\r\n]{1,2}"]
}

pub(super) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "-?(0|[1-9][0-9]{0,4})",
        1 => "-?[1-9][0-9]{0,22}",
        1 => "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,4}",
        1 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?[eE][+-]?[0-9]{1,2}",
    ]
}

/// The inside of a string.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zA-Z0-9 _,:{}\\[\\]./-]{0,12}",
        1 => "[äß€😀]{1,3}",
        1 => prop::sample::select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0041", "\\u00e4", "\\ud83d\\ude00", "\\u0000"]).prop_map(str::to_owned),
    ]
}

pub(super) fn string() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// An object of these fields, in this order, with blanks between.
pub(super) fn object(fields: &[(String, String, String)]) -> String {
    let fields: Vec<_> =
        fields.iter().map(|(key, value, blank)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A JSON value of any kind.
pub(super) fn json() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![number(), string(), prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), blank())
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(&format!("{blank},")))),
            prop::collection::vec(("[a-e]{1,2}", inner, blank()), 0..5).prop_map(|fields| object(&fields)),
        ]
    })
}

/// A text with some characters changed, left out or put in: mostly broken, sometimes not.
pub(super) fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let bit = prop::sample::select(vec![
        "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "1", "-", ".", "e", "t", "n", " ", "\n", "\u{1}", "u", "\\u",
        "\\ud800", "x", "ä",
    ]);
    (text, prop::collection::vec((any::<prop::sample::Index>(), 0_usize..3, bit), 1..3)).prop_map(|(text, changes)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, kind, bit) in changes {
            let at = at.index(chars.len() + 1);
            let end = (at + usize::from(kind > 0)).min(chars.len());
            chars.splice(at..end, if kind < 2 { bit.chars().collect::<Vec<_>>() } else { Vec::new() });
        }
        chars.into_iter().collect()
    })
}

pub(super) fn broken_json() -> impl Strategy<Value = String> {
    damaged(json())
}
