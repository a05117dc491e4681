//! Promises: each ready-made plugin does what DuckDB's SQL says, on the orders of examples/ready-made and on many more;
//! and the value of a secret is in no file and no line that a run leaves behind.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_tests::host::{fail, millstream, repository, succeed, truth};
use millstream_tests::lake;

/// The key of tests/truth/masked.py.
const KEY: &str = "correct horse battery staple 0123";

/// Enough for several batches.
const ORDERS: u64 = 20_000;

#[test]
fn clean() {
    is_true("clean", &["orders"]);
}

#[test]
fn url() {
    is_true("url", &["orders"]);
}

#[test]
fn mask() {
    is_true("mask", &["orders"]);
}

#[test]
fn route() {
    is_true("route", &["purchases", "views", "others"]);
}

#[test]
fn explode() {
    is_true("explode", &["orders"]);
}

/// Runs an example on its own orders, and on many, and holds the lakes against DuckDB's SQL.
fn is_true(plugin: &str, outputs: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let many = folder.path().join("many.jsonl");
    fs::write(&many, orders(ORDERS)).expect("the orders");
    let own = repository().join("examples/ready-made/orders.jsonl");
    for (name, events) in [("own", own), ("many", many)] {
        let folder = folder.path().join(name);
        let (lake, summary) = (folder.join("lake"), folder.join("summary.json"));
        fs::create_dir(&folder).expect("the folder");
        let mut run = run(plugin, outputs, &folder);
        run.arg("--set").arg(format!("source.orders.file.path={}", events.display()));
        succeed(run.arg("--summary").arg(&summary));
        let mut compare = truth(&format!("ready-made-{plugin}"), &lake);
        succeed(compare.arg("--events").arg(&events).arg("--summary").arg(&summary));
    }
}

/// `millstream run` of an example, with state and lake in a folder.
fn run(plugin: &str, outputs: &[&str], folder: &Path) -> Command {
    let mut run = millstream();
    run.arg("run").arg(repository().join(format!("examples/ready-made/{plugin}.toml"))).arg("--until-caught-up");
    run.env("MASK_KEY", KEY).arg("--set").arg(format!("data={}", folder.join("state").display()));
    let lake = folder.join("lake");
    for output in outputs {
        run.arg("--set").arg(format!("output.{output}.parquet.path={}", lake.join(output).display()));
    }
    run.arg("--set").arg(format!("rejects.file.path={}", lake.join("rejects").display()));
    run
}

