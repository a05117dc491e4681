"""`make bench`, second part: swaps of a plugin of examples/clicks at full speed, and a thousand swaps under load.

    python3 tests/bench/swaps.py [--events N] [--swaps N]

The stage `clean` is replaced again and again by the same component with another digest (a custom section is added, which
changes nothing else) while the file is read as fast as it can be. Prints a Markdown report: the time from the file in its
place to the end of the epoch after which its rows come, and how long all workers stood still, beside the same for commits
without a swap. Then rows from Kafka, and the tests' own pipeline with a thousand swaps: every row once.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

import clicks

PLUGIN = clicks.EXAMPLE / "plugins" / "clean" / "clean_clicks.wasm"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--swaps", type=int, default=1_000)
    arguments = parser.parse_args()
    data = clicks.WORK / f"data-{arguments.events}"
    clicks.generate(data, arguments.events)
    print(f"## Swaps at full speed: examples/clicks from a file, epochs of 500 ms\n\n{clicks.machine()}; `tests/bench/swaps.py`\n", flush=True)
    report(at_full_speed(data))
    print("\n## Swaps under load\n", flush=True)
    subprocess.run([clicks.RUN_EXAMPLE, "swaps", str(arguments.swaps)], check=True)


def at_full_speed(data):
    """The log of a run in which the plugin was replaced as often as it could be, as JSON objects."""
    lines, put = [], None
    plugin, process = follow(data, clicks.WORK / "swaps", "epoch.interval=500ms")
    with process:
        for line in process.stderr:
            said = json.loads(line)["fields"]
            lines.append(said | {"put": put})
            message = said.get("message", "")
            if message == "running" or message.startswith("swap: in place"):
                put = time.monotonic()
                replace(plugin, len(lines))
            if message.startswith("swap: in place"):
                lines[-1]["took"] = time.monotonic() - lines[-1]["put"]
            # All was read: an epoch without rows is not committed, but the last swap is.
            if message == "committed" and said["read"] == 0:
                process.send_signal(signal.SIGTERM)
                break
        process.stderr.read()
    if process.returncode != 0:
        raise SystemExit(f"the run ended with {process.returncode}")
    return lines


def follow(data, folder, *settings):
    """examples/clicks in an empty folder, following its file; the plugin of `clean`, which may be replaced, and the process,
    which writes its log as JSON to stderr and its summary into the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plugin = folder / "clean.wasm"
    plugin.write_bytes(PLUGIN.read_bytes())
    settings = [*settings, f"stage.clean.plugin.file={plugin}", f"source.clicks.file.path={data / 'clicks.jsonl'}"]
    command = [clicks.MILLSTREAM, "--log-json", "--log", "info,millstream=debug", "run", clicks.EXAMPLE / "clicks.toml",
               "--follow", "--no-progress", "--summary", folder / "summary.json",
               *clicks.places(data, folder / "lake", folder / "state"),
               *(part for setting in settings for part in ("--set", setting))]
    return plugin, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def replace(plugin, number):
    """The same component with a custom section more: another digest, the same behaviour."""
    name, content = b"swap", str(number).encode()
    section = bytes([len(name)]) + name + content
    fresh = plugin.with_suffix(".new")
    fresh.write_bytes(PLUGIN.read_bytes() + bytes([0, len(section)]) + section)
    os.replace(fresh, plugin)


def report(lines):
    swaps = [line for line in lines if line.get("message", "").startswith("swap: in place")]
    swapped = {line["epoch"] for line in swaps}
    commits = [line for line in lines if line.get("message") == "committed" and line["epoch"] not in swapped]
    print("| ms | number | median | longest |\n|---|---|---|---|")
    for what, values in [("file in place to in effect", [line["took"] * 1000 for line in swaps]),
                         ("workers stand still, with a swap", [line["pause_ms"] for line in swaps]),
                         ("workers stand still, a commit alone", [line["pause_ms"] for line in commits])]:
        if values:
            print(f"| {what} | {len(values)} | {statistics.median(values):.0f} | {max(values):.0f} |")


if __name__ == "__main__":
    main()
