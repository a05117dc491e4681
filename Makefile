# make demo    build, and run the flights example with a plugin swapped while it runs
# make test    everything that has to pass: lints, unit tests, a real Kafka, kills, DuckDB's truth
# make bench   examples/clicks from a file and from Kafka with CPU and memory, swaps, many stages, exactly once, latency
# make torture MINUTES=15: hosts, broker and plugins killed, frozen and swapped at random on a real Kafka; HOSTS=3, SEED=n to repeat
# make fuzz    MINUTES=30: what plugins are made of and return, guided by coverage; `make test` replays its corpus
# make mutations  the protocol of the commit broken in eight ways: the tests have to notice each
# make build, plugins, lint, clean
#
# Everything is built in one profile and one folder, outside of the working copy, so that a clean clone builds in seconds
# when another one was built before: RocksDB's C++ alone takes a quarter of an hour.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export MILLSTREAM_CACHE ?= $(HOME)/.cache/millstream
export CARGO_TARGET_DIR ?= $(MILLSTREAM_CACHE)/target
export PATH := $(PATH):$(HOME)/.cargo/bin
export MILLSTREAM := $(CARGO_TARGET_DIR)/release/millstream

.PHONY: help setup setup-test build plugins demo test lint lint-licences bench torture fuzz mutations clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup:
	@.ci/setup

setup-test:
	@.ci/setup test

build: setup
	@if [ ! -x "$(MILLSTREAM)" ]; then \
	    echo "The first build takes about 25 minutes on 2 cores (RocksDB and Wasmtime), the next ones seconds."; fi
	@.ci/build "building millstream" build --release --workspace

plugins: setup
	@.ci/plugins

demo: build plugins
	@examples/flights/demo.sh

test: setup-test build plugins lint
	@echo "running the tests"
	@cargo test --release --workspace 2>&1 | tee "$(CARGO_TARGET_DIR)/test.log"
	@awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	    END { printf "all tests: %d passed; %d failed; %d ignored\n", passed, failed, ignored; exit failed > 0 || passed == 0 }' \
	    "$(CARGO_TARGET_DIR)/test.log"

# The same profile as everything else: nothing heavy is compiled a second time.
lint: setup-test lint-licences
	@echo "checking the format"
	@cargo fmt --all --check
	@.ci/build "checking with clippy" clippy --release --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" .ci/build "building the documentation" doc --release --workspace --no-deps

# Licences, duplicates and sources need nothing but the crates; advisories need the network.
lint-licences:
	@if cargo deny --version >/dev/null 2>&1; then \
	    echo "checking licences and sources"; cargo deny --offline --log-level error check bans licenses sources; \
	else echo "licences are not checked: cargo-deny is not installed (cargo install --locked cargo-deny)"; fi

bench: setup-test build plugins
	@python3 tests/bench/clicks.py
	@python3 tests/bench/swaps.py
	@python3 tests/bench/shadow.py
	@python3 tests/bench/stages.py
	@python3 tests/bench/delivery.py
	@tests/example latency

torture: setup-test build
	@tests/example torture $(foreach option,MINUTES HOSTS SEED,$(if $($(option)),--$(shell echo $(option) | tr A-Z a-z) $($(option))))

fuzz: build
	@tests/fuzz/run $(or $(MINUTES),30)

mutations: setup-test
	@tests/mutations/run

# The build's own folder stays: remove $(CARGO_TARGET_DIR) to start from nothing.
clean:
	@rm -rf examples/*/lake* examples/*/state* examples/*/plugins/*/*.wasm plugins/*/*.wasm
	@echo "removed lakes, states and plugins; the build stays in $(CARGO_TARGET_DIR)"
