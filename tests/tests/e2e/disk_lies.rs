//! Promise: a disk that is full, read-only, that cannot sync or changes what was synced ends the run with an error that names
//! the place and the way out, and exit code 1; when it is mended, the next start loses and doubles nothing. A wall clock that
//! jumps ends nothing.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::clock::{Clock, SystemClock};
use millstream_tests::delivery::SHORT_SESSION;
use millstream_tests::host::{Host, fail, millstream, put, succeed, text};
use millstream_tests::kafka::Kafka;
use millstream_tests::patience::{PATIENCE, wait_until};
use tempfile::TempDir;

use crate::topics::{each_once, lake_ids};

/// A pipeline from a file to a lake.
struct Job {
    folder: TempDir,
    rows: i64,
}

impl Job {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = r#"
name = "lies"
data = "state"
workers = 1
epoch = { interval = "100ms" }

[source.events]
file    = { path = "events.jsonl" }
format  = "json"
columns = { id = "int64" }

[output.lake]
from    = "source.events"
parquet = { path = "lake", max_age = "200ms", compression = "none" }
"#;
        put(&folder.path().join("pipeline.toml"), pipeline);
        let mut job = Self { folder, rows: 0 };
        job.write(1_000);
        job
    }

    fn write(&mut self, rows: i64) {
        let mut file =
            OpenOptions::new().append(true).create(true).open(self.folder.path().join("events.jsonl")).unwrap();
        // In an order that no encoding makes small.
        let id = |row: i64| self.rows + row * 7_919 % rows;
        let lines: String = (0..rows).map(|row| format!("{{\"id\":{}}}\n", id(row))).collect();
        file.write_all(lines.as_bytes()).unwrap();
        self.rows += rows;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, how: &str) -> Command {
        let mut run = millstream();
        run.current_dir(self.folder.path()).args(["run", "pipeline.toml", how, "--no-progress"]);
        run.args(["--log", "info,millstream=debug"]);
        run
    }

    /// Lets a command run with functions of libc replaced by what is in a C source.
    fn preload(&self, command: &mut Command, source: &str) {
        put(&self.path("preload.c"), source);
        let mut compile = Command::new("cc");
        succeed(compile.current_dir(self.folder.path()).args(["-shared", "-fPIC", "-o", "preload.so", "preload.c"]));
        command.env("LD_PRELOAD", self.path("preload.so"));
    }

    /// The run ends by itself, with exit code 1; what it said.
    fn ends(&self, host: &mut Host) -> String {
        let status = host.ends_within(PATIENCE).unwrap_or_else(|| panic!("it goes on\n{}", host.rest()));
        let said = host.rest();
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    fn holds(&self) {
        succeed(&mut self.run("--until-caught-up"));
        assert_eq!(each_once(lake_ids(&self.path("lake"))), (0..self.rows).collect::<Vec<_>>());
    }

    /// A run that is killed behind a step.
    fn kill_at(&self, step: &str, more: &[&str]) {
        let killed = self.run("--until-caught-up").args(more).env("MILLSTREAM_KILL_AT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "{step}: {}", text(&killed.stderr));
    }

    /// The files in staging whose names end so.
    fn staged(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.path("lake/.staging")).unwrap() {
            found.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
        }
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found
    }
}

/// Changes one byte of a file; done twice, nothing.
fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Mounts something for as long as it is held; none without the right to.
struct Mount(PathBuf);

