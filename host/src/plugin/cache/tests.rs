//! What is not ours is not there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::plugin::testing::hostile;
use crate::plugin::{Engine, Plugin};

fn cache() -> (tempfile::TempDir, PathBuf, CodeCache) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("above/compiled");
    let cache = CodeCache::open(&path).unwrap();
    (folder, path, cache)
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "cwasm")).collect();
    entries.sort();
    entries
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn kept(cache: &CodeCache, digest: &str, engine: &str) -> Option<Vec<u8>> {
    cache.read(digest, engine).map(|proven| proven.code().to_vec())
}

#[test]
fn code_comes_back_for_the_same_plugin_and_engine_only() {
    let (_folder, path, cache) = cache();
    assert_eq!(kept(&cache, "aa", "e1"), None);
    cache.keep("aa", "e1", b"code");
    let again = CodeCache::open(&path).unwrap();
    assert_eq!(kept(&again, "aa", "e1").as_deref(), Some(&b"code"[..]));
    assert_eq!(kept(&again, "aa", "e2"), None);
    assert_eq!(kept(&again, "ab", "e1"), None);
}

#[test]
fn folder_key_and_entries_are_the_owners_alone() {
    let (_folder, path, cache) = cache();
    cache.keep("aa", "e1", b"code");
    assert_eq!(mode(&path), 0o700);
    assert_eq!((mode(&path.join("key")), mode(&entries(&path)[0])), (0o600, 0o600));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "nothing unfinished is left");
}

#[test]
fn one_flipped_byte_anywhere_is_enough_to_refuse() {
    let (_folder, path, cache) = cache();
    cache.keep("aa", "e1", b"code");
    let entry = &entries(&path)[0];
    let good = fs::read(entry).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(entry, bad).unwrap();
        assert_eq!(kept(&cache, "aa", "e1"), None, "byte {at}");
    }
    for length in 0..good.len() {
        fs::write(entry, &good[..length]).unwrap();
        assert_eq!(kept(&cache, "aa", "e1"), None, "cut at {length}");
    }
    fs::write(entry, [&good[..], b"x"].concat()).unwrap();
    assert_eq!(kept(&cache, "aa", "e1"), None, "a byte more");
    fs::write(entry, good).unwrap();
    assert!(kept(&cache, "aa", "e1").is_some());
}

#[test]
fn an_entry_under_another_name_or_of_another_folder_is_refused() {
    let (_folder, path, cache) = cache();
    cache.keep("aa", "e1", b"code");
    let entry = &entries(&path)[0];
    for name in ["ab-e1.cwasm", "aa-e2.cwasm"] {
        fs::copy(entry, path.join(name)).unwrap();
    }
    assert_eq!((kept(&cache, "ab", "e1"), kept(&cache, "aa", "e2")), (None, None));
    let (_other_folder, other_path, other) = self::cache();
    fs::copy(entry, other_path.join(entry.file_name().unwrap())).unwrap();
    assert_eq!(kept(&other, "aa", "e1"), None);
}

#[test]
fn what_others_can_write_is_not_used() {
    let (_folder, path, cache) = cache();
    cache.keep("aa", "e1", b"code");
    let entry = &entries(&path)[0];
    for open in [0o620, 0o602] {
        set_mode(entry, open);
        assert_eq!(kept(&cache, "aa", "e1"), None, "{open:o}");
    }
    set_mode(entry, 0o600);
    for open in [0o777, 0o770, 0o702] {
        set_mode(&path, open);
        assert!(CodeCache::open(&path).unwrap_err().contains("others than its owner"), "{open:o}");
    }
    set_mode(&path, 0o700);
    set_mode(&path.join("key"), 0o640);
    assert!(CodeCache::open(&path).unwrap_err().contains("its key: others"), "a key that others can read");
    set_mode(&path.join("key"), 0o600);
    assert!(kept(&CodeCache::open(&path).unwrap(), "aa", "e1").is_some());
}

