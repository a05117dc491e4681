"""What many stages cost: a pipeline of 1, 10 and 100 stages of one ready-made plugin, each with an instance a worker.

    python3 tests/bench/stages.py

Prints a Markdown table: instances, peak memory of the process, CPU time a row and
stage. Every stage has a configuration and an instance of its own.
"""

import clicks

EVENTS = 400_000
WORKERS = 2
STAGES = (1, 10, 100)


def main():
    data, work = clicks.WORK / f"data-{EVENTS}", clicks.WORK / "stages"
    clicks.generate(data, EVENTS)
    print(f"## Many stages\n\n{clicks.machine()}; `tests/bench/stages.py`\n", flush=True)
    print("| stages | instances | peak memory, MB | CPU ns a row and stage |\n|---|---|---|---|")
    for stages in STAGES:
        result, usage = clicks.whole(work, pipeline(data, stages), EVENTS)
        peak = usage.ru_maxrss * 1024
        cpu = sum(ns for phase, ns in result["phases"].items() if phase.startswith("stage "))
        print(f"| {stages} | {stages * WORKERS} | {peak / 1e6:,.0f} | {cpu / result['in'] / stages:,.0f} |", flush=True)


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
