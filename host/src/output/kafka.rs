//! A Kafka topic as an output: each row becomes one JSON object.
//!
//! The promise is *at least once*: `flush` returns only when every row written before it was acknowledged by all in-sync
//! replicas, so an epoch that committed has its rows in the topic. Rows of an epoch that failed afterwards are there too,
//! and come again when the epoch is run again. Within one producer an idempotent one keeps rows from being doubled or
//! swapped by its own retries.
//!
//! The JSON: columns by name, in order, nulls written out; integers and decimals as exact numbers, other floats shortest
//! (NaN and infinities as null); timestamps as RFC 3339 in UTC (beyond the years -9999 to 9999 as their number), dates as
//! `2013-01-31`; uuids with hyphens, other binary as hexadecimal text; lists and structs as arrays and objects. The key is
//! the text of the key column (binary: its bytes); null: no key.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;
use crate::source::kafka::client::{ClientLog, Fixed, away, configure, not_created};

/// Rows between two looks at what was acknowledged.
const POLL_ROWS: usize = 1024;

/// How long the brokers may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// librdkafka's `message.max.bytes`, and brokers' too but for some bytes.
const MESSAGE_BYTES: usize = 1_000_000;

/// What a message has beside its value, generously.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

const DEFAULTS: &[(&str, &str)] = &[
    ("compression.codec", "lz4"),
    ("linger.ms", "20"),
    ("batch.size", "1000000"),
    // What is written and not acknowledged: beyond it `write` waits.
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "200000"),
    ("reconnect.backoff.max.ms", "2000"),
];

const FIXED: &[Fixed] = &[
    Fixed {
        name: "enable.idempotence",
        value: Some("true"),
        reason: "retries must not double rows or change their order",
    },
    Fixed { name: "acks", value: Some("all"), reason: "a row counts as written when all in-sync replicas have it" },
    Fixed { name: "request.required.acks", value: None, reason: "a row counts as written when all replicas have it" },
    Fixed { name: "transactional.id", value: None, reason: "transactions belong to the host" },
];

#[derive(Default)]
struct Delivered {
    acknowledged_rows: AtomicU64,
    failed: Mutex<Option<String>>,
}

struct Context {
    log: ClientLog,
    delivered: Arc<Delivered>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(&error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.acknowledged_rows.fetch_add(1, Ordering::Relaxed);
                self.log.answered();
            }
            Err((error, _)) => {
                let mut failed = self.delivered.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Writes rows to a topic. One a worker; nothing is shared between them.
pub struct KafkaWriter {
    owner: String,
    brokers: String,
    topic: String,
    key: Option<usize>,
    producer: BaseProducer<Context>,
    delivered: Arc<Delivered>,
    written_rows: u64,
    most_value_bytes: usize,
}

impl KafkaWriter {
    /// Connects and checks that the topic is there. `columns`: those of every batch, in order; `name`: the output's.
    pub fn new(name: &str, settings: &config::KafkaOutput, columns: &[Column]) -> Result<Self> {
        let owner = format!("output {name:?}");
        let brokers = settings.brokers.value.clone();
        let key = match &settings.key {
            None => None,
            Some(key) => Some(columns.iter().position(|column| column.name == key.value).ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("{owner}: its key {:?} is none of its columns", key.value)).help(
                    format!("columns: {}", columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ")),
                )
            })?),
        };
        let config = configure(&owner, &brokers, &settings.properties, DEFAULTS, FIXED)?;
        let most_bytes = config.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(MESSAGE_BYTES);
        let most_value_bytes = usize::saturating_sub(most_bytes, MESSAGE_OVERHEAD_BYTES);
        let delivered = Arc::<Delivered>::default();
        let context = Context { log: ClientLog::new(owner.clone()), delivered: delivered.clone() };
        let producer: BaseProducer<_> =
            config.create_with_context(context).map_err(|error| not_created(&owner, error))?;
        let topic = settings.topic.value.clone();
        let writer = Self { owner, brokers, topic, key, producer, delivered, written_rows: 0, most_value_bytes };
        writer.check_topic()?;
        Ok(writer)
    }

    fn check_topic(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(metadata) = self.producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(5)) {
                let error = metadata.topics().first().and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
                match error {
                    None => return Ok(()),
                    // The broker is about to make it (auto.create.topics.enable).
                    Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
                    Some(code) => {
                        let what = format!("{}: topic {:?} at {}: {code}", self.owner, self.topic, self.brokers);
                        return Err(Error::new(ErrorKind::Config, what).help(
                            "create the topic, or grant WRITE and DESCRIBE on it to the user of `properties_file`",
                        ));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(away(&self.owner, &self.brokers, START_TIMEOUT, &self.producer.context().log));
            }
            self.producer.poll(Duration::from_millis(100));
        }
    }

