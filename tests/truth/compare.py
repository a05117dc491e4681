"""Holds a lake against the truth: DuckDB's SQL (flights.sql, clicks.sql, ready-made-*.sql) over the same raw input.

    tests/truth/compare.sh flights --lake examples/flights/lake
    tests/truth/compare.sh clicks --lake LAKE --events 'clicks.jsonl.zst' --data FOLDER_OF_TABLES
        [--summary SUMMARY.json]

Each output must hold the expected rows, each as often as expected (EXCEPT ALL, both ways), in columns of the expected
names and types; the rejects must be as many as expected for each reason; with a run's summary, so must its counts of
records read, of rejected and of filtered rows. Prints every difference and exits with 1 when there is one. compare.sh
runs it with a Python that has DuckDB.
"""

import argparse
import json
import sys
from pathlib import Path

import duckdb
import masked

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"
FLIGHTS = EXAMPLES / "flights" / "data"
OUTPUTS = {
    "flights": ["on_time", "delayed", "cancelled"],
    "clicks": ["purchases", "views"],
    "ready-made-clean": ["orders"],
    "ready-made-url": ["orders"],
    "ready-made-mask": ["orders"],
    "ready-made-route": ["purchases", "views", "others"],
    "ready-made-explode": ["orders"],
}
SHOWN_ROWS = 5


def main():
    arguments = parse_arguments()
    truth = duckdb.connect()
    truth.execute("SET VARIABLE events = ?", [str(arguments.events)])
    truth.execute("SET VARIABLE data = ?", [str(arguments.data)])
    if arguments.example == "ready-made-mask":
        masked.make(truth)
    truth.execute((HERE / f"{arguments.example}.sql").read_text())
    problems = []
    for output in OUTPUTS[arguments.example]:
        problems += compare_output(truth, output, arguments.lake / output)
    problems += compare_rejects(truth, arguments.rejects or arguments.lake / "rejects")
    if arguments.summary:
        problems += compare_summary(truth, json.loads(arguments.summary.read_text()))
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(1)
    print(f"{arguments.example}: the lake is exactly what DuckDB makes of the same input")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=OUTPUTS)
    parser.add_argument("--lake", type=Path, required=True, help="the folder above the outputs' folders")
    parser.add_argument("--events", default=FLIGHTS / "flights-2013-01.csv.gz", help="the raw events: a file or a glob")
    parser.add_argument("--data", type=Path, default=FLIGHTS, help="the folder of the tables")
    parser.add_argument("--rejects", type=Path, help="the folder of the rejects, by default LAKE/rejects")
    parser.add_argument("--summary", type=Path, help="what `millstream run --summary` wrote")
    return parser.parse_args()


def compare_output(truth, output, folder):
    expected = truth.sql(f"DESCRIBE expected_{output}").fetchall()
    if not any(folder.rglob("*.parquet")):
        rows = truth.sql(f"SELECT count(*) FROM expected_{output}").fetchall()[0][0]
        return [f"{output}: {rows} rows expected, no file in {folder}"] if rows else []
    found = f"SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = false)"
    problems = different_columns(output, expected, truth.sql(f"DESCRIBE {found}").fetchall())
    if problems:
        return problems
    names = ", ".join(f'"{column[0]}"' for column in expected)
    truth.execute(f"CREATE OR REPLACE TABLE found AS SELECT {names} FROM ({found})")
    for title, one, other in [("missing", f"expected_{output}", "found"), ("unexpected", "found", f"expected_{output}")]:
        truth.execute(f"CREATE OR REPLACE TABLE difference AS FROM {one} EXCEPT ALL FROM {other}")
        rows = truth.sql("SELECT count(*) FROM difference").fetchall()[0][0]
        if rows:
            examples = truth.sql(f"SELECT COLUMNS(*)::VARCHAR FROM difference ORDER BY ALL LIMIT {SHOWN_ROWS}").fetchall()
            problems.append(f"{output}: {rows} rows {title}, such as")
            problems += [f"    {row}" for row in examples]
    return problems


def different_columns(output, expected, found):
    expected, found = ({column[0]: column[1] for column in columns} for columns in (expected, found))
    problems = [f"{output}: column {name} is missing" for name in expected if name not in found]
    problems += [f"{output}: column {name} is unexpected" for name in found if name not in expected]
    for name in expected:
        if name in found and found[name] != expected[name]:
            problems.append(f"{output}: column {name} is {found[name]}, {expected[name]} expected")
    return problems


def compare_rejects(truth, folder):
    """The rejects' files have a row each: `stage` (null for the decoder) and `reason` are what is compared."""
    found = {}
    if any(folder.rglob("*.parquet")):
        files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = false, union_by_name = true)"
        counts = truth.sql(f"SELECT coalesce(stage, 'decode'), reason, count(*) FROM {files} GROUP BY ALL").fetchall()
        found = {(stage, reason): count for stage, reason, count in counts}
    return different_counts("rejected", expected_counts(truth, "rejects"), found)


def compare_summary(truth, summary):
    """A run's own counts, when one run read all of the input."""
    problems = [] if summary["conserved"] else ["the run's own counts are not conserved"]
    for kind, table in [("filtered", "filtered"), ("rejected", "rejects")]:
        found = {}
        for place, reasons in summary[kind].items():
            for reason, count in reasons.items():
                found["decode" if place.startswith("source.") else place, reason] = count
        problems += different_counts(f"{kind} (summary)", expected_counts(truth, table), found)
    records = truth.sql("SELECT count FROM expected_in").fetchall()[0][0]
    if summary["in"] != records:
        problems.append(f"in: {records} records expected, {summary['in']} found")
    return problems


def expected_counts(truth, table):
    return {(stage, reason): count for stage, reason, count in truth.sql(f"FROM expected_{table}").fetchall()}


def different_counts(what, expected, found):
    return [
        f"{what}: {expected.get(key, 0)} by {key[0]} with reason {key[1]} expected, {found.get(key, 0)} found"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key, 0) != found.get(key, 0)
    ]


if __name__ == "__main__":
    main()
