"""What a session makes of refusals that no other test can bring about with a daemon for sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import moods
from support.jobs import QUEUE
from support.roles import add_user, url_of
from workd.broker import keys
from workd.broker.session import Session
from workd.errors import BrokerError, BrokerUnavailableError

if TYPE_CHECKING:
    from support.servers import Server

MANY = 300_000  # ids to look for one by one: a script of some tenths of a second, which has written nothing


async def test_a_script_of_ours_that_somebody_kills_is_a_reason_to_try_again(server: Server) -> None:
    session = await Session.open(server.url, "me", 15.0)
    await session.register(QUEUE)
    with moods.killed_scripts(server), pytest.raises(BrokerUnavailableError, match="Script killed"):
        await _look_again_and_again(session)
    await session.close()


async def _look_again_and_again(session: Session) -> None:
    for _ in range(20):  # the killer has to come by
        await session.taken(QUEUE, ["1-1"] * MANY)


async def test_a_user_who_may_not_remove_entries_is_refused_before_any_job_is_read(server: Server) -> None:
    """Not at the end of a job, when its outcome would be recorded and its entry stay for ever."""
    for command in ("xdel", "xack"):
        with server.client() as client:
            user = add_user(client, "daemon", without=command)
            session = await Session.open(url_of(server, user), "me", 15.0)
            with pytest.raises(BrokerError, match="registering, queue default"):
                await session.register(QUEUE)
            await session.close()
            assert not client.exists(keys.leases(QUEUE))
