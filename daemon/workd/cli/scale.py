"""`workd scale`: how many workers daemons have."""

from __future__ import annotations

from typing import Annotated

import typer

from workd.cli import fleet
from workd.cli.fleet import Daemons, Queues, WaitS
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.exits import Exit


def scale(
    workers: Annotated[
        int | None, typer.Argument(metavar="[N]", help="how many workers each daemon is to have", show_default=False)
    ] = None,
    by: Annotated[
        int | None, typer.Option("--by", metavar="N", help="so many more than now, or fewer: -2", show_default=False)
    ] = None,
    daemon: Daemons = None,
    queue: Queues = None,
    wait_s: WaitS = 5.0,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> Exit:
    """Give daemons more workers, or fewer.

    Jobs that run are finished. It holds until the daemon is started anew or reloads its settings. Exit code 1: not
    everybody has done it.

    Example: workd scale 8 --daemon web1

    Example: workd scale --by -2 --queue images
    """
    if (workers is None) == (by is None):
        raise typer.BadParameter("say how many workers, N, or how many more, --by N", param_hint="N")
    with fleet.opened(redis_url, config) as daemons:
        heard = daemons.scale(workers, by=by, daemons=daemon or (), queues=queue or (), wait_s=wait_s)
    return fleet.told(heard, as_json=as_json)