/// Orders of all kinds of good and bad values, each with each other kind of the other columns.
fn orders(count: u64) -> String {
    let emails = ["\" Anna@Example.com \"", "null", "\"b@c\"", "\"no address\"", "\"MÜLLER@bücher.example\"", "\"\""];
    let ages = ["\"34\"", "\" 7 \"", "\"121\"", "\"-1\"", "\"x\"", "null", "\"99999\"", "\"+5\"", "\"1.5\""];
    let times = [
        "\"2025-06-01T12:00:00Z\"",
        "\"2025-06-01 12:00:00.125+02:00\"",
        "\"2024-12-31T23:59:59Z\"",
        "\"soon\"",
        "\"2025-06-01\"",
    ];
    let prices =
        ["\"12.50\"", "\"0.00\"", "\"7\"", "\"free\"", "\"1.005\"", "\"3.1000\"", "\"999999.99\"", "\"1000000\""];
    let countries = ["\"de\"", "\" FR\"", "\"\"", "null", "\"gb\"", "\"ö\"", "\"  \""];
    let kinds = ["view", "purchase", "refund", "vie", "vxew", "other"];
    let hosts = ["shop.example", "Shop.EXAMPLE:8080", "me:pw@a.example", "[2001:db8::1]:80", "bücher.example:"];
    let paths = ["", "/", "/a/b%20c", "/tea|x"];
    let queries = ["", "?", "?utm_source=a", "?q=a%20b&utm_medium=b&x=1", "?x=1&q=c+d&q=e&gclid", "?q", "?&&y=2&"];
    let fragments = ["", "#", "#top?q=no"];
    let ips = ["\"192.168.17.200\"", "\"2001:db8:1:2::3\"", "null", "\"10.0.0.999\"", "\"::ffff:10.1.2.3\"", "\"\""];
    let items = [
        "[]",
        "null",
        "[{\"sku\": \"a\", \"quantity\": 1}]",
        "[{\"sku\": \"b\", \"quantity\": null}, {\"sku\": \"c\", \"quantity\": 3}, {\"sku\": \"ü\", \"quantity\": -1}]",
    ];
    // A generator of its own, so that the rows are the same everywhere (Knuth's constants).
    let mut state: u64 = 1;
    let mut pick = |from: &[&'static str]| -> &'static str {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[usize::try_from(state >> 33).expect("31 bits") % from.len()]
    };
    let mut lines = String::new();
    for id in 0..count {
        let address = match id % 11 {
            0 => pick(&["shop.example/a", "https://", "", "https://?x"]).to_owned(),
            _ => format!(
                "{}://{}{}{}{}",
                pick(&["https", "HTTP"]),
                pick(&hosts),
                pick(&paths),
                pick(&queries),
                pick(&fragments)
            ),
        };
        let (email, age, placed, price) = (pick(&emails), pick(&ages), pick(&times), pick(&prices));
        let (country, kind, ip, items) = (pick(&countries), pick(&kinds), pick(&ips), pick(&items));
        writeln!(
            lines,
            "{{\"id\": {id}, \"user_id\": {}, \"email\": {email}, \"age\": {age}, \"placed\": {placed}, \"price\": {price}, \
             \"country\": {country}, \"kind\": \"{kind}\", \"url\": \"{address}\", \"ip\": {ip}, \"note\": \"n\", \"items\": {items}}}",
            id % 97
        )
        .expect("a String takes it");
    }
    lines
}

/// Every way in which the key's bytes may be written down.
fn forms(key: &str) -> Vec<Vec<u8>> {
    let hex: String = key.bytes().fold(String::new(), |all, byte| format!("{all}{byte:02x}"));
    let bytes: Vec<String> = key.bytes().map(|byte| byte.to_string()).collect();
    vec![
        key.as_bytes().to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        bytes.join(", ").into_bytes(),
    ]
}

/// Fails when the key is in some bytes.
fn without(key: &str, bytes: &[u8], place: &str) {
    for form in forms(key) {
        assert!(!bytes.windows(form.len()).any(|window| window == form), "the key is in {place}");
    }
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_secret_is_in_no_file_and_no_line_of_a_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let summary = folder.path().join("summary.json");
    let mut run = run("mask", &["orders"], folder.path());
    run.env("MILLSTREAM_LOG", "trace").arg("--summary").arg(&summary);
    // Nothing is compressed, so that bytes are found as they are.
    run.args(["--set", "output.orders.parquet.compression=none"]);
    let done = succeed(&mut run);
    without(KEY, &done.stdout, "what the run prints");
    without(KEY, &done.stderr, "the log");
    let files = files(folder.path());
    for part in ["state", "orders", "rejects", "summary.json"] {
        assert!(files.iter().any(|file| file.to_string_lossy().contains(part)), "{part} is missing in {files:?}");
    }
    for file in files {
        without(KEY, &fs::read(&file).expect("the file"), &file.display().to_string());
    }
    let mut check = millstream();
    check.arg("check").arg(repository().join("examples/ready-made/mask.toml")).env("MASK_KEY", KEY);
    let done = succeed(&mut check);
    without(KEY, &done.stdout, "what `check` prints");
    without(KEY, &done.stderr, "what `check` says");
    assert!(!done.stdout.is_empty());
}

/// The plugin's own message quotes the value; what is shown has the secret's name in its place.
#[test]
fn a_secret_in_the_wrong_place_is_not_told() {
    let file = repository().join("examples/ready-made/mask.toml");
    let mut check = millstream();
    check.arg("check").arg(&file).env("MASK_KEY", KEY);
    let said = fail(check.args(["--set", "stage.mask.config.columns.ip={ way = { secret = \"MASK_KEY\" } }"]));
    // A line's end may fall between the words.
    let words: Vec<&str> = said.split_whitespace().filter(|word| *word != "│").collect();
    assert!(words.join(" ").contains("(secret MASK_KEY)"), "{said}");
    without(KEY, said.as_bytes(), "the problem");
}

#[test]
fn a_secret_that_is_missing_is_a_problem_with_a_place_and_a_way_out() {
    let mut check = millstream();
    check.arg("check").arg(repository().join("examples/ready-made/mask.toml")).env_remove("MASK_KEY");
    let said = fail(&mut check);
    for part in ["the environment has no secret MASK_KEY", "key = { secret = \"MASK_KEY\" }", "export MASK_KEY=.."] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
}

/// The same plan under another key has the same fingerprint: the value is no part of it.
#[test]
fn a_secret_is_no_part_of_the_fingerprint() {
    // Paths of outputs are part of it, so both runs have the same.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fingerprint = |key: &str| {
        succeed(run("mask", &["orders"], folder.path()).env("MASK_KEY", key));
        let file = lake::files(&folder.path().join("lake/orders")).into_iter().next();
        let bytes = fs::read(file.expect("a file of the lake")).expect("the file");
        for part in ["lake", "state"] {
            fs::remove_dir_all(folder.path().join(part)).expect("lake and state");
        }
        let footer = String::from_utf8_lossy(&bytes).into_owned();
        let (_, behind) = footer.split_once("millstream.plan.fingerprint").expect("the fingerprint in the footer");
        let digits = behind.chars().skip_while(|c| !c.is_ascii_hexdigit()).take_while(char::is_ascii_hexdigit);
        let digits: String = digits.collect();
        assert_eq!(digits.len(), 64, "{digits}");
        digits
    };
    assert_eq!(fingerprint(KEY), fingerprint(&KEY.replace('0', "9")));
}
