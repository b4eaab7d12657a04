"""The list of daemons is many commands, and one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from workd.client import daemons
from workd.client.connection import Deadline

if TYPE_CHECKING:
    from workd.client.commands import Command
    from workd.client.link import Link


class Recorder:
    """A link to a Redis on whose list are two daemons without a card."""

    deadline_s = 2.0

    def __init__(self) -> None:
        self.deadlines: list[Deadline | None] = []

    def call(self, command: Command, deadline: Deadline | None = None) -> Any:
        self.deadlines.append(deadline)
        return [b"one", b"two"] if command[0] == "ZRANGE" else None


def test_all_cards_are_read_within_one_deadline() -> None:
    link = Recorder()
    assert daemons.daemons(cast("Link", link)) == []
    assert len(link.deadlines) == 3
    assert isinstance(link.deadlines[0], Deadline)
    assert set(link.deadlines) == {link.deadlines[0]}
