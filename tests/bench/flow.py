"""Memory while the sink is slower than the source: a backlog in one topic, and a topic that takes few bytes a second.

    python3 tests/bench/flow.py [--minutes 60] [--events 11000000]

The output topic is slow because the broker throttles all producers (`producer_byte_rate`). Prints by minute the highest
memory of the host (VmRSS), and how that of the second half compares with that of minutes 5 to 10.
"""

import argparse
import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import clicks

WORK = clicks.WORK / "flow"
BYTES_A_SECOND = 100_000
LOOK_SECONDS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--events", type=int, default=11_000_000)
    arguments = parser.parse_args()
    print(f"## A slow sink for {arguments.minutes} minutes\n\n{clicks.machine()}; `tests/bench/flow.py`\n", flush=True)
    with clicks.kafka() as brokers:
        for topic, events in ("flow", arguments.events), ("flow-out", 1):
            subprocess.run([clicks.MILLSTREAM, "generate", "clicks", "--events", str(events), "--kafka", brokers,
                            "--topic", topic], check=True, stdout=subprocess.DEVNULL)
        throttle(brokers)
        by_minute = watch(brokers, arguments.minutes)
    print("| minute | highest memory, MB |\n|---|---|")
    for minute, most in by_minute.items():
        print(f"| {minute} | {most / 1e6:,.0f} |")
    early = [most for minute, most in by_minute.items() if 5 <= minute < 10]
    late = [most for minute, most in by_minute.items() if minute >= arguments.minutes / 2]
    if early and late:
        print(f"\nThe second half over minutes 5 to 10: {max(late) / max(early):.3f}")


def throttle(brokers):
    """All producers together get so many bytes a second from now on."""
    jars = next(clicks.CACHE.glob("kafka-*/jars"))
    subprocess.run(["java", "-cp", f"{jars}/*", "kafka.admin.ConfigCommand", "--bootstrap-server", brokers, "--alter",
                    "--add-config", f"producer_byte_rate={BYTES_A_SECOND}", "--entity-type", "clients", "--entity-default"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def watch(brokers, minutes):
    """By minute the highest memory of a host that reads the backlog, in bytes."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    (WORK / "pipeline.toml").write_text(f"""name = "flow"
workers = 2

[source.clicks]
kafka   = {{ brokers = "{brokers}", topic = "flow", group = "flow", start = "earliest" }}
format  = "json"
columns = {{ event_id = "utf8", url = "utf8" }}

[output.topic]
from  = "source.clicks"
kafka = {{ brokers = "{brokers}", topic = "flow-out", key = "event_id" }}

[output.lake]
from    = "source.clicks"
parquet = {{ path = "lake" }}

[rejects]
file = {{ path = "rejects" }}
""")
    by_minute = {}
    with open(WORK / "log", "w") as said:
        host = subprocess.Popen([clicks.MILLSTREAM, "run", "pipeline.toml", "--until-caught-up", "--no-progress"],
                                cwd=WORK, stdout=said, stderr=said)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < minutes * 60:
        # The pace at which memory is looked at.
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise SystemExit(f"the host ended with {host.wait(LOOK_SECONDS)} after {passed:.0f} s, see {WORK / 'log'}: "
                             "was there more to read? --events says how much")
        memory = next(line for line in Path(f"/proc/{host.pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
        minute = int(passed // 60)
        by_minute[minute] = max(by_minute.get(minute, 0), int(memory.split()[1]) * 1024)
    host.terminate()
    host.wait()
    return by_minute


if __name__ == "__main__":
    main()