    /// Hands the rows to the producer; waits while its queue is full.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let wrong = |error: ArrowError| {
            Error::new(ErrorKind::Internal, format!("{}: rows cannot be written as JSON", self.owner)).caused_by(error)
        };
        let keys = match self.key {
            Some(column) => Some(Keys::new(batch.column(column)).map_err(wrong)?),
            None => None,
        };
        let options = json_options();
        let rows = StructArray::from(batch.clone());
        let field: FieldRef = Arc::new(Field::new("row", rows.data_type().clone(), false));
        let mut encoder = make_encoder(&field, &rows, &options).map_err(wrong)?;
        let (mut value, mut key) = (Vec::with_capacity(512), Vec::new());
        for row in 0..batch.num_rows() {
            value.clear();
            encoder.encode(row, &mut value);
            let key = keys.as_ref().and_then(|keys| keys.text(row, &mut key));
            self.send(key, &value)?;
            if row % POLL_ROWS == POLL_ROWS - 1 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.producer.poll(Duration::ZERO);
        self.written_rows += batch.num_rows() as u64;
        self.check_failed()
    }

    /// Hands values to the producer as they are; waits while its queue is full.
    pub fn write_values(&mut self, values: &[String]) -> Result<()> {
        values.iter().try_for_each(|value| self.send(None, value.as_bytes()))?;
        self.producer.poll(Duration::ZERO);
        self.written_rows += values.len() as u64;
        self.check_failed()
    }

    /// The longest value that the producer takes.
    pub fn most_value_bytes(&self) -> usize {
        self.most_value_bytes
    }

    fn send(&self, key: Option<&[u8]>, value: &[u8]) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, again)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    record = again;
                    self.producer.poll(Duration::from_millis(5));
                    self.check_failed()?;
                }
                Err((error, _)) => return Err(self.not_sent(value.len(), error)),
            }
        }
    }

    fn not_sent(&self, bytes: usize, error: KafkaError) -> Error {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let what = format!("{}: a row of {bytes} bytes is too large for topic {:?}", self.owner, self.topic);
            return Error::new(ErrorKind::Config, what)
                .help("raise `message.max.bytes` in `properties` and the topic's max.message.bytes");
        }
        Error::new(ErrorKind::Unavailable, format!("{}: a row was not taken for topic {:?}", self.owner, self.topic))
            .caused_by(error)
    }

    /// Returns when every row written so far was acknowledged, or fails.
    pub fn flush(&mut self, timeout: Duration) -> Result<()> {
        let flushed = self.producer.flush(timeout);
        self.check_failed()?;
        let acknowledged = self.acknowledged_rows();
        if flushed.is_err() || acknowledged != self.written_rows {
            let missing = self.written_rows - acknowledged;
            let last = self.producer.context().log.last_error().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{}: {missing} rows for topic {:?} were not acknowledged by {} within {} s{last}",
                    self.owner,
                    self.topic,
                    self.brokers,
                    timeout.as_secs()
                ),
            )
            .help("are the brokers up, and are enough replicas in sync (min.insync.replicas)?"));
        }
        Ok(())
    }

    /// How many rows the brokers acknowledged.
    pub fn acknowledged_rows(&self) -> u64 {
        self.delivered.acknowledged_rows.load(Ordering::Relaxed)
    }

    fn check_failed(&self) -> Result<()> {
        match &*self.delivered.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{}: topic {:?} at {} did not take a row: {reason}", self.owner, self.topic, self.brokers),
            )),
        }
    }
}

fn json_options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(SpecialEncoders))
}

/// The key column's values as bytes.
enum Keys<'a> {
    Bytes(&'a ArrayRef),
    Special(&'a ArrayRef, Special<'a>),
    Text(&'a ArrayRef, ArrayFormatter<'a>),
}

impl<'a> Keys<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self, ArrowError> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new();
        if let Some(special) = Special::of(column) {
            return Ok(Self::Special(column, special));
        }
        match column.data_type() {
            DataType::Utf8 | DataType::Binary => Ok(Self::Bytes(column)),
            _ => Ok(Self::Text(column, ArrayFormatter::try_new(column, &OPTIONS)?)),
        }
    }

    fn text<'b>(&'b self, row: usize, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        buffer.clear();
        match self {
            Self::Bytes(column) | Self::Special(column, _) if column.is_null(row) => None,
            Self::Bytes(column) => Some(match column.as_string_opt::<i32>() {
                Some(texts) => texts.value(row).as_bytes(),
                None => column.as_binary::<i32>().value(row),
            }),
            Self::Special(_, special) => {
                special.push(row, buffer);
                Some(buffer)
            }
            // A dictionary's null may stand among its values: the logical nulls count.
            Self::Text(column, _) if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) => None,
            Self::Text(_, formatter) => {
                buffer.extend_from_slice(formatter.value(row).to_string().as_bytes());
                Some(buffer)
            }
        }
    }
}

