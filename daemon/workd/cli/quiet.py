"""`workd quiet`, `workd resume` and `workd reload`: what signals tell one daemon, told to many."""

from __future__ import annotations

from workd.cli import fleet
from workd.cli.fleet import Daemons, Queues, WaitS
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.exits import Exit


def quiet(
    daemon: Daemons = None,
    queue: Queues = None,
    wait_s: WaitS = 5.0,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> Exit:
    """Have daemons start no more jobs, and stay.

    What runs goes on; what has not started goes back to its queue at once. As SIGUSR1 does. Exit code 1: not everybody
    has done it.

    Example: workd quiet --daemon web1
    """
    with fleet.opened(redis_url, config) as daemons:
        heard = daemons.quiet(daemons=daemon or (), queues=queue or (), wait_s=wait_s)
    return fleet.told(heard, as_json=as_json)


def resume(
    daemon: Daemons = None,
    queue: Queues = None,
    wait_s: WaitS = 5.0,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> Exit:
    """Have quiet daemons start jobs again.

    For a queue that was paused, see `workd queues resume`. Exit code 1: not everybody has done it.

    Example: workd resume --daemon web1
    """
    with fleet.opened(redis_url, config) as daemons:
        heard = daemons.resume(daemons=daemon or (), queues=queue or (), wait_s=wait_s)
    return fleet.told(heard, as_json=as_json)


def reload(
    daemon: Daemons = None,
    queue: Queues = None,
    wait_s: WaitS = 60.0,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> Exit:
    """Have daemons load code and settings anew.

    Waits until each has done it. New code that does not load changes nothing, and the reason is shown. As SIGHUP does.
    Exit code 1: not everybody has done it.

    Example: workd reload --queue images --wait-s 120
    """
    with fleet.opened(redis_url, config) as daemons:
        heard = daemons.reload(daemons=daemon or (), queues=queue or (), wait_s=wait_s)
    return fleet.told(heard, as_json=as_json)
