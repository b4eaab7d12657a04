"""`workd quiet`, `workd resume` and `workd reload`: what signals tell one daemon, told to many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workd.cli import fleet

if TYPE_CHECKING:
    from workd.client.fleet import Fleet, Heard


@fleet.order()
def quiet(told: Fleet, **whom: Any) -> Heard:
    """Have daemons start no more jobs, and stay.

    What runs goes on; what has not started goes back to its queue at once. As SIGUSR1 does. Exit code 1: not everybody
    has done it.

    Example: workd quiet --daemon web1
    """
    return told.quiet(**whom)


@fleet.order()
def resume(told: Fleet, **whom: Any) -> Heard:
    """Have quiet daemons start jobs again.

    For a queue that was paused, see `workd queues resume`. Exit code 1: not everybody has done it.

    Example: workd resume --daemon web1
    """
    return told.resume(**whom)


@fleet.order(wait_s=60.0)
def reload(told: Fleet, **whom: Any) -> Heard:
    """Have daemons load code and settings anew.

    Waits until each has done it. New code that does not load changes nothing, and the reason is shown. As SIGHUP does.
    Exit code 1: not everybody has done it.

    Example: workd reload --queue images --wait-s 120
    """
    return told.reload(**whom)
