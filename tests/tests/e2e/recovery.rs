//! Promise: a `kill -9` costs nothing but time. Whatever step of a commit it hits, the lake is exact in the end.

use std::time::Duration;

use millstream_tests::host::{Clicks, Host, succeed, text};

/// Steps of a commit, and what the next start says of having found it; `transacted`: of the step at which only what goes to
/// topics is true.
pub(crate) fn steps(transacted: &str) -> [(&str, &str); 7] {
    [
        ("prepared", "published_files=0"),
        ("transacted", transacted),
        // The record lies in the page cache, which a killed process leaves whole: as committed.
        ("written", "the last epoch was committed and not finished"),
        ("committed", "the last epoch was committed and not finished"),
        ("published", "the last epoch was committed and not finished"),
        ("manifested", "the last epoch was committed and not finished"),
        ("finished", "published_files=0"),
    ]
}

#[test]
fn a_kill_at_each_step_of_a_commit_loses_and_doubles_nothing() {
    let clicks = Clicks::new();
    // Nothing of this pipeline goes to a topic: see `topics` for those that do.
    for (step, found) in steps("published_files=0") {
        // Only a later epoch has files that stay open behind it, and others that it closes.
        let mut killed = clicks.run();
        killed.args(["--until-caught-up", "--set", "output.views.parquet.target_file=64 KiB"]);
        killed.env("MILLSTREAM_KILL_AT", format!("{step}:2"));
        let output = killed.output().unwrap();
        assert_eq!(output.status.code(), None, "{step}: the run was killed\n{}", text(&output.stderr));
        let again = succeed(clicks.run().arg("--until-caught-up"));
        let log = text(&again.stderr);
        assert!(log.contains(found), "{step}: the next start says what it found: {found:?}\n{log}");
        clicks.check_and_reset(None);
    }
}

#[test]
fn fifty_kills_at_any_time_lose_and_double_nothing() {
    let clicks = Clicks::new();
    let (mut kills, mut runs) = (0_u64, 0);
    while kills < 50 {
        let mut host = Host::start(clicks.run().arg("--until-caught-up"));
        // A fixed walk over the times at which a run of about a second can be hit.
        match host.ends_within(Duration::from_millis(20 + kills * 37 % 400)) {
            None => {
                host.kill();
                kills += 1;
            }
            Some(status) => {
                assert!(status.success(), "{status}\n{}", host.rest());
                clicks.check_and_reset(None);
                runs += 1;
            }
        }
    }
    succeed(clicks.run().arg("--until-caught-up"));
    clicks.check_and_reset(None);
    assert!(runs < 50, "most of the kills hit a run: {runs} ran to their end");
}

#[test]
fn sigterm_finishes_the_epoch() {
    let clicks = Clicks::new();
    let mut host = Host::start(clicks.run().args(["--follow", "--log", "info,millstream=debug"]));
    host.wait_for("committed epoch=");
    let log = host.finish();
    assert!(log.contains("stopping"), "{log}");
    let again = succeed(clicks.run().arg("--until-caught-up"));
    assert!(text(&again.stderr).contains("published_files=0 deleted_files=0"), "{}", text(&again.stderr));
    clicks.check_and_reset(None);
}

#[test]
fn a_data_folder_has_one_host() {
    let clicks = Clicks::new();
    let mut host = Host::start(clicks.run().arg("--follow"));
    host.wait_for("running");
    let second = clicks.run().arg("--follow").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("in use by another running millstream"), "{}", text(&second.stderr));
    host.finish();
}
