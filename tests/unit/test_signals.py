import os
import signal

import pytest

from workd.signals import SignalInbox

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


async def test_signals_wait_in_their_order_until_somebody_asks() -> None:
    inbox = SignalInbox([USR1, USR2])
    inbox.start()
    try:
        for number in (USR1, USR2):
            os.kill(os.getpid(), number)
            assert await inbox.next() is number
        os.kill(os.getpid(), USR1)
        assert await inbox.next() is USR1
    finally:
        inbox.stop()


async def test_a_second_signal_is_a_second_answer() -> None:
    inbox = SignalInbox([USR1])
    inbox.start()
    try:
        os.kill(os.getpid(), USR1)
        assert await inbox.next() is USR1
        os.kill(os.getpid(), USR1)
        assert await inbox.next() is USR1
    finally:
        inbox.stop()


async def test_stop_gives_the_signals_back(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = SignalInbox([USR1])
    inbox.stop()
    inbox.start()
    inbox.start()
    assert signal.getsignal(USR1) is not signal.SIG_DFL
    inbox.stop()
    inbox.stop()
    assert signal.getsignal(USR1) is signal.SIG_DFL
