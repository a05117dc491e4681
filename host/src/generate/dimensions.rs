//! The tables that clicks are joined with: users, urls and devices, as Parquet. They grow with their settings and depend
//! on nothing else but the seed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::ClicksSettings;
use super::clicks::{CATEGORIES, write_path};
use super::random::mix;
use crate::error::{Error, ErrorKind, Result};

/// Rows that are made and written at once.
const CHUNK_ROWS: u64 = 65_536;

const COUNTRIES: [&str; 20] = [
    "US", "DE", "GB", "FR", "IN", "BR", "JP", "CA", "AU", "ES", "IT", "NL", "SE", "PL", "MX", "KR", "CH", "AT", "NO",
    "ZA",
];
const PLANS: [&str; 4] = ["free", "free", "plus", "pro"];
const SYSTEMS: [&str; 5] = ["Android", "iOS", "Windows", "macOS", "Linux"];
const BRANDS: [&str; 12] =
    ["Acme", "Birch", "Cobalt", "Dune", "Ember", "Fjord", "Garnet", "Heron", "Indigo", "Juniper", "Krill", "Larch"];

/// Days from 1970-01-01 to 2015-01-01, and from there to 2025-06-01: the days on which users signed up.
const FIRST_SIGN_UP_DAY: i32 = 16_436;
const SIGN_UP_DAYS: u64 = 3_804;

/// Writes the three tables into a folder, which is made when it is not there.
pub(super) fn write(settings: &ClicksSettings, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|cause| cannot_write(folder).caused_by(cause))?;
    let seed = mix(settings.seed ^ 0xD1CE);
    let users = [text("country", true), text("plan", false), Field::new("signed_up", DataType::Date32, false)];
    write_table(&folder.join("users.parquet"), int64("user_id"), users, settings.users, |id| user_columns(seed, id))?;
    let urls = [text("category", false), Field::new("price_cents", DataType::Int32, true)];
    write_table(&folder.join("urls.parquet"), text("path", false), urls, settings.urls, |id| url_columns(seed, id))?;
    let devices = [text("os", false), text("brand", true)];
    write_table(&folder.join("devices.parquet"), int64("device_id"), devices, settings.devices, |id| {
        device_columns(seed, id)
    })
}

/// One user in a hundred has told no country.
fn user_columns(seed: u64, ids: Ids) -> Vec<ArrayRef> {
    let drawn = |id: i64| mix(seed ^ id as u64);
    let country = |id| (drawn(id) % 100 > 0).then(|| skewed(&COUNTRIES, drawn(id) >> 8));
    let signed_up = |id| FIRST_SIGN_UP_DAY + ((drawn(id) >> 32) % SIGN_UP_DAYS) as i32;
    vec![
        Arc::new(ids.clone().collect::<Int64Array>()),
        Arc::new(ids.clone().map(country).collect::<StringArray>()),
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| PLANS[(drawn(id) >> 24) as usize % 4]))),
        Arc::new(Date32Array::from_iter_values(ids.map(signed_up))),
    ]
}

/// One page in twenty sells nothing: it has no price.
fn url_columns(seed: u64, ids: Ids) -> Vec<ArrayRef> {
    let drawn = |id: i64| mix(seed ^ (id as u64).rotate_left(32));
    let path = |id: i64| {
        let mut path = Vec::with_capacity(24);
        write_path(&mut path, id as u64);
        String::from_utf8_lossy(&path).into_owned()
    };
    let price = |id| (drawn(id) % 20 > 0).then(|| 99 + ((drawn(id) >> 16) % 50_000) as i32);
    vec![
        Arc::new(StringArray::from_iter_values(ids.clone().map(path))),
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| CATEGORIES[id as usize % CATEGORIES.len()]))),
        Arc::new(ids.map(price).collect::<Int32Array>()),
    ]
}

fn device_columns(seed: u64, ids: Ids) -> Vec<ArrayRef> {
    let drawn = |id: i64| mix(seed ^ (id as u64).rotate_left(48));
    let brand = |id| (drawn(id) % 50 > 0).then(|| skewed(&BRANDS, drawn(id) >> 8));
    vec![
        Arc::new(ids.clone().collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| skewed(&SYSTEMS, drawn(id) >> 40)))),
        Arc::new(ids.map(brand).collect::<StringArray>()),
    ]
}

/// One of the words; the first ones are the most frequent.
fn skewed<'a>(words: &[&'a str], bits: u64) -> &'a str {
    let (one, other) = (bits as usize % words.len(), (bits >> 12) as usize % words.len());
    words[one.min(other)]
}

type Ids = std::ops::Range<i64>;

fn int64(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

fn write_table<const N: usize>(
    path: &Path,
    key: Field,
    columns: [Field; N],
    rows: u32,
    make: impl Fn(Ids) -> Vec<ArrayRef>,
) -> Result<()> {
    let schema = Arc::new(Schema::new(std::iter::once(key).chain(columns).collect::<Vec<_>>()));
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let write = || -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut writer = ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties))?;
        for start in (0..u64::from(rows)).step_by(CHUNK_ROWS as usize) {
            let ids = start as i64..(start + CHUNK_ROWS).min(rows.into()) as i64;
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), make(ids))?)?;
        }
        writer.close()?;
        Ok(())
    };
    write().map_err(|cause| cannot_write(path).caused_by(cause))
}

fn cannot_write(path: &Path) -> Error {
    Error::new(ErrorKind::Storage, format!("cannot write {}", path.display()))
}
