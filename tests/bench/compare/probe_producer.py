"""A program that produces through `workd.Client`. Prints seconds as JSON; started by `measures.py`.

python probe_producer.py URL enqueue MESSAGES        nobody consumes
python probe_producer.py URL round-trips COUNT       a daemon is there and idle
"""

import itertools
import json
import statistics
import sys
import time

from workd import Client

TIMEOUT_S = 30.0


def enqueue(client: Client, messages: int) -> dict[str, float]:
    """Measure messages one by one, a tenth of them, and all in bulk."""
    few = max(1, messages // 10)
    start = time.perf_counter()
    for _ in range(few):
        client.enqueue("noop")
    one_by_one_s = time.perf_counter() - start
    start = time.perf_counter()
    client.enqueue_many("noop", itertools.repeat((), messages))
    return {"one_by_one": one_by_one_s / few, "bulk": (time.perf_counter() - start) / messages}


def round_trips(client: Client, count: int) -> dict[str, float]:
    """Measure from `enqueue` to the value in our hand."""
    client.enqueue("noop").get(timeout=TIMEOUT_S)
    times_s = []
    for _ in range(count):
        start = time.perf_counter()
        client.enqueue("noop").get(timeout=TIMEOUT_S)
        times_s.append(time.perf_counter() - start)
    return {"median": statistics.median(times_s)}


def main() -> None:
    """Measure what is asked for."""
    url, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Client(url) as client:
        print(json.dumps((enqueue if what == "enqueue" else round_trips)(client, count)))


if __name__ == "__main__":
    main()
