//! The events: web shop clicks as JSON, about 250 bytes each, written straight as bytes.

use std::fmt;
use std::io::Write;

use super::random::{Random, mix};
use super::{ClicksSettings, Events};

/// At 100 million events a day, one every 864 microseconds.
const MICROSECONDS_AN_EVENT: i64 = 864;

/// Of 10,000 events so many are bad, and so many of the good ones come from bots.
const BAD: u64 = 100;
const BOTS: u64 = 200;

/// The ways in which an event is bad, each as often as the others: a name, and how it is told from a good one.
pub(super) const BAD_KINDS: [(&str, Bad); 10] = [
    ("broken JSON", Bad::CutOff),
    ("not an object", Bad::NotAnObject),
    ("user_id is a word", Bad::Word("user_id")),
    ("user_id is null", Bad::Null("user_id")),
    ("no user_id", Bad::Missing("user_id")),
    ("no url", Bad::Missing("url")),
    ("status out of range", Bad::TooLarge("status")),
    ("ts is no time", Bad::Word("ts")),
    ("url without a host", Bad::NoHost),
    ("unknown kind", Bad::UnknownKind),
];

/// What is wrong with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    CutOff,
    NotAnObject,
    Word(&'static str),
    Null(&'static str),
    Missing(&'static str),
    TooLarge(&'static str),
    NoHost,
    UnknownKind,
}

const HOSTS: [&str; 4] = ["shop.example", "www.shop.example", "m.shop.example", "shop.example"];
pub(super) const CATEGORIES: [&str; 16] = [
    "garden", "kitchen", "books", "music", "toys", "shoes", "coats", "phones", "laptops", "lamps", "sofas", "bikes",
    "tents", "paint", "tools", "tea",
];
const QUERIES: [&str; 8] = [
    "",
    "",
    "?utm_source=mail",
    "?utm_source=ads",
    "?color=red",
    "?color=blue&utm_source=mail",
    "?gclid=Cj0KCQjw&size=xl",
    "?page=2",
];
const AGENTS: [&str; 16] = [
    "Firefox/139.0 (Windows)",
    "Firefox/139.0 (macOS)",
    "Firefox/139.0 (Linux)",
    "Firefox/138.0 (Android)",
    "Chrome/137.0 (Windows)",
    "Chrome/137.0 (macOS)",
    "Chrome/137.0 (Linux)",
    "Chrome/137.0 (Android)",
    "Chrome/136.0 (Android)",
    "Safari/18.4 (macOS)",
    "Safari/18.4 (iPhone)",
    "Safari/18.4 (iPad)",
    "Safari/17.6 (iPhone)",
    "Edge/137.0 (Windows)",
    "ShopApp/7.2 (Android)",
    "ShopApp/7.1 (iPhone)",
];
const BOT_AGENTS: [&str; 4] = ["Googlebot/2.1", "bingbot/2.0", "AhrefsBot/7.0", "curl/8.13.0"];

/// How many events of each kind were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All of them.
    pub events: u64,
    /// Their bytes, line feeds included.
    pub bytes: u64,
    /// Bad ones by kind, in a fixed order.
    pub bad: Vec<(&'static str, u64)>,
    /// Good ones from bots.
    pub bots: u64,
    /// Purchases among the others.
    pub purchases: u64,
    /// Views among the others.
    pub views: u64,
    /// Views and purchases of users that are not in the users table.
    pub unknown_users: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} events, {} bytes", self.events, self.bytes)?;
        writeln!(f, "{:>12} views", self.views)?;
        writeln!(f, "{:>12} purchases", self.purchases)?;
        writeln!(f, "{:>12} of these by users that are not in the table", self.unknown_users)?;
        writeln!(f, "{:>12} from bots", self.bots)?;
        write!(f, "{:>12} bad", self.bad.iter().map(|(_, count)| count).sum::<u64>())?;
        self.bad.iter().try_for_each(|(kind, count)| write!(f, "\n{count:>16} {kind}"))
    }
}

/// Writes one event after the other.
pub(super) struct Generator {
    random: Random,
    seed: u64,
    start_ms: i64,
    users: u64,
    urls: u64,
    devices: u64,
    extra: Vec<u8>,
    clock: Clock,
    summary: Summary,
}

impl Generator {
    pub(super) fn new(settings: &ClicksSettings) -> Self {
        let mut extra = Vec::new();
        for number in 0..settings.extra_fields {
            extra.extend_from_slice(format!(",\"extra_{number:02}\":{}", number * 37 % 1_000).as_bytes());
        }
        Self {
            random: Random::new(mix(settings.seed)),
            seed: mix(settings.seed ^ 0x5EED),
            start_ms: settings.start.as_millisecond(),
            users: settings.users.into(),
            urls: settings.urls.into(),
            devices: settings.devices.into(),
            extra,
            clock: Clock::default(),
            summary: Summary { bad: BAD_KINDS.map(|(kind, _)| (kind, 0)).to_vec(), ..Summary::default() },
        }
    }

    pub(super) fn into_summary(self) -> Summary {
        self.summary
    }

    /// Adds event `number`. `now_ms` is its time, or none for the one that its number gives.
    pub(super) fn add(&mut self, number: u64, now_ms: Option<i64>, events: &mut Events) {
        let timestamp_ms = now_ms.unwrap_or_else(|| self.time_of(number));
        let start = events.lines.len();
        let bad = (self.random.below(10_000) < BAD).then(|| self.random.below(BAD_KINDS.len() as u64) as usize);
        match bad.map(|kind| BAD_KINDS[kind].1) {
            Some(Bad::NotAnObject) => events.lines.extend_from_slice(b"[\"heartbeat\"]"),
            wrong => {
                self.write(number, timestamp_ms, wrong, &mut events.lines);
                if wrong == Some(Bad::CutOff) {
                    let half = start + (events.lines.len() - start) / 2;
                    events.lines.truncate(half);
                }
            }
        }
        events.lines.push(b'\n');
        events.ends.push(events.lines.len());
        events.timestamps_ms.push(timestamp_ms);
        self.summary.events += 1;
        self.summary.bytes += (events.lines.len() - start) as u64;
        if let Some(kind) = bad {
            self.summary.bad[kind].1 += 1;
        }
    }

    /// One event in sixteen comes up to two seconds late, but none before the start.
    fn time_of(&mut self, number: u64) -> i64 {
        let on_time = number as i64 * MICROSECONDS_AN_EVENT / 1_000;
        let late = if self.random.below(16) == 0 { self.random.below(2_000) as i64 } else { 0 };
        self.start_ms + (on_time - late).max(0)
    }

    fn write(&mut self, number: u64, timestamp_ms: i64, bad: Option<Bad>, line: &mut Vec<u8>) {
        let bot = self.random.below(10_000) < BOTS && bad.is_none();
        let purchase = self.random.below(100) < 3;
        let known = self.random.below(100) > 0;
        let user = self.random.zipf_below(self.users) + if known { 0 } else { self.users };
        if bad.is_none() {
            match (bot, purchase) {
                (true, _) => self.summary.bots += 1,
                (false, true) => self.summary.purchases += 1,
                (false, false) => self.summary.views += 1,
            }
            self.summary.unknown_users += u64::from(!bot && !known);
        }

        line.extend_from_slice(b"{\"event_id\":\"");
        write_hex(line, mix(number ^ self.seed), 16);
        line.push(b'"');
        match bad {
            Some(Bad::Word("ts")) => line.extend_from_slice(b",\"ts\":\"yesterday\""),
            _ => self.clock.write(line, timestamp_ms),
        }
        line.extend_from_slice(match (bad, purchase) {
            (Some(Bad::UnknownKind), _) => b",\"kind\":\"hover\"".as_slice(),
            (_, true) => b",\"kind\":\"purchase\"",
            (_, false) => b",\"kind\":\"view\"",
        });
        write_integer(line, "user_id", user, bad);
        line.extend_from_slice(b",\"session\":\"");
        write_hex(line, mix(user ^ self.seed ^ (timestamp_ms as u64 >> 21)), 8);
        line.push(b'"');
        if self.random.below(200) > 0 {
            let device = mix(user * 2 + self.random.below(2)) % self.devices;
            write_integer(line, "device_id", device, bad);
        }
        self.write_url(line, bad);
        line.extend_from_slice(b",\"user_agent\":\"");
        let agent = if bot { BOT_AGENTS[self.random.below(4) as usize] } else { AGENTS[(user % 16) as usize] };
        line.extend_from_slice(agent.as_bytes());
        line.push(b'"');
        self.write_response(line, purchase, bad);
        line.extend_from_slice(&self.extra);
        line.push(b'}');
    }

    /// The address, mostly of a product's page: `https://www.shop.example/garden/p12345?color=red`.
    fn write_url(&mut self, line: &mut Vec<u8>, bad: Option<Bad>) {
        if bad == Some(Bad::Missing("url")) {
            return;
        }
        line.extend_from_slice(b",\"url\":\"");
        if bad != Some(Bad::NoHost) {
            line.extend_from_slice(b"https://");
            line.extend_from_slice(HOSTS[self.random.below(HOSTS.len() as u64) as usize].as_bytes());
        }
        if self.random.below(50) == 0 {
            line.extend_from_slice(b"/search");
        } else {
            write_path(line, self.random.zipf_below(self.urls));
        }
        line.extend_from_slice(QUERIES[self.random.below(QUERIES.len() as u64) as usize].as_bytes());
        line.push(b'"');
    }

    /// What the server answered, and what was paid.
    fn write_response(&mut self, line: &mut Vec<u8>, purchase: bool, bad: Option<Bad>) {
        let status = [200, 200, 200, 200, 200, 200, 304, 404][self.random.below(8) as usize];
        write_integer(line, "status", status, bad);
        write_integer(line, "duration_ms", 5 + self.random.below(400), bad);
        if purchase {
            let cents = 99 + self.random.below(50_000);
            line.extend_from_slice(b",\"amount\":");
            write_decimal(line, cents / 100);
            line.extend_from_slice(&[b'.', b'0' + (cents / 10 % 10) as u8, b'0' + (cents % 10) as u8]);
        }
        line.extend_from_slice(b",\"v\":7");
    }
}

/// `,"name":number`, or what the bad kind makes of this field.
fn write_integer(line: &mut Vec<u8>, name: &'static str, number: u64, bad: Option<Bad>) {
    if bad == Some(Bad::Missing(name)) {
        return;
    }
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
    match bad {
        Some(Bad::Word(field)) if field == name => line.extend_from_slice(b"\"unknown\""),
        Some(Bad::Null(field)) if field == name => line.extend_from_slice(b"null"),
        Some(Bad::TooLarge(field)) if field == name => line.extend_from_slice(b"4294967296"),
        _ => write_decimal(line, number),
    }
}

/// A product's path: its category and its number in the urls table.
pub(super) fn write_path(line: &mut Vec<u8>, url: u64) {
    line.push(b'/');
    line.extend_from_slice(CATEGORIES[(url % CATEGORIES.len() as u64) as usize].as_bytes());
    line.extend_from_slice(b"/p");
    write_decimal(line, url);
}

fn write_decimal(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_padded(line: &mut Vec<u8>, number: u64, digits: usize) {
    let start = line.len();
    line.resize(start + digits, b'0');
    let mut rest = number;
    for digit in line[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn write_hex(line: &mut Vec<u8>, number: u64, digits: u32) {
    for digit in (0..digits).rev() {
        line.push(b"0123456789abcdef"[(number >> (digit * 4) & 15) as usize]);
    }
}

/// Writes times; dates and times of day are only worked out when the second changes.
#[derive(Default)]
struct Clock {
    second: Option<i64>,
    text: Vec<u8>,
}

impl Clock {
    /// `,"ts":"2025-06-01T12:00:00.123Z"`
    fn write(&mut self, line: &mut Vec<u8>, timestamp_ms: i64) {
        let second = timestamp_ms.div_euclid(1_000);
        if self.second != Some(second) {
            self.second = Some(second);
            let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            self.text.clear();
            // Writing to memory does not fail.
            let _ = write!(self.text, ",\"ts\":\"{}.", time.strftime("%Y-%m-%dT%H:%M:%S"));
        }
        line.extend_from_slice(&self.text);
        write_padded(line, timestamp_ms.rem_euclid(1_000) as u64, 3);
        line.extend_from_slice(b"Z\"");
    }
}