impl Mount {
    fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(at).output().ok()?;
        if !mounted.status.success() {
            #[expect(clippy::print_stdout, reason = "whoever reads the test's output wants to know")]
            {
                println!("left out, this user may not mount: {}", text(&mounted.stderr).trim());
            }
            return None;
        }
        Some(Self(at.to_path_buf()))
    }

    fn again(&self, options: &str) -> bool {
        Command::new("mount").args(["-o", options]).arg(&self.0).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// Makes syncs fail, of the files whose path holds what stands in the file of `FAIL_SYNC`.
const NO_SYNC: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int fails(int fd) {
    char what[256] = {0}, link[64], path[4096] = {0};
    const char *name = getenv("FAIL_SYNC");
    int file = name ? open(name, O_RDONLY) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, what, sizeof what - 1);
    close(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (length <= 0 || readlink(link, path, sizeof path - 1) < 0) return 0;
    return strstr(path, what) != NULL;
}
int fdatasync(int fd) { if (fails(fd)) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { if (fails(fd)) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }
"#;

#[test]
fn a_sync_that_fails_ends_the_run_for_good() {
    for place in ["/lake/", "commit.log"] {
        let mut job = Job::new();
        let mut run = job.run("--follow");
        job.preload(&mut run, NO_SYNC);
        let mut host = Host::start(run.env("FAIL_SYNC", job.path("failing")));
        host.wait_for("committed epoch=");
        put(&job.path("failing"), place);
        job.write(100);
        let said = job.ends(&mut host);
        assert!(said.contains(place) && said.contains("Input/output error"), "{said}");
        assert!(said.contains("mend the disk and start again"), "{said}");
        let failed = said.find("Input/output error").unwrap();
        assert!(!said[failed..].contains("committed epoch"), "nothing is committed behind it: {said}");
        job.holds();
    }
}

#[test]
fn a_full_disk_ends_the_run_until_there_is_room() {
    let mut job = Job::new();
    let Some(disk) = Mount::new(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"], &job.path("lake")) else { return };
    job.write(200_000);
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("No space left") && said.contains("/lake/") && said.contains("make room"), "{said}");
    assert!(disk.again("remount,size=64m"), "more room");
    job.holds();
}

#[test]
fn a_full_data_folder_ends_the_run_until_there_is_room() {
    let mut job = Job::new();
    let Some(_disk) = Mount::new(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], &job.path("state")) else { return };
    let mut host = Host::start(&mut job.run("--follow"));
    host.wait_for("committed epoch=");
    let rest = job.path("state/rest");
    let full = fs::write(&rest, vec![0; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    // What was left of the log's last page is still there.
    wait_until("the log is full", || {
        job.write(100);
        host.ended().is_some()
    });
    let is_told = |said: &str| {
        assert!(said.contains("No space left") && said.contains("/state") && said.contains("make room"), "{said}");
    };
    is_told(&job.ends(&mut host));
    is_told(&fail(&mut job.run("--until-caught-up")));
    fs::remove_file(rest).unwrap();
    job.holds();
}

#[test]
fn a_read_only_data_folder_is_refused_until_it_may_be_written() {
    let job = Job::new();
    let Some(disk) = Mount::new(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], &job.path("state")) else { return };
    for _ in 0..2 {
        assert!(disk.again("remount,ro"));
        let said = fail(&mut job.run("--until-caught-up"));
        assert!(said.contains("Read-only file system") && said.contains("state"), "{said}");
        assert!(said.contains("let this user write there"), "{said}");
        // The second time there is something in it.
        assert!(disk.again("remount,rw"));
        job.holds();
    }
}

#[test]
fn a_read_only_folder_ends_the_run_until_it_may_be_written() {
    let mut job = Job::new();
    let Some(disk) = Mount::new(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"], &job.path("lake")) else { return };
    assert!(disk.again("remount,ro"));
    let read_only = |said: &str| {
        assert!(said.contains("Read-only file system") && said.contains("lake"), "{said}");
        assert!(said.contains("let this user write there"), "{said}");
    };
    read_only(&fail(&mut job.run("--until-caught-up")));
    assert!(disk.again("remount,rw"));
    let mut host = Host::start(&mut job.run("--follow"));
    host.wait_for("committed epoch=");
    // While a file is open for writing it cannot be.
    wait_until("the disk is read-only", || disk.again("remount,ro"));
    job.write(100);
    read_only(&job.ends(&mut host));
    assert!(disk.again("remount,rw"));
    job.holds();
}

/// Makes each sync take longer than a host may be silent in its group.
const SLOW_SYNC: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd) { sleep(3); return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { sleep(3); return syscall(SYS_fsync, fd); }
"#;

#[test]
fn a_slow_disk_slows_the_run_and_throws_nobody_out_of_the_group() {
    let kafka = Kafka::shared();
    kafka.create_topic("slow-disk", 2);
    let job = Job::new();
    let pipeline = format!(
        r#"
name = "slow-disk"
data = "state"
workers = 2
epoch = {{ interval = "100ms" }}

[source.events]
kafka   = {{ brokers = "{}", topic = "slow-disk", group = "slow-disk"{SHORT_SESSION} }}
format  = "json"
columns = {{ id = "int64" }}

[output.lake]
from    = "source.events"
parquet = {{ path = "lake", max_age = "200ms" }}
"#,
        kafka.brokers()
    );
    put(&job.path("pipeline.toml"), pipeline);
    let produce = |ids: std::ops::Range<i64>| kafka.produce("slow-disk", 2, ids.map(|id| format!("{{\"id\":{id}}}")));
    produce(0..1_000);
    let mut run = job.run("--follow");
    job.preload(&mut run, SLOW_SYNC);
    let mut host = Host::start(&mut run);
    host.wait_for("committed epoch=");
    produce(1_000..2_000);
    let all = [Some(1_000), Some(1_000)];
    wait_until("all rows are committed", || kafka.committed_offsets("slow-disk", "slow-disk", 2) == all);
    let said = host.finish();
    assert!(!said.contains("took this host's partitions"), "{said}");
    assert!(!said.contains("goes back to the last commit"), "{said}");
    succeed(&mut job.run("--until-caught-up"));
    assert_eq!(each_once(lake_ids(&job.path("lake"))), (0..2_000).collect::<Vec<_>>());
}

/// Puts the wall clock off by so many seconds as stand in the file of `CLOCK_OFF`.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (failed || clock != CLOCK_REALTIME) return failed;
    char seconds[32] = {0};
    int file = open(getenv("CLOCK_OFF"), O_RDONLY);
    if (file < 0) return 0;
    if (read(file, seconds, sizeof seconds - 1) > 0) now->tv_sec += atol(seconds);
    close(file);
    return 0;
}
"#;

#[test]
fn a_wall_clock_that_jumps_loses_nothing_and_keeps_no_file_open() {
    let mut job = Job::new();
    let mut run = job.run("--follow");
    run.args(["--set", "output.lake.parquet.max_age=1h"]);
    job.preload(&mut run, CLOCK);
    let mut host = Host::start(run.env("CLOCK_OFF", job.path("off")));
    host.wait_for("read=1000 out=1000");
    for year in [2060, 2005, 2070] {
        // The rows before wait in a file that is open: it is too old by then, or of a future that is not there any more.
        let in_lake = || i64::try_from(lake_ids(&job.path("lake")).len()).unwrap();
        assert!(in_lake() < job.rows, "the last rows wait");
        let in_july = ((year - 1970) * 365 + 200) * 24 * 3_600;
        put(&job.path("off"), (in_july - SystemClock.now_ms() / 1_000).to_string());
        wait_until("the file is closed", || in_lake() == job.rows);
        job.write(1);
        let said = host.wait_for("read=1 out=1");
        assert!(said.starts_with(&format!("{year}-")), "{said}");
    }
    host.finish();
    job.holds();
}

#[test]
fn a_staged_file_that_the_disk_changed_is_not_published() {
    let job = Job::new();
    job.kill_at("committed:1", &[]);
    let [file] = &job.staged(".staged")[..] else { panic!("one file is staged") };
    flip(file, 100);
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("its checksum does not match") && said.contains(".staged"), "{said}");
    assert!(said.contains("restore the file from a copy"), "{said}");
    flip(file, 100);
    let whole = fs::read(file).unwrap();
    fs::write(file, &whole[..whole.len() - 10]).unwrap();
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("bytes instead of") && said.contains(".staged"), "{said}");
    fs::write(file, whole).unwrap();
    job.holds();
}

