//! The binary as its user has it: in a folder of its own, started, watched, killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::patience::{PATIENCE, find_within};

/// The repository, as it is now: what was built in one clone may run in another one that shares its target folder.
pub fn repository() -> PathBuf {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this"));
    package.parent().expect("the repository").to_path_buf()
}

/// Where cargo built these tests.
pub fn target() -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path");
    tests.ancestors().nth(3).expect("the target folder").to_path_buf()
}

/// A file that cargo built, beside the tests.
fn built(path: &str) -> PathBuf {
    let file = target().join(path);
    assert!(file.exists(), "{} is not built: `make build plugins` does it", file.display());
    file
}

/// The binary.
pub fn millstream() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BINARY.get_or_init(|| built("release/millstream")));
    command.env_remove("MILLSTREAM_LOG").env_remove("MILLSTREAM_KILL_AT").stdin(Stdio::null());
    command
}

#[path = "../components/component.rs"]
mod built_component;

/// A plugin of tests/components.
pub fn component(name: &'static str) -> Vec<u8> {
    built_component::component(name).to_vec()
}

/// Puts a file in place as a build does: whole, or not at all.
pub fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes).expect("a file");
    fs::rename(&fresh, path).expect("a file");
}

/// Adds a line to a file that grows.
pub fn append(file: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(file).expect("the file");
    writeln!(file, "{line}").expect("a line more");
}

/// A run of a pipeline that ends when it has read all that is there.
pub fn caught_up(pipeline: &Path) -> Command {
    let mut run = millstream();
    run.arg("run").arg(pipeline).args(["--until-caught-up", "--no-progress"]);
    run
}

/// Runs to the end; fails with everything that was said when it does not succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// Runs to the end and expects failure; what it said on stderr.
pub fn fail(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert_eq!(output.status.code(), Some(1), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// Bytes that a process printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running host. Killed when it is dropped.
pub struct Host {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Host {
    /// Starts it and listens to its stderr.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the host starts");
        let stderr = child.stderr.take().expect("the host's stderr");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// A run that follows its sources and says each commit; waits until it runs.
    pub fn follow(pipeline: &Path, set: &[&str]) -> Self {
        let mut run = millstream();
        run.arg("run").arg(pipeline).args(["--follow", "--no-progress", "--log", "info,millstream=debug"]);
        set.iter().for_each(|set| {
            run.args(["--set", set]);
        });
        let mut host = Self::start(&mut run);
        host.wait_for("running");
        host
    }

    /// Waits until it says a line with `what` in it, behind those that were waited for before.
    pub fn wait_for(&mut self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Ok(line) = self.lines.recv_timeout(left) else { break };
            self.said.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
        panic!("the host never said {what:?}; it said\n{}", self.said.join("\n"));
    }

    /// SIGTERM, and the end of it.
    pub fn finish(mut self) -> String {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(killed.success(), "the host is not there any more; it said\n{}", self.rest());
        let status = self.wait();
        assert!(status.success(), "{status}; it said\n{}", self.rest());
        self.rest()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the host's end")
    }

    /// Its end, if it comes by itself so soon.
    pub fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        find_within(time, || self.ended())
    }

    /// Its end, if it came by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the host's state")
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name]).arg(self.child.id().to_string()).status().expect("kill");
        assert!(sent.success(), "no signal {name} to the host");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the host's end");
    }

    /// Everything that it said on stderr.
    pub fn rest(&mut self) -> String {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(500)) {
            self.said.push(line);
        }
        self.said.join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The clicks example in a folder of its own: pipeline, plugins, tables and some events.
pub struct Clicks {
    /// The folder; gone when this is dropped.
    pub folder: tempfile::TempDir,
}

/// Events of the example in tests: enough for several epochs of 100 ms.
const EVENTS: &str = "600000";

impl Clicks {
    /// Makes the folder; tables and events are made once for all tests.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let example = repository().join("examples/clicks");
        fs::copy(example.join("clicks.toml"), folder.path().join("clicks.toml")).expect("the pipeline file");
        std::os::unix::fs::symlink(example.join("plugins"), folder.path().join("plugins")).expect("the plugins");
        std::os::unix::fs::symlink(Self::data(), folder.path().join("data")).expect("the data");
        Self { folder }
    }

    /// The events and tables that all tests share.
    pub fn data() -> &'static Path {
        static DATA: OnceLock<tempfile::TempDir> = OnceLock::new();
        DATA.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let out = folder.path().join("clicks.jsonl.zst");
            let mut generate = millstream();
            generate.args(["generate", "clicks", "--events", EVENTS, "--users", "20000", "--urls", "5000"]);
            generate.args(["--devices", "20000", "--out"]).arg(&out).arg("--dimensions").arg(folder.path());
            succeed(&mut generate);
            folder
        })
        .path()
    }

    /// `millstream run clicks.toml` here.
    pub fn run(&self) -> Command {
        let mut command = millstream();
        command.current_dir(self.folder.path()).args(["run", "clicks.toml", "--no-progress"]);
        command.args(["--set", "workers=2", "--set", "epoch.interval=100ms"]);
        command
    }

    /// Compares the lake with what DuckDB makes of the same input; empties it, with everything that the host knows.
    pub fn check_and_reset(&self, summary: Option<&Path>) {
        let mut compare = truth("clicks", &self.folder.path().join("lake"));
        compare.arg("--events").arg(Self::data().join("clicks.jsonl.zst")).arg("--data").arg(Self::data());
        if let Some(summary) = summary {
            compare.arg("--summary").arg(summary);
        }
        succeed(&mut compare);
        for folder in ["lake", "state"] {
            fs::remove_dir_all(self.folder.path().join(folder)).expect("the lake and the data folder");
        }
    }
}

impl Default for Clicks {
    fn default() -> Self {
        Self::new()
    }
}

/// tests/truth/compare.sh for an example's lake.
pub fn truth(example: &str, lake: &Path) -> Command {
    let mut command = Command::new(repository().join("tests/truth/compare.sh"));
    command.arg(example).arg("--lake").arg(lake);
    command
}

/// A script of tests/truth, run by a Python that has DuckDB and pyarrow.
pub fn python(script: &str) -> Command {
    let truth = repository().join("tests/truth");
    let mut command = Command::new(truth.join("python.sh"));
    command.arg(truth.join(script));
    command
}
