"""Tasks that talk, in every way in which a task can."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading

import structlog

from workd_tasks import context, task

_TTL_S = 600


@task(result_ttl=_TTL_S)
def say(text: str, times: int = 1) -> int:
    """Print a line so many times."""
    for number in range(times):
        print(text, number)  # noqa: T201 - what this is about
    return times


@task(result_ttl=_TTL_S)
def fail() -> None:
    """Fail for good."""
    raise ValueError("as it was told to")


@task(result_ttl=_TTL_S)
def talk(word: str) -> str:
    """Say something in each way once."""
    print(f"printed {word}")  # noqa: T201
    sys.stderr.write(f"written {word}\n")
    sys.stdout.buffer.write(f"bytes {word} ä\n".encode())
    logging.getLogger("mine").warning("logged %s", word, extra={"left_bytes": 3, "priority": "high"})
    structlog.get_logger().info(f"structured {word}", took_s=0.5)
    context().log.info(f"by context {word}\nin two lines")
    said = threading.Thread(target=print, args=(f"in a thread {word}",))
    said.start()
    said.join()
    subprocess.run(["echo", f"program {word}"], check=True)
    try:
        dict[str, str]()[word]
    except KeyError:
        logging.getLogger("mine").exception("caught %s", word)
    print(f"tail {word}", end="")  # noqa: T201
    return word


@task(result_ttl=_TTL_S, concurrency=4)
async def talk_in_loop(word: str) -> str:
    """Say something between other jobs of the same worker."""
    sys.stdout.write(f"begins {word}")
    await asyncio.sleep(0.01)
    sys.stdout.write(f" ends {word}")
    return word
