"""What the compiled-code cache is worth at a start: the same command with an empty cache and with a full one, turn by turn.
Wall clock and CPU time of the process.

    start.py MILLSTREAM FOLDER-OF-examples/clicks-WITH-data ROUNDS [PLUGIN.wasm ..]
"""

import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def once(command, environment):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1e3, cpu * 1e3


def compare(name, command, environment, cache, rounds):
    times = {"empty": [], "full": []}
    for _ in range(rounds):
        shutil.rmtree(cache, ignore_errors=True)
        for kind in times:
            times[kind].append(once(command, environment))
    for kind, measured in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*measured))
        print(f"| {name} | {kind} | {wall:,.0f} | {cpu:,.0f} |", flush=True)


def main():
    millstream, clicks, rounds, *plugins = sys.argv[1:]
    clicks, rounds = pathlib.Path(clicks).absolute(), int(rounds)
    pipeline = str(clicks / "clicks.toml")
    print("| command | cache | wall ms | CPU ms |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder) / "millstream"
        user = {"XDG_CACHE_HOME": folder, "MILLSTREAM_LOG": "error"}
        compare("check", [millstream, "check", pipeline], user, cache, rounds)
        for plugin in plugins:
            name = f"plugin inspect {pathlib.Path(plugin).name}"
            compare(name, [millstream, "plugin", "inspect", plugin], user, cache, rounds)
        events = next(clicks.glob("data/clicks.jsonl*"))
        sets = [f"source.clicks.file.path={events}", f"data={folder}/state", f"output.views.parquet.path={folder}/views", f"rejects.file.path={folder}/rejects",
                f"output.purchases.parquet.path={folder}/purchases"]
        run = [millstream, "run", pipeline, "--until-caught-up", "--no-progress"]
        run += [part for setting in sets for part in ("--set", setting)]
        # The first run reads the events; those that are measured find nothing new.
        once(run, user)
        compare("run, nothing new", run, user, pathlib.Path(folder) / "state/compiled", rounds)


main()
