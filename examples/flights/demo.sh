#!/usr/bin/env bash
# `make demo`: the flights example to its end, then once more on a growing file while a plugin is replaced.
set -euo pipefail
cd "$(dirname "$0")"
: "${MILLSTREAM:=millstream}" "${CARGO_TARGET_DIR:=$HOME/.cache/millstream/target}"
work="$(mktemp -d)"
mkdir "$work/lake"
run=""
trap '[ -z "$run" ] || kill "$run" 2>/dev/null || true; rm -rf "$work"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# Waits until a command succeeds, at most 30 seconds.
await() {
    for _ in {1..300}; do
        if "$@"; then return; fi
        kill -0 "$run" 2>/dev/null || break
        sleep 0.1
    done
    printf 'the demo waited in vain for: %s\n' "$*" >&2
    cat "$work/log" >&2
    exit 1
}

digest_of() { sha256sum "$1" | cut -c -64; }

# Every file's footer names the plugins that made it.
files_of() { find "$work/lake" -name "*.parquet" -exec grep -l -a -e "$1" {} + || true; }
any_file_of() { [ -n "$(files_of "$1")" ]; }

# The enrich plugin with one line changed: its speeds are kilometres an hour.
build_variant() {
    ../../.ci/build "building a variant of one plugin" build --release --target wasm32-wasip2 -p enrich-flights \
        --features enrich-flights/kilometres
    cp "$CARGO_TARGET_DIR/wasm32-wasip2/release/enrich_flights.wasm" "$work/variant.wasm"
}

whole_month() {
    say "1. The plan: which columns flow where"
    "$MILLSTREAM" check flights.toml
    say "2. January 2013: 27,004 flights out of New York, real gaps included"
    rm -rf lake state
    "$MILLSTREAM" --log warn run flights.toml --until-caught-up
    printf '\nLook at them with DuckDB, Spark, Trino or pandas:\n'
    printf "    duckdb -c \"SELECT airline, count(*) AS late, avg(arr_delay)::INT AS minutes FROM '%s/lake/delayed/**/*.parquet' GROUP BY ALL ORDER BY late DESC\"\n" "$PWD"
}

# The first half of the month is there at the start, the second half comes after the swap.
swap() {
    say "3. The same on a growing file, while a plugin is replaced"
    gzip -dc data/flights-2013-01.csv.gz >"$work/all.csv"
    sed -n '1,13500p' "$work/all.csv" >"$work/growing.csv"
    cp plugins/enrich/enrich_flights.wasm "$work/enrich.wasm"
    local before after
    before="$(digest_of "$work/enrich.wasm")" after="$(digest_of "$work/variant.wasm")"
    local settings=(--set "data=$work/state" --set epoch.interval=200ms --set "rejects.file.path=$work/lake/rejects"
        --set "source.flights.file.path=$work/growing.csv" --set "stage.enrich.plugin.file=$work/enrich.wasm")
    for output in on_time delayed cancelled; do
        settings+=(--set "output.$output.parquet.path=$work/lake/$output" --set "output.$output.parquet.max_age=300ms")
    done
    "$MILLSTREAM" --log info run flights.toml --follow --no-progress "${settings[@]}" >"$work/summary" 2>"$work/log" &
    run=$!
    await any_file_of "$before"
    echo "half of the month is in the lake, made by enrich ${before:0:12}"
    mv "$work/variant.wasm" "$work/enrich.wasm"
    await grep -q "swap: in place" "$work/log"
    grep "swap: " "$work/log" | sed 's/^/    /'
    sed -n '13501,$p' "$work/all.csv" >>"$work/growing.csv"
    # The month's last record is a flight that was cancelled on the 31st.
    await test -d "$work/lake/cancelled/day=2013-01-31"
    kill -TERM "$run"
    wait "$run"
    run=""
    for digest in "$before" "$after"; do
        printf '%4d files by enrich %s, such as %s\n' "$(files_of "$digest" | wc -l)" "${digest:0:12}" \
            "$(files_of "$digest" | sed "s|$work/||" | sort | head -n 1)"
    done
    tail -n 2 "$work/summary"
}

build_variant
whole_month
swap
say "Now yours: README.md, \"Change a plugin while it runs\""