/// Values that arrow-json has no form for that suits us: uuids (plain hexadecimal text there), and instants in UTC (which
/// need a time zone database there).
enum Special<'a> {
    Uuids(&'a FixedSizeBinaryArray),
    Instants(&'a [i64], TimeUnit),
}

impl<'a> Special<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::FixedSizeBinary(16) => array.as_fixed_size_binary_opt().map(Self::Uuids),
            DataType::Timestamp(unit, Some(_)) => {
                let values = match unit {
                    TimeUnit::Second => array.as_primitive_opt::<TimestampSecondType>()?.values(),
                    TimeUnit::Millisecond => array.as_primitive_opt::<TimestampMillisecondType>()?.values(),
                    TimeUnit::Microsecond => array.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
                    TimeUnit::Nanosecond => array.as_primitive_opt::<TimestampNanosecondType>()?.values(),
                };
                Some(Self::Instants(values, *unit))
            }
            _ => None,
        }
    }

    fn push(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Uuids(uuids) => push_uuid(uuids.value(row), out),
            Self::Instants(values, unit) => {
                let value = values[row];
                let instant = match unit {
                    TimeUnit::Second => Timestamp::from_second(value),
                    TimeUnit::Millisecond => Timestamp::from_millisecond(value),
                    TimeUnit::Microsecond => Timestamp::from_microsecond(value),
                    TimeUnit::Nanosecond => Timestamp::from_nanosecond(value.into()),
                };
                // Writing to memory does not fail.
                let _ = match instant {
                    Ok(instant) => write!(out, "{instant}"),
                    Err(_) => write!(out, "{value}"),
                };
            }
        }
    }
}

impl Encoder for Special<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.push(row, out);
        out.push(b'"');
    }
}

/// Puts `Special` in the place of arrow-json's own encoders, at any depth.
#[derive(Debug)]
struct SpecialEncoders;

impl EncoderFactory for SpecialEncoders {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(Special::of(array).map(|special| NullableEncoder::new(Box::new(special), array.nulls().cloned())))
    }
}

fn push_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn uuids() -> FixedSizeBinaryArray {
        FixedSizeBinaryArray::try_from_iter([(0..16).collect::<Vec<u8>>(), vec![255; 16]].into_iter()).unwrap()
    }

    #[test]
    fn rows_are_json_objects_with_exact_values() {
        let codes: DictionaryArray<Int32Type> = [Some("de"), None].into_iter().collect();
        let decimals = Decimal128Array::from(vec![Some(123_456), None]).with_precision_and_scale(12, 2).unwrap();
        let columns: [(&str, ArrayRef); 9] = [
            ("id", Arc::new(Int64Array::from(vec![i64::MAX, -1]))),
            ("text", Arc::new(StringArray::from(vec![Some("a\"\n\u{e9}"), None]))),
            ("amount", Arc::new(decimals)),
            ("ts", Arc::new(TimestampMillisecondArray::from(vec![1_357_016_400_123, 0]).with_timezone("UTC"))),
            ("us", Arc::new(TimestampMicrosecondArray::from(vec![1, 0]).with_timezone("UTC"))),
            ("day", Arc::new(Date32Array::from(vec![15_706, 0]))),
            ("country", Arc::new(codes)),
            ("share", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
            ("uuid", Arc::new(uuids())),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        let rows = StructArray::from(batch);
        let field: FieldRef = Arc::new(Field::new("row", rows.data_type().clone(), false));
        let options = json_options();
        let mut encoder = make_encoder(&field, &rows, &options).unwrap();
        let mut json = |row| {
            let mut out = Vec::new();
            encoder.encode(row, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            json(0),
            r#"{"id":9223372036854775807,"text":"a\"\né","amount":1234.56,"ts":"2013-01-01T05:00:00.123Z","us":"1970-01-01T00:00:00.000001Z","day":"2013-01-01","country":"de","share":0.1,"uuid":"00010203-0405-0607-0809-0a0b0c0d0e0f"}"#
        );
        assert_eq!(
            json(1),
            r#"{"id":-1,"text":null,"amount":null,"ts":"1970-01-01T00:00:00Z","us":"1970-01-01T00:00:00Z","day":"1970-01-01","country":null,"share":null,"uuid":"ffffffff-ffff-ffff-ffff-ffffffffffff"}"#
        );
    }

    #[test]
    fn keys_are_text_bytes_or_nothing() {
        let key = |column: ArrayRef, row| {
            let keys = Keys::new(&column).unwrap();
            keys.text(row, &mut Vec::new()).map(<[u8]>::to_vec)
        };
        assert_eq!(key(Arc::new(Int64Array::from(vec![-42])), 0), Some(b"-42".to_vec()));
        assert_eq!(key(Arc::new(Int64Array::from(vec![None])), 0), None);
        assert_eq!(key(Arc::new(StringArray::from(vec!["a"])), 0), Some(b"a".to_vec()));
        assert_eq!(key(Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])), 0), Some(vec![0, 255]));
        assert_eq!(key(Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])), 1), None);
        let codes: DictionaryArray<Int32Type> = [Some("de"), None].into_iter().collect();
        assert_eq!(key(Arc::new(codes.clone()), 0), Some(b"de".to_vec()));
        assert_eq!(key(Arc::new(codes), 1), None);
        let instants = TimestampMillisecondArray::from(vec![1_357_016_400_000]).with_timezone("UTC");
        assert_eq!(key(Arc::new(instants), 0), Some(b"2013-01-01T05:00:00Z".to_vec()));
        assert_eq!(key(Arc::new(uuids()), 0), Some(b"00010203-0405-0607-0809-0a0b0c0d0e0f".to_vec()));
    }
}
