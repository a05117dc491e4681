"""What exactly once costs beside at least once: rows of examples/clicks from a file into a topic, turn by turn.

    python3 tests/bench/delivery.py [--rounds N] [--events N] [--interval 1s] [--property NAME=VALUE] [BINARY ...]

Prints a Markdown report. Each run starts with an empty data folder; every row is counted. Its time is that from the moment
at which it runs to its last commit: the start is not in it, which takes longer with transactions. Binaries, as of other
commits, take turns too; a property is one of the producer's.
"""

import argparse
import datetime
import json
import statistics
import subprocess
from pathlib import Path

import clicks

# Long enough that the first epoch, in which the broker first hears of the transaction, does not count for much.
EVENTS = 16_000_000
INTERVALS = ("1s", "250ms")
KINDS = ("at_least_once", "exactly_once")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--interval", action="append")
    parser.add_argument("--property", action="append", default=[])
    parser.add_argument("binaries", metavar="BINARY", nargs="*", default=[str(clicks.MILLSTREAM)])
    arguments = parser.parse_args()
    events, work = arguments.events, clicks.WORK / "delivery"
    data = clicks.WORK / f"data-{events}"
    clicks.generate(data, events)
    properties = ", ".join(f'"{name}" = "{value}"' for name, value in (one.split("=", 1) for one in arguments.property))
    print(f"## Exactly once beside at least once\n\n{clicks.machine()}; `tests/bench/delivery.py`\n", flush=True)
    print("| binary | epochs | delivery | seconds | events a second | CPU seconds | CPU ns an event | workers stand still, ms | waits for a lock or else | time | CPU |\n"
          "|---|---|---|---|---|---|---|---|---|---|---|")
    ways = [(binary, kind) for binary in arguments.binaries for kind in KINDS]
    with clicks.kafka() as brokers:
        for number in range(2):  # the broker's JVM warms up
            once(arguments.binaries[0], data, events, work, brokers, f"warm-{number}", "1s", KINDS[0], properties)
        for interval in arguments.interval or INTERVALS:
            measured = {way: [] for way in ways}
            for number in range(arguments.rounds):
                for index, (binary, kind) in enumerate(ways):
                    topic = f"{index}-{interval}-{number}"
                    run = once(binary, data, events, work, brokers, topic, interval, kind, properties)
                    measured[binary, kind].append(run)
            for binary in arguments.binaries:
                least = None
                for kind in KINDS:
                    seconds, cpu, pause_ms, waits = (statistics.median(column) for column in zip(*measured[binary, kind]))
                    least = least or (seconds, cpu)
                    print(f"| {Path(binary).name} | {interval} | {kind} | {seconds:.2f} | {events / seconds:,.0f} | {cpu:.2f} | {cpu / events * 1e9:,.0f} "
                          f"| {pause_ms:.0f} | {waits:,.0f} | {seconds / least[0] - 1:+.1%} | {cpu / least[1] - 1:+.1%} |", flush=True)


def once(binary, data, events, work, brokers, topic, interval, delivery, properties):
    """Seconds from `running` to the last commit, the process's CPU seconds, the median of its pauses in milliseconds, how
    often its threads gave the processor away to wait for something."""
    # Makes the topic; its one record is no row.
    subprocess.run([clicks.MILLSTREAM, "generate", "clicks", "--events", "1", "--kafka", brokers, "--topic", topic],
                   check=True, stdout=subprocess.DEVNULL)
    # Binaries need not read each other's commits.
    _, usage = clicks.whole(work, f"""name = "delivery-{topic}"
workers = 2
epoch = {{ interval = "{interval}" }}

[source.clicks]
file    = {{ path = "{data / 'clicks.jsonl'}" }}
format  = "json"
columns = {{ event_id = "utf8", url = "utf8" }}

[output.clicks]
kafka = {{ brokers = "{brokers}", topic = "{topic}", key = "event_id", delivery = "{delivery}", properties = {{ {properties} }} }}

[rejects]
file = {{ path = "rejects" }}
""", events, log="info,millstream=debug", binary=binary)
    said = [json.loads(line) for line in (work / "log").read_text().splitlines()]
    times = {message: [datetime.datetime.fromisoformat(line["timestamp"]) for line in said if line["fields"].get("message") == message]
             for message in ("running", "committed")}
    pauses_ms = [line["fields"]["pause_ms"] for line in said if line["fields"].get("message") == "committed"]
    seconds = (times["committed"][-1] - times["running"][0]).total_seconds()
    return seconds, usage.ru_utime + usage.ru_stime, statistics.median(pauses_ms), usage.ru_nvcsw


if __name__ == "__main__":
    main()
