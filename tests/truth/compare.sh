#!/bin/sh
# Runs compare.py, or `same`.py, with a Python that has DuckDB.
set -eu
here="$(dirname "$0")"
script=compare.py
if [ "${1:-}" = same ]; then
    script=same.py
    shift
fi
exec "$here/python.sh" "$here/$script" "$@"
