"""A client's link where its URL names several servers: a `Link` to each, found by what a command is about.

A command goes to another server only if the first one has refused it, or has never got it: see places.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError

from workd import redis_url
from workd.client.connection import Deadline
from workd.client.link import Link, refused_url, unreachable
from workd.client.places import SEED_S, Places, pause_before_again_s
from workd.client.sending import check_deadline
from workd.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.commands import Command
    from workd.client.connection import Connection

T = TypeVar("T")

_LEAST_S = 0.02  # too little for another attempt


def link_to(url: str, deadline_s: float) -> Link:
    """Return the link for a URL. SettingsError, without the password; also for a deadline that is none."""
    check_deadline(deadline_s)
    try:
        several = redis_url.several(url)
    except ValueError as error:
        raise refused_url(url, error) from None
    return Link(url, deadline_s) if several is None else Links(url, deadline_s, Places(several))


class Links(Link):
    """The connections of one client to several servers; safe for threads."""

    def __init__(self, url: str, deadline_s: float, places: Places) -> None:
        """Check the URL; nobody is asked before the first call."""
        super().__init__(places.seeds()[0][1], deadline_s)
        self.url = url
        self.places = places
        self._links: dict[str, Link] = {}

    def call_all(self, commands: Sequence[Command], deadline: Deadline | None = None) -> list[Any]:
        """Do as `Link.call_all`, at the server that the first command belongs to."""
        limit = deadline or Deadline(self.deadline_s)
        return self._where_it_belongs(commands[0], limit, lambda link: link.call_all(commands, limit))

    def call_followed(
        self, command: Command, following: Sequence[Callable[[float], Command]], deadline: Deadline
    ) -> tuple[Any, list[Any]]:
        """Do as `Link.call_followed`, at the server that the command belongs to."""
        return self._where_it_belongs(command, deadline, lambda link: link.call_followed(command, following, deadline))

    def connect(self, wanted_for: Command, deadline: Deadline) -> Connection:
        """Open a connection of the caller's own to the server that the command belongs to."""
        try:
            return self._link_for(wanted_for, deadline).connect(wanted_for, deadline)
        except ClientError:
            self.places.forget()
            raise

    def ask(self, connection: Connection, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """Do as `Link.ask`; after an error the next connection is made to whichever server it is then."""
        try:
            return super().ask(connection, commands, deadline)
        except ClientError:
            self.places.forget()
            raise

    def each(self) -> list[Link]:
        """Return a link to each server that holds keys: in a Cluster all masters, else whoever is the master."""
        if not self.places.is_cluster:
            return [self]
        self.places.forget()
        self._find(("SCAN", "0"), Deadline(self.deadline_s))
        return [self._link(url) for url in self.places.master_urls()]

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        super().close()
        for link in list(self._links.values()):
            link.close()

    def _where_it_belongs(self, command: Command, deadline: Deadline, work: Callable[[Link], T]) -> T:
        moved = False
        while True:
            try:
                return work(self._link_for(command, deadline))
            except ClientError as error:
                self.places.forget()
                pause_s = pause_before_again_s(error, moved_before=moved)
                moved = moved or pause_s == 0.0
                if pause_s is None or deadline.left_s() < pause_s + _LEAST_S:
                    raise
                time.sleep(pause_s)

    def _link_for(self, command: Command, deadline: Deadline) -> Link:
        url = self.places.url_for(command)
        return self._link(url or self._find(command, deadline))

    def _find(self, command: Command, deadline: Deadline) -> str:
        """Ask one seed after the other where the command belongs."""
        said: list[str] = []
        for host, seed in self.places.seeds():
            try:
                limit = Deadline(min(SEED_S, deadline.left_s()))
                why = self.places.learn(self._link(seed).call(self.places.question(), limit), host)
            except ClientError as error:
                why = str(error)
            if (url := self.places.url_for(command)) is not None:
                return url
            said.append(f"{host}: {why or 'nobody has the slot of its key'}")
        if (last := self.places.last_url()) is not None:
            return last
        nobody = RedisConnectionError("; ".join(said))
        raise unreachable(command, nobody, self.url) from nobody

    def _link(self, url: str) -> Link:
        link = self._links.get(url)
        if link is None:
            link = self._links.setdefault(url, Link(url, self.deadline_s))
        return link
