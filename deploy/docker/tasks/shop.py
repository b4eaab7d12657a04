"""The tasks of the example: one that is quick, one that uses a core for a while."""

from __future__ import annotations

from workd import task


@task(max_retries=2)
def price(net: float) -> float:
    """Return a price with its tax."""
    if net < 0:
        raise ValueError("a price below zero")
    return round(net * 1.19, 2)


@task(timeout=60)
def primes(below: int) -> int:
    """Count the primes below a number, the slow way."""
    return sum(all(number % other for other in range(2, int(number**0.5) + 1)) for number in range(2, below))
