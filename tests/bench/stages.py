"""What many stages cost: a pipeline of 1, 10 and 100 stages of one ready-made plugin, each with an instance a worker.

    python3 tests/bench/stages.py

Prints a Markdown table: instances, peak memory of the process, CPU time a row and stage. Every stage has a configuration and an instance of its own.
"""

import json
import os
import shutil
import subprocess

import clicks

EVENTS = 400_000
WORKERS = 2
STAGES = (1, 10, 100)


def main():
    data, work = clicks.WORK / f"data-{EVENTS}", clicks.WORK / "stages"
    clicks.generate(data, EVENTS)
    print(f"## Many stages\n\n{clicks.machine()}\n", flush=True)
    print("| stages | instances | peak memory, MB | CPU ns a row and stage |\n|---|---|---|---|")
    for stages in STAGES:
        result, peak = once(data, work, stages)
        cpu = sum(ns for phase, ns in result["phases"].items() if phase.startswith("stage "))
        print(f"| {stages} | {stages * WORKERS} | {peak / 1e6:,.0f} | {cpu / result['in'] / stages:,.0f} |", flush=True)


def once(data, work, stages):
    """A run over all events: its summary, and the peak of its memory in bytes."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "stages.toml").write_text(pipeline(data, stages))
    process = subprocess.Popen([clicks.MILLSTREAM, "--log", "warn", "run", "stages.toml", "--until-caught-up", "--no-progress",
                                "--summary", "summary.json"], cwd=work, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{stages} stages failed with {process.returncode}")
    result = json.loads((work / "summary.json").read_text())
    return result, usage.ru_maxrss * 1024


def pipeline(data, stages):
    plugin = clicks.REPOSITORY / "plugins" / "clean" / "millstream_plugin_clean.wasm"
    head = f"""name = "stages"
workers = {WORKERS}

[source.clicks]
file    = {{ path = "{data / 'clicks.jsonl'}" }}
format  = "json"
columns = {{ event_id = "utf8", url = "utf8" }}
"""
    body = "".join(f"""
[[stage]]
name   = "stage-{number}"
plugin = {{ file = "{plugin}" }}
config = {{ columns = {{ event_id = {{ trim = true, default = "{number}" }} }} }}
""" for number in range(stages))
    return head + body + """
[output.lake]
parquet = { path = "lake" }

[rejects]
file = { path = "rejects" }
"""


if __name__ == "__main__":
    main()
