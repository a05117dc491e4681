#!/bin/sh
# Runs compare.py, or `same`.py, with a Python that has DuckDB. The first time it makes one, in the cache folder; pip needs the network then.
set -eu
DUCKDB=2.0.0
cache="${MILLSTREAM_CACHE:-$HOME/.cache/millstream}"
venv="$cache/duckdb-$DUCKDB"
mkdir -p "$cache"
# Tests run side by side: one makes it, the others wait.
exec 9>"$cache/duckdb.lock"
flock 9
if ! "$venv/bin/python" -c "import duckdb" 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "duckdb==$DUCKDB"
fi
exec 9>&-
script=compare.py
if [ "${1:-}" = same ]; then
    script=same.py
    shift
fi
exec "$venv/bin/python" "$(dirname "$0")/$script" "$@"
