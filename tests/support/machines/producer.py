"""A producer for the machines: one JSON question on stdin, one JSON answer on stdout. Runs there, with workd installed.

`{"url": …, "queue": …, "task": …, "each": [[…], …]}` enqueues and answers the ids; `{"url": …, "queue": …, "ids": […],
"timeout_s": …}` waits and answers the outcomes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from workd import Client


def main() -> None:
    """Answer the question."""
    question = json.load(sys.stdin)
    with Client(question["url"], queue=question["queue"], deadline_s=60.0) as client:
        answer: list[Any]
        if "task" in question:
            answer = [handle.id for handle in client.enqueue_many(question["task"], map(tuple, question["each"]))]
        else:
            deadline = time.monotonic() + question["timeout_s"]
            handles = [client.result(job_id) for job_id in question["ids"]]
            answer = [handle.outcome(max(0.1, deadline - time.monotonic())).model_dump() for handle in handles]
    json.dump(answer, sys.stdout)


main()
