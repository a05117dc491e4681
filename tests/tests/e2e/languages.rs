//! Promise: a stage is the same stage in Rust, Python and JavaScript. The tools of the latter two come from PyPI and npm, the
//! first time (`.ci/plugins-python-js`).

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use millstream_tests::host::{Clicks, fail, millstream, python, repository, succeed, text};

/// The components of `clean`, below examples/clicks/plugins.
const CLEAN: [&str; 3] = [
    "clean/clean_clicks.wasm",
    "clean-python/clean_clicks_python.wasm",
    "clean-javascript/clean_clicks_javascript.wasm",
];

/// Addresses and agents that the generator does not make.
const ODD: [(&str, &str); 12] = [
    ("https://shop.example/grüße?größe=ü&utm_a=é&x=😀", "Mozilla/5.0 ünïcode"),
    ("https://日本.example/茶?", "Mozilla/5.0"),
    ("://", "Mozilla/5.0"),
    ("https://", ""),
    ("https://shop.example?", "curl"),
    ("https://shop.example?&&&", "Mozilla/5.0"),
    ("https://shop.example/?utm_a&gclid", "Mozilla/5.0"),
    ("https://shop.example?a/b?c=d://e&utm", "Mozilla/5.0"),
    ("a://b://c/d", "Mozilla/5.0"),
    ("", "Mozilla/5.0"),
    ("shop.example/é", "Mozilla/5.0"),
    ("https://shop.example/\\u0000\\ufeffx?\\u2028=\\u0000", "\\ufeffGooglebot"),
];

/// Builds both components with the host that is tested, and runs the tests of the SDKs, once.
fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let host = millstream().get_program().to_owned();
        succeed(Command::new(repository().join(".ci/plugins-python-js")).env("MILLSTREAM", host));
    });
}

#[test]
fn the_lakes_are_the_same() {
    build();
    let clicks = Clicks::new();
    let at = |path: &str| clicks.folder.path().join(path);
    let mut generate = millstream();
    generate.args(["generate", "clicks", "--events", "200000"]);
    generate.args(["--users", "20000", "--urls", "5000", "--devices", "20000"]);
    succeed(generate.arg("--out").arg(at("clicks.jsonl")));
    add_odd_events(&at("clicks.jsonl"));
    let mut compare = python("same.py");
    for (number, component) in CLEAN.iter().enumerate() {
        let lake = at(&format!("lake-{number}"));
        let mut run = millstream();
        run.current_dir(clicks.folder.path()).args(["run", "clicks.toml", "--no-progress", "--until-caught-up"]);
        // A JavaScript engine takes some 90 MiB before it collects garbage.
        run.args(["--set", "stage.clean.limits.memory=192 MiB"]);
        run.args(["--set", "source.clicks.file.path=clicks.jsonl", "--set"]).arg(format!("data=state-{number}"));
        run.arg("--set").arg(format!("rejects.file.path={}", lake.join("rejects").display()));
        for output in ["purchases", "views"] {
            run.arg("--set").arg(format!("output.{output}.parquet.path={}", lake.join(output).display()));
        }
        let file = at("plugins").join(component);
        let said = text(&succeed(run.arg("--set").arg(format!("stage.clean.plugin.file={}", file.display()))).stdout);
        assert!(said.contains("conserved: in 200012 "), "{component}: {said}");
        compare.arg(&lake);
    }
    let said = text(&succeed(&mut compare).stdout);
    assert!(said.contains("3 lakes are the same"), "{said}");
}

fn add_odd_events(events: &Path) {
    let mut file = fs::OpenOptions::new().append(true).open(events).unwrap();
    for (number, (url, agent)) in ODD.iter().enumerate() {
        writeln!(
            file,
            r#"{{"event_id": "odd-{number}", "ts": "2025-06-01T12:00:00Z", "kind": "view", "user_id": 1, "session": "s", "url": "{url}", "user_agent": "{agent}", "status": 200, "duration_ms": 1}}"#
        )
        .unwrap();
    }
}

#[test]
fn what_a_build_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = fail(millstream().args(["plugin", "build"]).arg(folder.path()));
    assert!(said.contains("has no Cargo.toml, pyproject.toml or package.json"), "{said}");

    fs::write(folder.path().join("pyproject.toml"), "[project]\nname = \"a-b\"\n").unwrap();
    let said = fail(millstream().args(["plugin", "build"]).arg(folder.path()));
    assert!(said.contains("has no module `a_b`") && said.contains("a_b.py here or in src/"), "{said}");
    fs::write(folder.path().join("a_b.py"), "").unwrap();
    let said =
        fail(millstream().args(["plugin", "build"]).arg(folder.path()).env("PATH", "").env_remove("VIRTUAL_ENV"));
    assert!(said.contains("pip install componentize-py=="), "{said}");

    fs::remove_file(folder.path().join("pyproject.toml")).unwrap();
    fs::write(folder.path().join("package.json"), r#"{"name": "a-b"}"#).unwrap();
    let said = fail(millstream().args(["plugin", "build"]).arg(folder.path()).env("PATH", ""));
    assert!(said.contains("install Node.js"), "{said}");
    let said = fail(millstream().args(["plugin", "build"]).arg(folder.path()).env_remove("NODE_PATH"));
    assert!(said.contains("npm install --save-dev @bytecodealliance/componentize-js@"), "{said}");
}
