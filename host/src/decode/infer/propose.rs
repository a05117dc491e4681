//! From what was seen of a field to a type.

use millstream_sdk::{LogicalType, Nested, TimeUnit};

use super::seen::{Numbers, Seen, Texts};
use crate::config::Format;

/// A type, and what a person should know of it.
pub(super) struct Proposal {
    pub(super) logical: LogicalType,
    pub(super) notes: Vec<String>,
}

impl Proposal {
    fn plain(logical: LogicalType) -> Self {
        Self { logical, notes: Vec::new() }
    }

    fn noted(logical: LogicalType, note: impl Into<String>) -> Self {
        Self { logical, notes: vec![note.into()] }
    }
}

/// The type that takes what was seen; none when no type can (an object whose keys are no names).
pub(super) fn propose(name: &str, seen: &Seen, format: Format) -> Option<Proposal> {
    let kinds = [
        (seen.bools, "true or false"),
        (seen.numbers.count, "numbers"),
        (seen.texts.count, "texts"),
        (seen.lists, "lists"),
        (seen.objects, "objects"),
    ];
    let mut found: Vec<(u64, &str)> = kinds.into_iter().filter(|(count, _)| *count > 0).collect();
    found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let Some(&(_, most)) = found.first() else {
        return Some(Proposal::noted(LogicalType::Utf8, "only nulls were seen"));
    };
    let mixed = found.len() > 1;
    let shown = || found.iter().map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
    if mixed && format == Format::Csv {
        let mut notes = vec![format!("mixed: {}", shown())];
        missing_note(&seen.texts, &mut notes);
        return Some(Proposal { logical: LogicalType::Utf8, notes });
    }
    let mut proposal = match most {
        "true or false" => Proposal::plain(LogicalType::Bool),
        "numbers" => number(name, &seen.numbers),
        "texts" => text(&seen.texts),
        "lists" => list(name, seen, format)?,
        _ => structure(seen, format)?,
    };
    if mixed {
        proposal.notes.push(format!("mixed: {}; all but the first kind would be rejected", shown()));
    }
    Some(proposal)
}

fn number(name: &str, numbers: &Numbers) -> Proposal {
    if numbers.with_fraction > 0 || numbers.with_exponent > 0 {
        let mut proposal = Proposal::plain(LogicalType::Float64);
        let digits = numbers.integer_digits + numbers.fraction_digits;
        if numbers.with_exponent == 0 && (1..=6).contains(&numbers.fraction_digits) && digits <= 15 {
            let (most, behind) = (numbers.integer_digits.max(8) + 2, numbers.fraction_digits);
            let plural = if behind == 1 { "digit" } else { "digits" };
            proposal.notes.push(format!(
                "decimal with at most {behind} {plural} behind the point: decimal({},{behind}) would be exact",
                most + behind
            ));
        }
        return proposal;
    }
    if numbers.beyond_int64 > 0 {
        return Proposal::noted(LogicalType::Decimal { precision: 38, scale: 0 }, "larger than int64");
    }
    let (Some(smallest), Some(largest)) = (numbers.smallest, numbers.largest) else {
        return Proposal::plain(LogicalType::Int64);
    };
    match time_unit(smallest, largest) {
        Some(unit) => {
            let logical = if is_time(name) { LogicalType::Timestamp(unit) } else { LogicalType::Int64 };
            Proposal::noted(logical, format!("looks like a timestamp in {}: {largest}", unit.text()))
        }
        None => Proposal::plain(LogicalType::Int64),
    }
}

/// The unit in which all of the numbers lie between the years 2000 and 2100.
fn time_unit(smallest: i64, largest: i64) -> Option<TimeUnit> {
    const YEAR_2000_S: i64 = 946_684_800;
    const YEAR_2100_S: i64 = 4_102_444_800;
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    units.into_iter().find(|unit| {
        let within = YEAR_2000_S * unit.per_second()..YEAR_2100_S * unit.per_second();
        within.contains(&smallest) && within.contains(&largest)
    })
}

/// Ids can lie in the same range as times: the name decides.
fn is_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["ts", "time", "timestamp", "date", "datetime", "created", "updated", "at", "when", "epoch"];
    name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word) || word.ends_with("time"))
        || name.ends_with("timestamp")
}

fn text(texts: &Texts) -> Proposal {
    let all = texts.count;
    let mut proposal = if texts.timestamps == all {
        let unit = match texts.fraction_digits {
            0..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        };
        Proposal::noted(LogicalType::Timestamp(unit), "all strings are RFC 3339")
    } else if texts.zoneless + texts.timestamps == all {
        let note = format!("timestamps without a time zone, such as {}: a stage has to say which", texts.example);
        Proposal::noted(LogicalType::Utf8, note)
    } else if texts.dates == all {
        Proposal::noted(LogicalType::Date, "all strings are dates")
    } else if texts.uuids == all {
        Proposal::noted(LogicalType::Uuid, "uuid")
    } else if texts.decimals.count == all {
        number_text(texts)
    } else {
        Proposal::plain(LogicalType::Utf8)
    };
    missing_note(texts, &mut proposal.notes);
    proposal
}

/// All texts are numbers.
fn number_text(texts: &Texts) -> Proposal {
    let numbers = &texts.decimals;
    let (whole, behind) = (numbers.integer_digits.max(8) + 2, numbers.fraction_digits);
    let is_decimal = numbers.with_fraction > 0 && numbers.with_exponent == 0 && texts.leading_zeros == 0;
    match (u8::try_from(whole + behind), u8::try_from(behind)) {
        (Ok(precision @ 1..=38), Ok(scale)) if is_decimal => {
            Proposal::noted(LogicalType::Decimal { precision, scale }, "decimal numbers as strings")
        }
        _ if texts.leading_zeros > 0 => Proposal::noted(LogicalType::Utf8, "digits, some with leading zeros"),
        _ => Proposal::noted(LogicalType::Utf8, "numbers as strings"),
    }
}

fn missing_note(texts: &Texts, notes: &mut Vec<String>) {
    if texts.missing > 0 {
        notes.push(format!("{} of the texts say that a value is missing (NA, NULL, ..)", texts.missing));
    }
}

fn list(name: &str, seen: &Seen, format: Format) -> Option<Proposal> {
    let Some(items) = seen.items.as_deref().filter(|items| items.present > 0) else {
        let logical = LogicalType::List(Box::new(Nested { logical: LogicalType::Utf8, nullable: false }));
        return Some(Proposal::noted(logical, "only empty lists were seen"));
    };
    let Proposal { logical, notes } = propose(name, items, format)?;
    Some(Proposal { logical: LogicalType::List(Box::new(Nested { logical, nullable: items.nulls > 0 })), notes })
}

/// An object inside a list; or one that is sometimes something else.
fn structure(seen: &Seen, format: Format) -> Option<Proposal> {
    if seen.is_map() || seen.fields().is_empty() {
        return None;
    }
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let (mut fields, mut notes) = (Vec::new(), Vec::new());
    for (name, field) in seen.fields() {
        if !is_name(name) {
            notes.push(format!("the field {name} is left out: its name does not fit into a type"));
            continue;
        }
        let Some(proposal) = propose(name, field, format) else { continue };
        notes.extend(proposal.notes.into_iter().map(|note| format!("{name}: {note}")));
        fields.push((name.clone(), Nested { logical: proposal.logical, nullable: field.values() < seen.objects }));
    }
    (!fields.is_empty()).then_some(Proposal { logical: LogicalType::Struct(fields), notes })
}
