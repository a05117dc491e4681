//! The hosts that are tortured, each with its own data folder.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use super::pipeline::Place;
use crate::host::millstream;
use crate::patience::{PATIENCE, find_within};

/// Lines of a host's log that a failure shows.
const TAIL_LINES: usize = 30;

/// The signal that `kill` sends.
const SIGTERM: i32 = 15;

/// One host's process.
struct Process {
    child: Child,
    /// It was told to end.
    is_ending: bool,
}

/// All hosts. Killed when they are dropped.
pub struct Hosts<'a> {
    place: &'a Place,
    processes: Vec<Option<Process>>,
}

impl<'a> Hosts<'a> {
    /// None of them runs yet.
    pub fn new(place: &'a Place, hosts: usize) -> Self {
        Self { place, processes: (0..hosts).map(|_| None).collect() }
    }

    /// Starts a host; one that was told to end is waited for.
    pub fn start(&mut self, host: usize) -> Result<(), String> {
        if let Some(mut before) = self.processes[host].take() {
            ended(self.place, host, &mut before.child)?;
        }
        let child = run(self.place, host, "--follow").spawn().expect("the host starts");
        self.processes[host] = Some(Process { child, is_ending: false });
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self, host: usize) {
        if let Some(mut process) = self.processes[host].take() {
            process.kill();
        }
    }

    /// SIGTERM: it finishes its epoch.
    pub fn stop(&mut self, host: usize) {
        if let Some(process) = &mut self.processes[host] {
            process.signal("TERM");
            process.is_ending = true;
        }
    }

    /// SIGSTOP.
    pub fn freeze(&self, host: usize) {
        self.processes[host].iter().for_each(|process| process.signal("STOP"));
    }

    /// SIGCONT.
    pub fn thaw(&self, host: usize) {
        self.processes[host].iter().for_each(|process| process.signal("CONT"));
    }

    /// Fails when a host ended that was not told to.
    pub fn none_ended_alone(&mut self) -> Result<(), String> {
        for (host, process) in self.processes.iter_mut().enumerate() {
            let Some(process) = process.as_mut().filter(|process| !process.is_ending) else { continue };
            if let Some(status) = process.child.try_wait().expect("the host's state") {
                return Err(format!(
                    "host {host} ended by itself, {status}; it said at last\n{}",
                    tail(self.place, host)
                ));
            }
        }
        Ok(())
    }

    /// Stops all and waits for their ends.
    pub fn finish(mut self) -> Result<(), String> {
        self.none_ended_alone()?;
        (0..self.processes.len()).for_each(|host| self.stop(host));
        for host in 0..self.processes.len() {
            if let Some(mut process) = self.processes[host].take() {
                ended(self.place, host, &mut process.child)?;
            }
        }
        Ok(())
    }
}

impl Process {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok(), "kill is there");
    }

    fn kill(&mut self) {
        // One that has ended already is as good.
        drop(self.child.kill());
        self.child.wait().expect("the host's end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill();
        }
    }
}

fn run(place: &Place, host: usize, how: &str) -> Command {
    let log = log(place, host);
    let mut run = millstream();
    run.arg("--log")
        .arg("info,millstream=debug")
        .arg("run")
        .arg(place.file("torture.toml"))
        .args([how, "--no-progress"]);
    run.arg("--set").arg(format!("data={}", place.data(host).display()));
    run.stdout(Stdio::null()).stderr(log);
    run
}

fn log(place: &Place, host: usize) -> File {
    let path = place.file(&format!("host-{host}.log"));
    OpenOptions::new().create(true).append(true).open(path).expect("the host's log")
}

/// Waits for a host's end, which has to be a good one.
fn ended(place: &Place, host: usize, child: &mut Child) -> Result<(), String> {
    let status =
        wait(child).ok_or_else(|| format!("host {host} does not end; it said at last\n{}", tail(place, host)))?;
    // One that was told to end before it listened to signals ended by this one.
    if status.success() || status.signal() == Some(SIGTERM) {
        return Ok(());
    }
    Err(format!("host {host} ended badly, {status}; it said at last\n{}", tail(place, host)))
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    find_within(PATIENCE, || child.try_wait().expect("the host's state"))
}

/// The last lines of a host's log.
fn tail(place: &Place, host: usize) -> String {
    let log = fs::read_to_string(place.file(&format!("host-{host}.log"))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// What the hosts counted since they exist.
#[derive(Debug, Default)]
pub struct Quiet {
    /// Commits.
    pub commits: u64,
    /// Records.
    pub read: u64,
    /// Rows left out.
    pub filtered: u64,
    /// Rows refused.
    pub rejected: u64,
    /// Rows written, by all outputs.
    pub out: u64,
    /// Rows beyond one a record.
    pub multiplied: u64,
}

impl Quiet {
    /// Adds what another host counted.
    pub fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.read += other.read;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.out += other.out;
        self.multiplied += other.multiplied;
    }
}

/// Runs a host to the end of what there is, and says what it counted: its last commit does.
pub fn catch_up(place: &Place, host: usize) -> Result<Quiet, String> {
    let mut child = run(place, host, "--until-caught-up").spawn().expect("the host starts");
    ended(place, host, &mut child)?;
    let path = place.data(host).join("commit.log");
    let log = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok());
    let last = lines.filter_map(|mut line| line.get_mut("commit").map(Value::take)).next();
    // A host that never got a partition has committed nothing.
    let Some(commit) = last else { return Ok(Quiet::default()) };
    let totals = &commit["totals"];
    let quiet = Quiet {
        commits: sum(&commit["epoch"]),
        read: sum(&totals["read"]),
        filtered: sum(&totals["filtered"]),
        rejected: sum(&totals["rejected"]),
        out: sum(&totals["out"]),
        multiplied: sum(&totals["multiplied"]),
    };
    if quiet.read + quiet.multiplied != quiet.out + quiet.rejected + quiet.filtered {
        return Err(format!("host {host}: in + multiplied is not out + rejected + filtered: {quiet:?}"));
    }
    Ok(quiet)
}

/// All numbers in a value, however deep.
fn sum(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(sum).sum(),
        other => other.as_u64().unwrap_or(0),
    }
}
