"""What each signal asks for, and when."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, cast

import pytest

from workd.orders import Orders
from workd.signals import HANDLED

if TYPE_CHECKING:
    from workd.signals import SignalInbox


class Inbox:
    """Gives signals without any process."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = list(numbers)

    async def next(self) -> signal.Signals:
        if not self._numbers:
            await asyncio.Event().wait()
        return self._numbers.pop(0)


class Told:
    """A daemon that notes what it is told."""

    def __init__(self) -> None:
        self.what: list[str] = []

    def stop(self) -> None:
        self.what.append("stop")

    def stop_now(self) -> None:
        self.what.append("stop now")

    def reload(self) -> None:
        self.what.append("reload")

    def quiet(self) -> None:
        self.what.append("quiet")

    def scale_by(self, workers: int) -> None:
        self.what.append(f"scale {workers:+}")

    def xray(self) -> None:
        self.what.append("x-ray")


async def obeyed(orders: Orders) -> None:
    """Let all signals come that are there."""
    running = asyncio.ensure_future(orders.run())
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})


WANTED = {
    signal.SIGTERM: "stop",
    signal.SIGINT: "stop",
    signal.SIGQUIT: "stop now",
    signal.SIGHUP: "reload",
    signal.SIGUSR1: "quiet",
    signal.SIGUSR2: "x-ray",
    signal.SIGTTIN: "scale +1",
    signal.SIGTTOU: "scale -1",
}


@pytest.mark.parametrize("number", HANDLED)
async def test_each_signal_asks_for_one_thing(number: signal.Signals) -> None:
    told = Told()
    orders = Orders(told, cast("SignalInbox", Inbox(number)))
    orders.begin()
    await obeyed(orders)
    assert told.what == [WANTED[number]]


async def test_what_comes_during_the_boot_is_done_after_it_and_an_end_at_once() -> None:
    told = Told()
    orders = Orders(told, cast("SignalInbox", Inbox(signal.SIGHUP, signal.SIGTERM, signal.SIGTTIN)))
    await obeyed(orders)
    assert told.what == ["stop"]
    orders.begin()
    assert told.what == ["stop", "reload", "scale +1"]
    orders.begin()
    assert len(told.what) == 3
