//! Generated events reach a real Kafka, each once, with the time that they say.

use millstream::generate::{EventSink, Events, KafkaSink};
use millstream_tests::kafka::Kafka;

fn events(numbers: std::ops::Range<i64>) -> Events {
    let mut events = Events::default();
    for number in numbers {
        events.lines.extend_from_slice(format!("{{\"n\":{number}}}\n").as_bytes());
        events.ends.push(events.lines.len());
        events.timestamps_ms.push(1_700_000_000_000 + number);
    }
    events
}

#[test]
fn a_topic_is_created_and_filled_in_turn() {
    let kafka = Kafka::shared();
    let mut sink = KafkaSink::connect(&kafka.brokers(), "generated", 3).expect("a new topic");
    for chunk in 0..4 {
        sink.take(&events(chunk * 100..(chunk + 1) * 100)).expect("taken");
    }
    sink.finish().expect("acknowledged");
    assert_eq!(kafka.end_offsets("generated"), [200, 100, 100]);
    let mut values: Vec<_> = kafka.read_all("generated").into_iter().filter_map(|(_, value)| value).collect();
    let mut expected: Vec<_> = (0..400).map(|number| format!("{{\"n\":{number}}}").into_bytes()).collect();
    values.sort();
    expected.sort();
    assert_eq!(values, expected);
}

#[test]
fn a_topic_that_is_there_keeps_its_partitions() {
    let kafka = Kafka::shared();
    kafka.create_topic("generated-before", 2);
    let mut sink = KafkaSink::connect(&kafka.brokers(), "generated-before", 5).expect("the topic");
    (0..4).for_each(|chunk| sink.take(&events(chunk..chunk + 1)).expect("taken"));
    sink.finish().expect("acknowledged");
    assert_eq!(kafka.end_offsets("generated-before"), [2, 2]);
}
