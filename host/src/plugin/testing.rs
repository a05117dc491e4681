//! What tests of plugins and stages start from.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;

use super::{Engine, Plugin};
use crate::config::{self, ColumnFrom, Duplicates, Limits, Located, SourceColumn};
use crate::contract::Table;
use crate::dimension::Dimension;
use crate::schema::Column;

#[path = "../../../tests/components/component.rs"]
mod component;

/// The bytes of `tests/components/hostile`.
pub fn hostile() -> &'static [u8] {
    component::component("hostile")
}

/// The configuration of a behaviour of `hostile`: `trap`, or with a number, `vast_rows:1000`.
pub fn behave(how: &str) -> String {
    let (behaviour, number) = how.split_once(':').unwrap_or((how, "0"));
    format!("{{\"behaviour\":\"{behaviour}\",\"n\":{number}}}")
}

/// One engine for all tests.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// `tests/components/hostile`, compiled once.
pub fn plugin() -> Arc<Plugin> {
    static PLUGIN: OnceLock<Arc<Plugin>> = OnceLock::new();
    Arc::clone(PLUGIN.get_or_init(|| engine().load(hostile(), "hostile.wasm").unwrap()))
}

pub fn limits() -> Limits {
    Limits { deadline: Duration::from_secs(30), ..Limits::default() }
}

pub fn column(name: &str, type_text: &str) -> Column {
    let nested: millstream_sdk::Nested = type_text.parse().expect(type_text);
    Column { name: name.to_owned(), logical: nested.logical, nullable: nested.nullable }
}

pub fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

/// A dimension `users`: key `n`, column `name`; users 1 to 9 but 5, and 7 has no name.
pub fn users() -> (TempDir, Dimension) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    let name = |n: u32| if n == 7 { String::new() } else { format!("user {}", n % 3) };
    let rows: String = (1..10).filter(|n| *n != 5).map(|n| format!("{n},{}\n", name(n))).collect();
    std::fs::write(&file, format!("n,name\n{rows}")).unwrap();
    let settings = dimension(&file, &[("n", "int64"), ("name", "utf8?")]);
    let users = Dimension::open(&settings, &folder.path().join("data")).unwrap();
    (folder, users)
}

fn dimension(file: &Path, columns: &[(&str, &str)]) -> config::Dimension {
    let columns = columns.iter().map(|(name, type_text)| {
        let Column { name, logical, nullable } = column(name, type_text);
        SourceColumn { from: ColumnFrom::Field(vec![name.clone()]), name: located(name), logical, nullable }
    });
    config::Dimension {
        name: located("users".to_owned()),
        path: located(file.to_owned()),
        key: vec![located("n".to_owned())],
        columns: columns.collect(),
        duplicates: Duplicates::Refuse,
        shrink: 0.5,
        memory_bytes: 64 << 20,
    }
}

/// What a plugin knows of `users`.
pub fn users_table() -> Table {
    Table { name: "users".to_owned(), key: vec![column("n", "int64")], columns: vec![column("name", "utf8?")] }
}
