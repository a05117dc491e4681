//! What every `kafka = { .. }` has: brokers, topic, and librdkafka's own settings.

use std::collections::BTreeMap;

use super::Located;
use super::document::Value;
use super::keys::{Field, Keys};
use super::problem::Problem;
use super::reader::{Reader, text_of};

const PROPERTY_EXAMPLE: &str = "{ \"security.protocol\" = \"SSL\" }";

/// Settings that exactly-once rests on, or that have a key of their own, with what to do instead.
const RESERVED: [(&str, &str); 9] = [
    ("bootstrap.servers", "write it as `brokers`"),
    ("metadata.broker.list", "write it as `brokers`"),
    ("group.id", "write it as `group`"),
    ("auto.offset.reset", "write it as `start`"),
    ("enable.auto.commit", "Millstream commits offsets with each epoch"),
    ("enable.auto.offset.store", "Millstream commits offsets with each epoch"),
    ("isolation.level", "Millstream reads committed records only"),
    ("transactional.id", "Millstream names its transactions itself"),
    ("enable.idempotence", "Millstream always writes idempotently"),
];

/// The brokers: `host:port`, separated by commas.
pub(super) fn brokers(reader: &mut Reader<'_>, keys: &mut Keys<'_>) -> Option<Located<String>> {
    let field = keys.require(reader, "brokers", "brokers = \"localhost:9092\"")?;
    let brokers = reader.string(&field, "\"localhost:9092\"")?;
    for broker in brokers.value.split(',').map(str::trim) {
        let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            reader.wrong(
                &field,
                &format!("names the broker \"{broker}\""),
                "a broker is HOST:PORT, several are separated by commas: \"kafka-1:9092,kafka-2:9092\"",
            );
            return None;
        }
    }
    Some(brokers)
}

/// The topic, by Kafka's own rules.
pub(super) fn topic(reader: &mut Reader<'_>, keys: &mut Keys<'_>) -> Option<Located<String>> {
    let field = keys.require(reader, "topic", "topic = \"clicks\"")?;
    let topic = reader.string(&field, "\"clicks\"")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !topic.value.chars().all(allowed) || topic.value.len() > 249 || matches!(topic.value.as_str(), "." | "..") {
        let help = "Kafka's topics are made of at most 249 letters, digits, `.`, `_` and `-`";
        reader.wrong(&field, &format!("cannot be \"{}\"", topic.value), help);
        return None;
    }
    Some(topic)
}

/// `properties_file`, then `properties` over it.
pub(super) fn properties(reader: &mut Reader<'_>, keys: &mut Keys<'_>) -> Option<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    let from_file = keys.take("properties_file").map(|field| read_file(reader, &field, &mut properties));
    let from_table = keys.take("properties").map(|field| read_table(reader, &field, &mut properties));
    (from_file != Some(None) && from_table != Some(None)).then_some(properties)
}

fn read_table(reader: &mut Reader<'_>, field: &Field<'_>, properties: &mut BTreeMap<String, String>) -> Option<()> {
    let Value::Table(table) = &field.node.value else {
        reader.wrong_type(field, "a table", &format!("such as {PROPERTY_EXAMPLE}"));
        return None;
    };
    let mut fine = Some(());
    for entry in &table.entries {
        let text = match &entry.node.value {
            Value::Integer(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Table(_) => {
                let help = format!("names with dots stand in quotes: {PROPERTY_EXAMPLE}");
                reader.wrong_type(&Field::of(entry, &field.path), "a string", &help);
                fine = None;
                continue;
            }
            _ => match text_of(&entry.node) {
                Some(text) => text.to_owned(),
                None => {
                    reader.wrong_type(
                        &Field::of(entry, &field.path),
                        "a string",
                        &format!("such as {PROPERTY_EXAMPLE}"),
                    );
                    fine = None;
                    continue;
                }
            },
        };
        if let Some(problem) = reserved(&entry.key) {
            reader.problems.push(entry.key_at.mark(problem, ""));
            fine = None;
        }
        properties.insert(entry.key.clone(), text);
    }
    fine
}

/// `name=value` lines; empty lines and those that begin with `#` are skipped. `${..}` is not filled in: a password is
/// what it is.
fn read_file(reader: &mut Reader<'_>, field: &Field<'_>, properties: &mut BTreeMap<String, String>) -> Option<()> {
    let written = reader.string(field, "\"kafka.properties\"")?.value;
    let text = match std::fs::read_to_string(reader.folder.join(&written)) {
        Ok(text) => text,
        Err(error) => {
            let help = "the path is relative to the pipeline file's folder";
            reader.wrong(field, &format!("names \"{written}\", which cannot be read: {error}"), help);
            return None;
        }
    };
    let mut fine = Some(());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{written}:{}", index + 1);
        let problem = match line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) if !name.is_empty() => {
                properties.insert(name.to_owned(), value.to_owned());
                reserved(name)
            }
            _ => Some(Problem::error("no `name=value`").help("write librdkafka's settings as name=value, one a line")),
        };
        if let Some(problem) = problem {
            let problem = Problem { message: format!("{place}: {}", problem.message), ..problem };
            reader.problems.push(field.node.at.mark(problem, "read from here"));
            fine = None;
        }
    }
    fine
}

fn reserved(name: &str) -> Option<Problem> {
    let (_, instead) = RESERVED.iter().find(|(reserved, _)| *reserved == name)?;
    Some(Problem::error(format!("the property `{name}` is not yours to set")).help(*instead))
}
