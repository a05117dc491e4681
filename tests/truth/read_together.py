"""Reads all Parquet files of a folder as one table, with DuckDB and with pyarrow, as a user of the lake does after the
columns changed. Prints by reader the columns and the rows, in the order of `id`, as JSON.

    read_together.py LAKE
"""

import json
import pathlib
import sys

import duckdb
import pyarrow
import pyarrow.dataset
import pyarrow.parquet


def with_duckdb(files):
    table = duckdb.sql("SELECT * FROM read_parquet($1, union_by_name = true) ORDER BY id", params=[files])
    return table.columns, table.fetchall()


def with_pyarrow(files):
    schema = pyarrow.unify_schemas([pyarrow.parquet.read_schema(file) for file in files])
    table = pyarrow.dataset.dataset(files, schema=schema).to_table().sort_by("id")
    return table.column_names, [tuple(row.values()) for row in table.to_pylist()]


def main():
    files = sorted(str(path) for path in pathlib.Path(sys.argv[1]).glob("**/*.parquet"))
    read = {}
    for name, reader in (("duckdb", with_duckdb), ("pyarrow", with_pyarrow)):
        columns, rows = reader(files)
        read[name] = [dict(zip(columns, row)) for row in rows]
    print(json.dumps(read))


main()
