#!/usr/bin/env bash
# `make demo`: the flights example to its end, then once more on a growing file while a plugin is replaced.
set -euo pipefail
cd "$(dirname "$0")"
: "${MILLSTREAM:=millstream}" "${CARGO_TARGET_DIR:=$HOME/.cache/millstream/target}"
state="$(mktemp -d)"
trap 'kill "${run:-}" 2>/dev/null || true; rm -rf "$state"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# Waits until a command succeeds, at most 30 seconds.
await() {
    for _ in $(seq 300); do
        if "$@"; then return; fi
        if [ -n "${run:-}" ] && ! kill -0 "$run" 2>/dev/null; then break; fi
        sleep 0.1
    done
    echo "the demo waited in vain for: $*" >&2
    cat "$state/log" >&2
    exit 1
}

# The plugin with one line changed: kilometres instead of miles.
build_variant() {
    mkdir -p "$variant/src"
    sed -e 's/workspace = true }*/&/' \
        -e "s|^millstream-sdk.workspace = true|millstream-sdk = { path = \"$repository/sdk\" }|" \
        -e '/^\[lints\]/,$d' -e '/workspace = true/d' -e 's/^name = .*/&\nversion = "0.1.0"\nedition = "2024"/' \
        plugins/enrich/Cargo.toml >"$state/Cargo.toml"
    printf '\n[workspace]\n' >>"$state/Cargo.toml"
    sed -e 's|flight.distance \* 60 / minutes|flight.distance * 60 * 1609 / 1000 / minutes|' -e '/^#\[cfg(test)\]/,$d' \
        plugins/enrich/src/lib.rs >"$state/lib.rs"
    cmp -s "$state/Cargo.toml" "$variant/Cargo.toml" || cp "$state/Cargo.toml" "$variant/Cargo.toml"
    cmp -s "$state/lib.rs" "$variant/src/lib.rs" || cp "$state/lib.rs" "$variant/src/lib.rs"
    [ -e "$variant/Cargo.lock" ] || cp "$repository/Cargo.lock" "$variant/Cargo.lock"
    "$repository/.ci/build" "building the plugin's variant" build --release --target wasm32-wasip2 --manifest-path "$variant/Cargo.toml"
}
