"""`make bench`: examples/clicks with 4 million events, from a file and from Kafka.

    python3 tests/bench/clicks.py [--events N] [--only file|kafka]

Prints a Markdown report: machine, command, events a second, CPU nanoseconds an event (user and system, of the whole
process, the start with its tables included), peak memory, and where the workers' CPU time went. MILLSTREAM names the
binary; KAFKA_BROKERS a broker that runs already, else the tests' own is started.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
EXAMPLE = REPOSITORY / "examples" / "clicks"
RUN_EXAMPLE = REPOSITORY / "tests" / "example"
CACHE = Path(os.environ.get("MILLSTREAM_CACHE", Path.home() / ".cache" / "millstream"))
MILLSTREAM = os.environ.get("MILLSTREAM", Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "target")) / "release" / "millstream")
WORK = CACHE / "bench"
OUTPUTS = ["purchases", "views"]


def main():
    arguments = parse_arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    data = WORK / f"data-{arguments.events}"
    generate(data, arguments.events)
    print(f"# examples/clicks, {arguments.events:,} events, {datetime.date.today()}\n\n{machine()}; `tests/bench/clicks.py`\n")
    if arguments.only != "kafka":
        events = ["--set", f"source.clicks.file.path={data / 'clicks.jsonl'}"]
        report("from a file", run("clicks.toml", data, events, {}), arguments.events)
    if arguments.only != "file":
        with kafka() as brokers:
            topic = f"clicks-{int(time.time())}"
            subprocess.run([MILLSTREAM, "generate", "clicks", "--events", str(arguments.events), "--kafka", brokers,
                            "--topic", topic], check=True, stdout=subprocess.DEVNULL)
            # Twice: a broker's first reads run in code that its JVM has not compiled yet.
            for title in ("a broker that was just started", "a broker that is warm"):
                group = f"{topic}-{title.split()[-1]}"
                events = ["--set", f"source.clicks.kafka.topic={topic}", "--set", f"source.clicks.kafka.group={group}"]
                result = run("clicks-kafka.toml", data, events, {"KAFKA_BROKERS": brokers})
                report(f"from Kafka (4 partitions, lz4), {title}", result, arguments.events)
    stages(data)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--only", choices=["file", "kafka"])
    return parser.parse_args()


def generate(data, events):
    """The file and the tables, once: the same settings give the same bytes."""
    if (data / "done").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    subprocess.run([MILLSTREAM, "generate", "clicks", "--events", str(events), "--out", data / "clicks.jsonl",
                    "--dimensions", data], check=True, stdout=subprocess.DEVNULL)
    (data / "done").touch()


def run(pipeline, data, settings, environment):
    """One run into an empty lake, with the summary that it wrote and what the kernel counted."""
    lake, state, summary = WORK / "lake", WORK / "state", WORK / "summary.json"
    for folder in (lake, state):
        shutil.rmtree(folder, ignore_errors=True)
    command = [MILLSTREAM, "--log", "warn", "run", EXAMPLE / pipeline, "--until-caught-up", "--no-progress",
               "--summary", summary, *places(data, lake, state), *settings]
    began = time.monotonic()
    usage = finish(command, env=os.environ | environment)
    result = json.loads(summary.read_text())
    result["wall_seconds"] = time.monotonic() - began
    result["process_cpu_seconds"] = usage.ru_utime + usage.ru_stime
    result["process_peak_bytes"] = usage.ru_maxrss * 1024
    result["lake_files"] = {output: sorted(file.stat().st_size for file in (lake / output).rglob("*.parquet")) for output in OUTPUTS}
    return result


def places(data, lake, state):
    """The settings that put everything of examples/clicks elsewhere."""
    paths = {"data": state, "rejects.file.path": lake / "rejects"}
    paths |= {f"output.{output}.parquet.path": lake / output for output in OUTPUTS}
    paths |= {f"dimension.{table}.file.path": data / f"{table}.parquet" for table in ("users", "urls", "devices")}
    return [part for key, path in paths.items() for part in ("--set", f"{key}={path}")]


def finish(command, **options):
    """Runs a command to its end; what the kernel counted."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed with {process.returncode}")
    return usage


def whole(folder, pipeline, events, log="warn", binary=MILLSTREAM):
    """A pipeline's text, run in an empty folder to its end: its summary, and what the kernel counted. All events are read.
    What it said is in the folder's `log`, as JSON lines."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "pipeline.toml").write_text(pipeline)
    with open(folder / "log", "w") as said:
        usage = finish([binary, "--log-json", "--log", log, "run", "pipeline.toml", "--until-caught-up", "--no-progress",
                        "--summary", "summary.json"], cwd=folder, stderr=said)
    summary = json.loads((folder / "summary.json").read_text())
    if summary["in"] != events or not summary["conserved"]:
        raise SystemExit(f"{folder}: {summary['in']} of {events} events were read, conserved: {summary['conserved']}")
    return summary, usage


def stages(data):
    """The stages alone: in the sandbox, and the same code linked natively."""
    print("## The stages alone\n", flush=True)
    subprocess.run([RUN_EXAMPLE, "native_stages", data], check=True)


def report(title, result, events):
    read = result["in"]
    if read != events:
        raise SystemExit(f"{title}: {read} of {events} events were read")
    if not result["conserved"]:
        raise SystemExit(f"{title}: the counts are not conserved")
    print(f"## {title}\n")
    print("| | with the start | the run alone |\n|---|---|---|")
    print(f"| seconds | {result['wall_seconds']:.2f} | {result['seconds']:.2f} |")
    print(f"| events a second | {read / result['wall_seconds']:,.0f} | {read / result['seconds']:,.0f} |")
    cpu = [result[name] * 1e9 / read for name in ("process_cpu_seconds", "cpu_seconds")]
    print(f"| CPU ns an event | {cpu[0]:,.0f} | {cpu[1]:,.0f} |")
    print(f"| peak memory, MB | {result['process_peak_bytes'] / 1e6:,.0f} | |\n")
    print("| workers' phase | CPU ns an event |\n|---|---|")
    for phase, cpu_ns in sorted(result["phases"].items(), key=lambda phase: -phase[1]):
        print(f"| {phase} | {cpu_ns / read:,.0f} |")
    print("\n| output | files | MiB, largest to smallest |\n|---|---|---|")
    for output, sizes in result["lake_files"].items():
        print(f"| {output} | {len(sizes)} | {', '.join(f'{size / 2**20:.1f}' for size in reversed(sizes))} |")
    print(flush=True)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown processor")
    commit = subprocess.run(["git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, load {load:.1f} at the start; commit {commit or 'unknown'}"


@contextlib.contextmanager
def kafka():
    """The brokers of a Kafka: the one that KAFKA_BROKERS names, or the tests' own, which ends with this process."""
    if brokers := os.environ.get("KAFKA_BROKERS"):
        yield brokers
        return
    with subprocess.Popen([RUN_EXAMPLE, "kafka"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as broker:
        try:
            brokers = broker.stdout.readline().strip()
            if not brokers:
                raise SystemExit("Kafka did not start")
            yield brokers
        finally:
            broker.stdin.close()


if __name__ == "__main__":
    main()
