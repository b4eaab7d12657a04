"""`Admin`: what people do to queues, dead letters and daemons, from Python.

The commands `workd dead` and `workd queues` are its users.

Synchronous, over a client's link: the deadline is of each call, and long work is many calls. In a program with an event
loop, use it by `asyncio.to_thread`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from workd.client.dead_letters import DeadLetters
from workd.client.fleet import Fleet
from workd.client.links import link_to
from workd.client.queue_care import QueueCare
from workd.signing import Signing

if TYPE_CHECKING:
    from types import TracebackType

    from workd.client.scripts import Asks

DEADLINE_S: Final = 10.0


class Admin:
    """One Redis, seen by whoever looks after it. Safe for threads; connects at the first call.

        with Admin("redis://localhost:6379/0") as admin:
            for state in admin.queues.all():
                print(state.name, state.queued, state.dead)
            admin.dead.replay_all("default", Where(reason="timeout"))

    All methods raise ServerUnavailableError and EnqueueTimeoutError as `Client` does, InvalidJobError for what was
    given wrongly, and what each documents besides.
    """

    def __init__(self, url: str, *, deadline_s: float = DEADLINE_S, signing_key: str | None = None) -> None:
        """Check URL and key; SettingsError if it is none. No single call takes longer than `deadline_s`.

        `signing_key` signs what is mended, and orders to daemons.
        """
        signing = Signing.of_client(signing_key)
        self._link = link_to(url, deadline_s)
        self.dead, self.queues = _parts(self._link, signing)
        self.fleet = Fleet(self._link, signing)

    def close(self) -> None:
        """Close the connections; safe twice."""
        self._link.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _parts(link: Asks, signing: Signing | None = None) -> tuple[DeadLetters, QueueCare]:
    return DeadLetters(link, signing), QueueCare(link)
