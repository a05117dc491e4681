//! Promise: the lake is exactly what DuckDB makes of the same input, for both examples.

use millstream_tests::host::{Clicks, millstream, repository, succeed, text, truth};

#[test]
fn flights() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, summary) = (folder.path().join("lake"), folder.path().join("summary.json"));
    let mut run = millstream();
    run.arg("run").arg(repository().join("examples/flights/flights.toml")).args(["--until-caught-up", "--summary"]);
    run.arg(&summary).arg("--set").arg(format!("data={}", folder.path().join("state").display()));
    for output in ["on_time", "delayed", "cancelled"] {
        run.arg("--set").arg(format!("output.{output}.parquet.path={}", lake.join(output).display()));
    }
    run.arg("--set").arg(format!("rejects.file.path={}", lake.join("rejects").display()));
    let said = text(&succeed(&mut run).stdout);
    assert!(said.contains("conserved: in "), "{said}");
    succeed(truth("flights", &lake).arg("--summary").arg(&summary));
}

#[test]
fn clicks_from_a_file() {
    let clicks = Clicks::new();
    let summary = clicks.folder.path().join("summary.json");
    succeed(clicks.run().args(["--until-caught-up", "--summary"]).arg(&summary));
    clicks.check_and_reset(Some(&summary));
}

#[test]
fn clicks_under_and_over_the_memory_of_their_tables() {
    let clicks = Clicks::new();
    for (memory, path) in [("1 GiB", "served from resident"), ("1 KiB", "served from rocksdb")] {
        let mut run = clicks.run();
        run.arg("--until-caught-up");
        for table in ["users", "urls", "devices"] {
            run.arg("--set").arg(format!("dimension.{table}.memory={memory}"));
        }
        let said = text(&succeed(&mut run).stdout);
        assert_eq!(said.matches(path).count(), 3, "{memory}: {said}");
        clicks.check_and_reset(None);
    }
}
