"""Enqueues a job a second and prints what becomes of it. Needs the tasks' names, not their code."""

from __future__ import annotations

import itertools
import os
import time

from workd import Client
from workd.errors import WorkdError


def main() -> None:
    """Go on until somebody ends it; a server or a daemon that is away for a while is waited for."""
    with Client(os.environ["WORKD_REDIS_URL"]) as client:
        for number in itertools.count(1):
            try:
                job = client.enqueue("price", number) if number % 5 else client.enqueue("primes", 100_000)
                print(f"job {job.id}: {job.get(timeout=30)}", flush=True)
            except WorkdError as error:
                print(f"no result: {error}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
