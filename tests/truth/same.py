"""Holds lakes of the same input against each other: the same rows, each as often, in columns of the same names and types.

    tests/truth/python.sh tests/truth/same.py LAKE LAKE..

Every folder of the first lake is compared with that of each other (EXCEPT ALL, both ways); of the rejects everything but the
plugin's digest. Prints every difference and exits with 1 when there is one.
"""

import sys
from pathlib import Path

import duckdb

# As text: instants with a zone would need a further package.
SHOWN = "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM difference ORDER BY ALL LIMIT 5"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    first, *others = map(Path, sys.argv[1:])
    outputs = sorted(folder.name for folder in first.iterdir())
    problems = []
    for other in others:
        if sorted(folder.name for folder in other.iterdir()) != outputs:
            problems.append(f"{other} has other outputs than {first}")
            continue
        for output in outputs:
            problems += differences(output, first / output, other / output)
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(1)
    rows = {output: duckdb.sql(f"SELECT count(*) FROM ({rows_of(first / output)})").fetchall()[0][0] for output in outputs}
    print(f"{len(others) + 1} lakes are the same: {rows}")


def differences(output, one, other):
    types = [duckdb.sql(f"DESCRIBE {rows_of(lake)}").fetchall() for lake in (one, other)]
    if types[0] != types[1]:
        return [f"{output}: the columns of {one} are not those of {other}"]
    problems = []
    for left, right in ((one, other), (other, one)):
        duckdb.sql(f"CREATE OR REPLACE TABLE difference AS ({rows_of(left)}) EXCEPT ALL ({rows_of(right)})")
        count = duckdb.sql("SELECT count(*) FROM difference").fetchall()[0][0]
        if count:
            problems.append(f"{output}: {count} rows of {left} are not in {right}, such as")
            problems += [f"    {row}" for row in duckdb.sql(SHOWN).fetchall()]
    return problems


def rows_of(folder):
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = false, union_by_name = true)"
    return f"SELECT COLUMNS(lambda name: name <> 'digest') FROM {files}"


if __name__ == "__main__":
    main()
