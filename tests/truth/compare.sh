#!/bin/sh
# Runs compare.py with a Python that has DuckDB.
set -eu
here="$(dirname "$0")"
exec "$here/python.sh" "$here/compare.py" "$@"
