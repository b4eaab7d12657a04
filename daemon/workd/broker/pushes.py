"""RESP3 without what a server may push unasked. Pure; used by the daemon's connections and the clients'."""

from collections.abc import Mapping
from typing import Any


def without_pushes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connection's settings as redis-py has read them, without its wish to be told of maintenance.

    Over RESP3 it has servers push such notices between the answers to commands. Whoever reads those is ours, and a
    server under maintenance breaks the connection anyway.
    """
    return {name: value for name, value in settings.items() if "maint_notifications" not in name}
