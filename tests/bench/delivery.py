"""What exactly once costs beside at least once: rows of examples/clicks from a file into a topic, turn by turn.

    python3 tests/bench/delivery.py [--rounds N]

Prints a Markdown report. Each run starts with an empty data folder; every row is counted. Its time is that from the moment
at which it runs to its last commit: the start is not in it, which takes longer with transactions.
"""

import argparse
import datetime
import json
import statistics
import subprocess

import clicks

# Long enough that the first epoch, in which the broker first hears of the transaction, does not count for much.
EVENTS = 16_000_000
INTERVALS = ("1s", "250ms")
KINDS = ("at_least_once", "exactly_once")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    data, work = clicks.WORK / f"data-{EVENTS}", clicks.WORK / "delivery"
    clicks.generate(data, EVENTS)
    print(f"## Exactly once beside at least once\n\n{clicks.machine()}; `tests/bench/delivery.py`\n", flush=True)
    print("| epochs | delivery | events a second | CPU ns an event | workers stand still, ms | time | CPU |\n|---|---|---|---|---|---|---|")
    with clicks.kafka() as brokers:
        for number in range(2):  # the broker's JVM warms up
            once(data, work, brokers, f"warm-{number}", "1s", KINDS[0])
        for interval in INTERVALS:
            measured = {kind: [] for kind in KINDS}
            for number in range(rounds):
                for kind in KINDS:
                    measured[kind].append(once(data, work, brokers, f"{kind}-{interval}-{number}", interval, kind))
            least = None
            for kind, runs in measured.items():
                seconds, cpu, pause_ms = (statistics.median(column) for column in zip(*runs))
                least = least or (seconds, cpu)
                print(f"| {interval} | {kind} | {EVENTS / seconds:,.0f} | {cpu / EVENTS * 1e9:,.0f} | {pause_ms:.0f} "
                      f"| {seconds / least[0] - 1:+.1%} | {cpu / least[1] - 1:+.1%} |", flush=True)


def once(data, work, brokers, topic, interval, delivery):
    """Seconds from `running` to the last commit, the process's CPU seconds, the median of its pauses in milliseconds."""
    # Makes the topic; its one record is no row.
    subprocess.run([clicks.MILLSTREAM, "generate", "clicks", "--events", "1", "--kafka", brokers, "--topic", topic],
                   check=True, stdout=subprocess.DEVNULL)
    _, usage = clicks.whole(work, f"""name = "delivery"
workers = 2
epoch = {{ interval = "{interval}" }}

[source.clicks]
file    = {{ path = "{data / 'clicks.jsonl'}" }}
format  = "json"
columns = {{ event_id = "utf8", url = "utf8" }}

[output.clicks]
kafka = {{ brokers = "{brokers}", topic = "{topic}", key = "event_id", delivery = "{delivery}" }}

[rejects]
file = {{ path = "rejects" }}
""", EVENTS, log="info,millstream=debug")
    said = [json.loads(line) for line in (work / "log").read_text().splitlines()]
    times = {message: [datetime.datetime.fromisoformat(line["timestamp"]) for line in said if line["fields"].get("message") == message]
             for message in ("running", "committed")}
    pauses_ms = [line["fields"]["pause_ms"] for line in said if line["fields"].get("message") == "committed"]
    seconds = (times["committed"][-1] - times["running"][0]).total_seconds()
    return seconds, usage.ru_utime + usage.ru_stime, statistics.median(pauses_ms)


if __name__ == "__main__":
    main()
