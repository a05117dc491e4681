use std::collections::HashSet;

use serde_json::Value;

use super::clicks::{BAD_KINDS, Bad, Generator};
use super::*;

#[derive(Default)]
struct Kept(Vec<u8>);

impl EventSink for Kept {
    fn take(&mut self, events: &Events) -> Result<()> {
        self.0.extend_from_slice(&events.lines);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn settings(events: u64) -> ClicksSettings {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        settings: ClicksSettings,
    }
    let events = events.to_string();
    let arguments = ["clicks", "--events", &events, "--users", "1000", "--urls", "100", "--devices", "500"];
    <Command as clap::Parser>::parse_from(arguments).settings
}

fn made(settings: &ClicksSettings) -> (Summary, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clicks.jsonl");
    let summary = clicks(settings, &mut [Box::new(FileSink::create(&path).expect("a file"))]).expect("events");
    (summary, std::fs::read(path).expect("the file"))
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_seed_gives_the_same_events_and_another_seed_others() {
    let first = settings(5_000);
    let mut other = first.clone();
    other.seed = 2;
    assert_eq!(made(&first), made(&first));
    assert_ne!(made(&first).1, made(&other).1);
}

#[test]
fn the_summary_counts_what_was_made() {
    let (summary, text) = made(&settings(50_000));
    let lines = lines(&text);
    assert_eq!((summary.events, summary.bytes), (50_000, text.len() as u64));
    assert_eq!(lines.len(), 50_000);
    let bad: u64 = summary.bad.iter().map(|(_, count)| count).sum();
    assert_eq!(summary.views + summary.purchases + summary.bots + bad, 50_000);
    assert!((400..600).contains(&bad), "{bad} bad events of 50,000");
    assert!((900..1_100).contains(&summary.bots), "{} bots of 50,000", summary.bots);
    let parsed: Vec<Option<Value>> = lines.iter().map(|line| serde_json::from_slice(line).ok()).collect();
    let broken = parsed.iter().filter(|event| event.is_none()).count() as u64;
    let kind = BAD_KINDS.iter().position(|(_, bad)| *bad == Bad::CutOff).expect("a kind");
    assert_eq!(broken, summary.bad[kind].1);
    for name in ["user_id", "url"] {
        let kind = BAD_KINDS.iter().position(|(_, bad)| *bad == Bad::Missing(name)).expect("a kind");
        let unnamed = parsed.iter().flatten().filter(|event| event.is_object() && event.get(name).is_none());
        assert_eq!(unnamed.count() as u64, summary.bad[kind].1, "events without {name}");
    }
}

#[test]
fn ids_are_unique_and_times_start_on_the_hour() {
    let (_, text) = made(&settings(50_000));
    let mut ids = HashSet::new();
    for event in lines(&text).iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
        let Some(id) = event.get("event_id") else { continue };
        assert!(ids.insert(id.to_string()), "{id} stands twice");
        let ts = event["ts"].as_str().expect("a text");
        assert!(ts.starts_with("2025-06-01T12:00:") || ts == "yesterday", "{ts}");
    }
    assert!(ids.len() > 49_000);
}

#[test]
fn an_event_has_about_250_bytes_and_more_with_extra_fields() {
    let mut settings = settings(10_000);
    let (summary, _) = made(&settings);
    assert!((240..265).contains(&(summary.bytes / 10_000)), "{} bytes an event", summary.bytes / 10_000);
    settings.extra_fields = 50;
    let (wider, text) = made(&settings);
    assert!(wider.bytes > summary.bytes + 10_000 * 500, "{} bytes", wider.bytes);
    assert!(lines(&text)[0].ends_with(b"\"extra_49\":813}"), "{}", String::from_utf8_lossy(lines(&text)[0]));
}

#[test]
fn a_compressed_file_holds_the_same_events() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new").join("clicks.jsonl.zst");
    let settings = settings(3_000);
    clicks(&settings, &mut [Box::new(FileSink::create(&path).expect("a file"))]).expect("events");
    let packed = std::fs::read(path).expect("the file");
    assert_eq!(zstd::decode_all(packed.as_slice()).expect("whole"), made(&settings).1);
}

#[test]
fn tables_have_the_asked_size_and_every_clicked_page_but_search() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(2_000);
    settings.dimensions = Some(folder.path().to_owned());
    run(&settings).expect("tables");
    let paths = column(&folder.path().join("urls.parquet"), "path");
    assert_eq!(paths.len(), 100);
    assert_eq!(column(&folder.path().join("users.parquet"), "plan").len(), 1_000);
    assert_eq!(column(&folder.path().join("devices.parquet"), "os").len(), 500);
    let paths: HashSet<String> = paths.into_iter().collect();
    for event in lines(&made(&settings).1).iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
        let Some(url) = event["url"].as_str().and_then(|url| url.strip_prefix("https://")) else { continue };
        let path = url.split('?').next().and_then(|page| page.find('/').map(|slash| &page[slash..])).expect(url);
        assert!(path == "/search" || paths.contains(path), "{path}");
    }
}

#[test]
fn events_are_handed_on_one_by_one() {
    let mut generator = Generator::new(&settings(1));
    let mut events = Events::default();
    (0..3).for_each(|number| generator.add(number, Some(7), &mut events));
    let mut kept = Kept::default();
    kept.take(&events).expect("kept");
    let each: Vec<(&[u8], i64)> = events.iter().collect();
    assert_eq!(each.iter().map(|(event, _)| *event).collect::<Vec<_>>(), lines(&kept.0));
    assert_eq!(each[2].1, 7);
}

#[test]
fn nowhere_to_write_is_an_error_with_a_way_out() {
    let error = run(&settings(1)).expect_err("nowhere to write");
    assert_eq!(error.way_out(), Some("add --out FILE, --kafka BROKERS --topic TOPIC, or --dimensions FOLDER"));
}

fn column(path: &std::path::Path, name: &str) -> Vec<String> {
    use arrow::array::{Array, AsArray};
    let file = std::fs::File::open(path).expect("the file");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let batches = reader.build().expect("a reader").map(|batch| batch.expect("a batch"));
    let values = batches.flat_map(|batch| {
        let column = batch.column_by_name(name).expect(name).clone();
        (0..column.len()).map(move |row| column.as_string::<i32>().value(row).to_owned()).collect::<Vec<_>>()
    });
    values.collect()
}
