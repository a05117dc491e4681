#!/bin/sh
# Runs a script with a Python that has DuckDB and pyarrow, and pytz, which DuckDB needs for time zones. The first time it makes one, in the cache folder; pip needs the
# network then.
#
#     tests/truth/python.sh SCRIPT ARGUMENTS...
set -eu
DUCKDB=2.0.0
PYARROW=26.0.1
cache="${MILLSTREAM_CACHE:-$HOME/.cache/millstream}"
venv="$cache/duckdb-$DUCKDB-pyarrow-$PYARROW"
mkdir -p "$cache"
# Tests run side by side: one makes it, the others wait.
exec 9>"$cache/duckdb.lock"
flock 9
if ! "$venv/bin/python" -c "import duckdb, pyarrow, pytz" 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "duckdb==$DUCKDB" "pyarrow==$PYARROW" pytz
fi
exec 9>&-
exec "$venv/bin/python" "$@"