#[test]
fn links_files_and_foreign_keys_in_the_way_are_refused() {
    let (folder, path, cache) = cache();
    cache.keep("aa", "e1", b"code");
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(CodeCache::open(&link).unwrap_err().contains("a link or a file"));
    let entry = &entries(&path)[0];
    fs::rename(entry, folder.path().join("entry")).unwrap();
    symlink(folder.path().join("entry"), entry).unwrap();
    assert_eq!(kept(&cache, "aa", "e1"), None);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(CodeCache::open(&file).is_err());
    assert!(CodeCache::open(&file.join("below")).unwrap_err().contains("cannot be made"));
    fs::write(path.join("key"), "short").unwrap();
    assert!(CodeCache::open(&path).unwrap_err().contains("not the right length"));
}

#[test]
fn the_entries_that_were_used_longest_ago_go_first() {
    let (_folder, path, mut cache) = cache();
    cache.max_entries = 3;
    for number in 0..4_u8 {
        cache.keep(&format!("a{number}"), "e", &[number; 100]);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number));
        File::open(path.join(format!("a{number}-e.cwasm"))).unwrap().set_modified(time).unwrap();
        if number == 2 {
            assert!(kept(&cache, "a0", "e").is_some(), "used: it is the newest now");
        }
    }
    let names = |path: &Path| -> Vec<String> {
        entries(path).iter().map(|entry| entry.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(&path), ["a0-e", "a2-e", "a3-e"]);
    cache.max_bytes = 250;
    cache.keep("a4", "e", &[4; 100]);
    assert_eq!(names(&path).len(), 1, "two of 132 bytes are too many");
    cache.keep("a5", "e", &[5; 300]);
    assert_eq!(kept(&cache, "a5", "e"), None, "larger than all that may be kept");
}

#[test]
fn what_a_killed_writer_left_goes_with_the_next_entry() {
    let (_folder, path, cache) = cache();
    let left = path.join("aa-e.cwasm.0123.unfinished");
    fs::write(&left, "half").unwrap();
    File::open(&left).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    cache.keep("aa", "e", b"code");
    assert!(!left.exists());
}

/// Loads the test plugin with a cache: the plugin, and whether it was compiled.
fn load(engine: &Engine) -> Arc<Plugin> {
    engine.load(hostile(), "hostile.wasm").unwrap()
}

#[test]
fn the_second_load_of_a_plugin_takes_its_code_from_the_cache_and_traps_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compiled");
    let engine = || Engine::new().unwrap().with_cache(&path);
    let (first, second) = (load(&engine()), load(&engine()));
    assert!(!first.is_from_cache() && second.is_from_cache());
    assert_eq!(
        (first.digest(), first.imports(), first.exports()),
        (second.digest(), second.imports(), second.exports())
    );
    assert_eq!(first.describe().unwrap(), second.describe().unwrap());
    let trap = |plugin: &Plugin| {
        let limits = crate::plugin::testing::limits();
        let config = r#"{"behaviour":"trap_in_configure"}"#;
        plugin.instantiate("test", config, &crate::contract::Given::default(), &limits).unwrap_err().to_string()
    };
    assert_eq!(trap(&first), trap(&second));
}

#[test]
fn a_tampered_entry_is_compiled_anew_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compiled");
    let engine = Engine::new().unwrap().with_cache(&path);
    load(&engine);
    let entry = &entries(&path)[0];
    let mut bytes = fs::read(entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(entry, bytes).unwrap();
    assert!(!load(&engine).is_from_cache());
    assert!(load(&engine).is_from_cache());
}

#[test]
fn code_of_another_engine_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compiled");
    let engine = Engine::new().unwrap().with_cache(&path);
    let digest = load(&engine).digest().to_owned();
    let mut other = wasmtime::Config::new();
    other.epoch_interruption(false);
    let other = wasmtime::Engine::new(&other).unwrap();
    let cache = CodeCache::open(&path).unwrap();
    assert!(crate::plugin::component::kept(&cache, &other, &digest).is_none());
}

#[test]
fn a_folder_that_others_can_write_is_left_alone_and_plugins_load_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compiled");
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o777);
    let engine = Engine::new().unwrap().with_cache(&path);
    assert!(!load(&engine).is_from_cache() && !load(&engine).is_from_cache());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}
