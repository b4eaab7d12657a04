"""Queues as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workd.client.scripts import Asks


class QueueCare:
    """The queues of one Redis."""

    def __init__(self, link: Asks) -> None:
        """Use `Admin.queues`."""
        self._link = link
