//! A disk that changes what was synced, tried in memory: behind a crash at many operations one byte of each file that the next
//! start goes on from is changed, or its end is cut off. The start finds it, and refuses with the way out; or it does not need
//! what was changed, and the lake is exact.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crash_tests::{check, live};
use crate::disk::{Disk, MemoryDisk};
use crate::error::{Error, ErrorKind};

/// What is left behind a crash at an operation; the same each time.
fn stopped_at(operation: u64) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    disk.crash_at(operation);
    assert!(live(&disk, 1).is_err(), "the run is longer");
    disk.crash(operation);
    disk
}

/// The files that a start goes on from: the log, and what is staged.
fn kept(disk: &MemoryDisk) -> Vec<PathBuf> {
    let all = disk.files_below(Path::new("/")).unwrap();
    all.into_iter().filter(|path| path.ends_with("commit.log") || path.to_string_lossy().contains(".staging")).collect()
}

fn is_refused(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Storage, "{what}: {error}");
    assert!(error.message().contains("/lake") || error.message().contains("/data"), "{what}: no place: {error}");
    assert!(error.way_out().is_some(), "{what}: no way out: {error}");
}

fn operations() -> impl Iterator<Item = u64> {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    (20..whole.operations()).step_by(5)
}

/// Behind a crash at many operations each file that the next start goes on from is damaged by `damage`, by the number of the
/// operation and the file's length: what it did, in words, and how it is mended; none when it did nothing. The start refuses
/// it, and is exact when it can be mended; or it goes on, and is exact.
fn damaged_everywhere(damage: impl Fn(&Arc<MemoryDisk>, &Path, u64, u64) -> Option<(String, Option<usize>)>) {
    let (mut refused, mut gone_on) = (0, 0);
    for operation in operations() {
        for path in kept(&stopped_at(operation)) {
            let disk = stopped_at(operation);
            let bytes = disk.size_bytes(&path).unwrap().unwrap_or(0);
            let Some((what, mends)) = damage(&disk, &path, operation, bytes) else { continue };
            let what = format!("operation {operation}, {what} of {}", path.display());
            match live(&disk, 2) {
                Ok(counts) => {
                    gone_on += 1;
                    check(&disk, &counts, &what);
                }
                Err(error) => {
                    refused += 1;
                    is_refused(&error, &what);
                    if let Some(at) = mends {
                        disk.corrupt(&path, at).unwrap();
                        let counts = live(&disk, 3).unwrap_or_else(|error| panic!("{what}, mended: {error}"));
                        check(&disk, &counts, &what);
                    }
                }
            }
        }
    }
    assert!(refused > 20 && gone_on > 20, "{refused} refused, {gone_on} gone on");
}

#[test]
fn a_changed_byte_is_found_or_not_needed() {
    damaged_everywhere(|disk, path, operation, bytes| {
        // A walk over the bytes; in the log the last record is what counts.
        let back = operation * 37 % 600 + 1;
        let at = if path.ends_with("commit.log") { bytes.saturating_sub(back) } else { operation * 101 % bytes.max(1) };
        disk.corrupt(path, at as usize).ok()?;
        // The same again is the byte as it was.
        Some((format!("byte {at} of {bytes}"), Some(at as usize)))
    });
}

#[test]
fn an_end_that_was_cut_off_is_found_or_not_needed() {
    damaged_everywhere(|disk, path, operation, bytes| {
        let left = bytes.saturating_sub(operation * 13 % 300 + 2);
        disk.truncate(path, left).unwrap();
        Some((format!("{left} of {bytes} bytes"), None))
    });
}

#[test]
fn after_a_sync_that_failed_nothing_is_written() {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    let mut synced = 0;
    for operation in 1..=whole.operations() {
        let disk = Arc::new(MemoryDisk::new());
        disk.fail_sync_at(operation);
        let Err(error) = live(&disk, 1) else { continue };
        synced += 1;
        let what = format!("sync at operation {operation}");
        assert_eq!(error.kind(), ErrorKind::Storage, "{what}: {error}");
        assert_eq!(disk.operations(), operation, "{what}: written to behind it");
        let counts = live(&disk, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
    }
    assert!(synced > 50, "{synced} syncs");
}

#[test]
fn a_full_disk_ends_the_run_and_one_with_room_again_goes_on() {
    let whole = Arc::new(MemoryDisk::new());
    live(&whole, 1).unwrap();
    for room_bytes in (0..whole.written_bytes()).step_by(1_500) {
        let disk = Arc::new(MemoryDisk::new());
        disk.full_after(room_bytes);
        let what = format!("a disk of {room_bytes} bytes");
        let error = live(&disk, 1).expect_err("it is full");
        assert_eq!(error.kind(), ErrorKind::Storage, "{what}: {error}");
        assert!(error.to_string().contains("No space left"), "{what}: {error}");
        disk.full_after(u64::MAX);
        let counts = live(&disk, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&disk, &counts, &what);
    }
}