#[test]
fn spooled_rows_that_the_disk_changed_are_not_taken_for_rows() {
    let mut job = Job::new();
    let mut host = Host::start(job.run("--follow").args(["--set", "output.lake.parquet.max_age=1h"]));
    host.wait_for("committed epoch=");
    job.write(100);
    host.wait_for("committed epoch=");
    host.kill();
    let spooled = job.staged(".spool");
    assert!(!spooled.is_empty());
    flip(&spooled[0], 60);
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("is damaged") && said.contains(".spool") && said.contains("help"), "{said}");
    flip(&spooled[0], 60);
    job.holds();
}

#[test]
fn a_commit_that_the_disk_changed_is_passed_by_only_when_that_is_safe() {
    // Nothing of the epoch is in the lake: as if it never was.
    let mut job = Job::new();
    job.kill_at("committed:1", &[]);
    flip(&job.path("state/commit.log"), 50);
    let again = succeed(&mut job.run("--until-caught-up"));
    assert!(text(&again.stderr).contains("ends in a torn line"), "{}", text(&again.stderr));
    // Its files are: they would come twice.
    job.write(100);
    job.kill_at("published:2", &[]);
    let log = job.path("state/commit.log");
    let end = fs::metadata(&log).unwrap().len();
    flip(&log, end - 20);
    for _ in 0..2 {
        let said = fail(&mut job.run("--until-caught-up"));
        assert!(said.contains("damaged line behind epoch 1") && said.contains("is of epoch 2"), "{said}");
        assert!(said.contains("restore the data folder from a copy"), "{said}");
    }
    flip(&log, end - 20);
    job.holds();
    // A line in the middle.
    flip(&log, 50);
    let said = fail(&mut job.run("--until-caught-up"));
    assert!(said.contains("damaged at byte 0") && said.contains("restore the data folder"), "{said}");
    flip(&log, 50);
    job.holds();
}
