"""The smallest tasks there are: arithmetic, waiting, and nothing at all."""

import time

from workd_tasks import task


@task
def square(x: int) -> int:
    """Return x * x."""
    return x * x


@task
def slow_square(x: int) -> int:
    """Work for two seconds, then print x * x and return it."""
    time.sleep(2)
    print(x * x, flush=True)
    return x * x


@task
def add(a: int, b: int) -> int:
    """Return a + b."""
    return a + b


@task
def sleep(seconds: float) -> None:
    """Do nothing for a while: a stand-in for any work that blocks."""
    time.sleep(seconds)


@task
def noop() -> None:
    """Do nothing: what is left is the cost of workd itself."""
