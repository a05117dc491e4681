"""`make bench`: what a candidate that is tried beside the stream costs it.

    python3 tests/bench/shadow.py [--events N] [--rounds N] [--every SECONDS]

examples/clicks from a file at full speed, with `swap = "manual"` for the stage `clean`. In turn: without candidates; with two
that take turns in the file, whose compiled code is in the cache, so that what they cost is the shadow alone; with one
candidate after the other that has to be compiled. Each is the stage's component with a custom section more, which changes its
digest and nothing else. All is held, nothing is swapped. Prints a Markdown report, medians of all rounds.
"""

import argparse
import json
import os
import signal
import statistics
import threading

import clicks
import swaps

WORK = clicks.WORK / "shadow"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=float, default=1.0)
    arguments = parser.parse_args()
    data = clicks.WORK / f"data-{arguments.events}"
    clicks.generate(data, arguments.events)
    print(f"## A candidate beside the stream, one every {arguments.every} s\n\n{clicks.machine()}; `tests/bench/shadow.py`\n", flush=True)
    number = iter(range(10**9))
    kinds = {"none": None, "shadow alone": lambda: next(number) % 2, "compiled and shadow": lambda: f"{os.getpid()}-{next(number)}"}
    runs = {kind: [] for kind in kinds}
    # Once for nothing: it fills the cache of compiled code with the two.
    run(data, arguments.events, kinds["shadow alone"], 0.1)
    for _ in range(arguments.rounds):
        for kind, version in kinds.items():
            runs[kind].append(run(data, arguments.events, version, arguments.every))
    print("| candidates | of them tried in a run | events a second | CPU ns an event | time | CPU |\n|---|---|---|---|---|---|")
    middle = {kind: [statistics.median(values) for values in zip(*results)] for kind, results in runs.items()}
    for kind, (tried, seconds, cpu) in middle.items():
        _, alone, cpu_alone = middle["none"]
        print(f"| {kind} | {tried:.0f} | {arguments.events / seconds:,.0f} | {cpu * 1e9 / arguments.events:,.0f} | "
              f"{seconds / alone - 1:+.1%} | {cpu / cpu_alone - 1:+.1%} |")


def run(data, events, version, every):
    """One run until all events are committed: candidates that were tried, seconds and CPU seconds of the run without its start."""
    tried, read, ended = 0, 0, threading.Event()
    plugin, process = swaps.follow(data, WORK, "epoch.interval=1s", 'stage.clean.swap="manual"')
    with process:
        def put():
            # The pace at which candidates come.
            while not ended.wait(every):
                swaps.replace(plugin, version())
        putting = threading.Thread(target=put)
        for line in process.stderr:
            said = json.loads(line)["fields"]
            message = said.get("message", "")
            if message == "running" and version is not None:
                putting.start()
            tried += message.startswith("swap: held")
            if message == "committed":
                read += said["read"]
                if read == events and said["read"] > 0:
                    process.send_signal(signal.SIGTERM)
        ended.set()
        if putting.ident is not None:
            putting.join()
    if process.returncode != 0:
        raise SystemExit(f"the run ended with {process.returncode}")
    if version is not None and tried == 0:
        raise SystemExit("no candidate was tried")
    result = json.loads((WORK / "summary.json").read_text())
    return tried, result["seconds"], result["cpu_seconds"]


if __name__ == "__main__":
    main()
