"""Which commands a daemon does, and which it passes over or refuses."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from workd import control_wire as wire
from workd.answering import AT_ONCE, MOST_WAITING, REMEMBERED, Answerer
from workd.errors import BrokerUnavailableError
from workd.signing import Signing

KEY = "0123456789abcdef"
NOW = 1_000_000.0


class Broker:
    """Keeps what is answered, or fails."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def post(self, token: str, answer: bytes, field: str, kept_ms: int) -> None:
        await self.gate.wait()
        if self.broken:
            raise BrokerUnavailableError("gone")
        self.posted.append(json.loads(answer) | {"token": token})


class Daemon:
    """Does as it is told, or not."""

    state = "running"
    workers = 2
    able = True
    trouble = ""

    def quiet(self) -> bool:
        return self.able

    def resume(self) -> bool:
        return False

    def scale(self, workers: int) -> bool:
        if not workers:
            raise ValueError("workers should be 1 or more")
        self.workers = workers
        return self.able

    def scale_by(self, workers: int) -> bool:
        return self.scale(self.workers + workers)

    def reload(self) -> asyncio.Future[str]:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        done.set_result(self.trouble)
        return done


class Inspector:
    """Sees nothing, or breaks."""

    def counts(self) -> tuple[int, int]:
        return 0, 0

    async def jobs(self, _wanted: object) -> tuple[list[wire.RunningJob], int]:
        raise LookupError("a mistake")


class Clock:
    now = NOW

    def now_s(self) -> float:
        return self.now


class Case:
    """An answerer with everything around it."""

    def __init__(self, signing: Signing | None = None) -> None:
        self.broker, self.daemon, self.clock = Broker(), Daemon(), Clock()
        inspector: Any = Inspector()
        broker: Any = self.broker
        clock: Any = self.clock
        self.answerer = Answerer("web1:1:a", ("default",), broker, clock, self.daemon, inspector, lambda: signing)

    async def hear(self, raw: bytes, *, orders: bool = True) -> list[dict[str, Any]]:
        """Return what is posted for it."""
        before = len(self.broker.posted)
        (self.answerer.hear_order if orders else self.answerer.hear_question)(raw)
        await self.done()
        return self.broker.posted[before:]

    async def done(self) -> None:
        while self.answerer._at_work:
            await asyncio.wait(set(self.answerer._at_work))


def command(do: str, number: int = 1, **more: object) -> bytes:
    return json.dumps({"do": do, "reply": f"{number:032x}", "at": NOW, "wait_s": 5.0} | more).encode()


async def test_a_question_is_answered_by_either_channel() -> None:
    case = Case()
    for number, orders in enumerate((True, False)):
        [answer] = await case.hear(command("ping", number), orders=orders)
        assert (answer["daemon"], answer["state"], answer["workers"]) == ("web1:1:a", "running", 2)


async def test_an_order_by_the_channel_for_questions_is_passed_over() -> None:
    case = Case()
    assert await case.hear(command("scale", workers=5), orders=False) == []
    assert (case.daemon.workers, case.answerer.ignored) == (2, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        b"[]",
        b"\xff" * 100,
        command("dance"),
        command("ping", daemons=["web2"]),
        command("ping", queues=["other"]),
        command("ping", at=NOW - 5.0 - wire.SLACK_S - 0.1),
        command("ping", at=NOW + wire.SLACK_S + 0.1),
        command("ping", more="x" * wire.MAX_MESSAGE_BYTES),
    ],
)
async def test_what_is_none_or_for_others_or_too_old_is_counted_and_passed_over(raw: bytes) -> None:
    case = Case()
    assert await case.hear(raw) == []
    assert (case.answerer.answered, case.answerer.ignored) == (0, 1)


async def test_what_was_heard_before_is_not_done_again() -> None:
    case = Case()
    assert [answer["workers"] for answer in await case.hear(command("scale", by=1))] == [3]
    assert await case.hear(command("scale", by=1)) == []
    assert case.daemon.workers == 3


async def test_what_is_remembered_is_bounded_and_ends() -> None:
    case = Case()
    for number in range(REMEMBERED + 10):
        await case.hear(command("ping", number + 1))
    assert len(case.broker.posted) == REMEMBERED
    case.clock.now += 600
    assert await case.hear(command("ping", 1, at=case.clock.now))
    assert len(case.answerer._heard) == 1


async def test_who_may_only_ask_cannot_keep_orders_out() -> None:
    signing = Signing((KEY,))
    case = Case(signing)
    for number in range(REMEMBERED):
        await case.hear(command("ping", number, wait_s=3600.0), orders=False)
    assert await case.hear(command("ping", REMEMBERED), orders=False) == []
    assert await case.hear(command("quiet", REMEMBERED + 1)) == []  # nor does one that nobody has signed take a place
    order = command("quiet", REMEMBERED + 2)
    signed = signing.sign_command(order) + b" " + order
    assert [answer.get("ok", True) for answer in await case.hear(signed)] == [True]
    assert await case.hear(signed) == []


async def test_few_are_done_at_a_time_and_few_wait() -> None:
    case = Case()
    case.broker.gate.clear()
    for number in range(MOST_WAITING + 10):
        case.answerer.hear_question(command("ping", number + 1))
    assert len(case.answerer._at_work) == MOST_WAITING > AT_ONCE
    case.broker.gate.set()
    await case.done()
    assert len(case.broker.posted) == MOST_WAITING


async def test_what_is_not_possible_now_is_said_with_the_state() -> None:
    case = Case()
    case.daemon.able, case.daemon.state = False, "draining"
    [answer] = await case.hear(command("scale", workers=4))
    assert (answer["ok"], "draining" in answer["error"]) == (False, True)
    [answer] = await case.hear(command("quiet", 2))
    assert answer["ok"] is False


async def test_what_is_so_already_is_as_good_as_done() -> None:
    case = Case()
    [answer] = await case.hear(command("resume"))
    assert "ok" not in answer, "defaults are left out"


async def test_a_number_out_of_bounds_is_the_answer() -> None:
    [answer] = await Case().hear(command("scale", workers=0))
    assert (answer["ok"], answer["error"]) == (False, "workers should be 1 or more")


async def test_a_reload_is_accepted_first_and_then_done_or_not() -> None:
    case = Case()
    case.daemon.trouble = "some_tasks: SyntaxError"
    first, second = await case.hear(command("reload"))
    assert first["part"] == "accepted"
    assert (second["ok"], second["error"]) == (False, "some_tasks: SyntaxError")


async def test_a_mistake_of_ours_is_told_and_ends_one_question() -> None:
    case = Case()
    [answer] = await case.hear(command("inspect"))
    assert answer["error"] == "LookupError: a mistake"
    assert await case.hear(command("ping", 2))


async def test_an_answer_that_cannot_be_brought_is_dropped() -> None:
    case = Case()
    case.broker.broken = True
    assert await case.hear(command("ping")) == []
    case.broker.broken = False
    assert await case.hear(command("ping", 2))


# ── signatures


async def test_with_keys_an_order_is_done_if_one_of_them_has_signed_it() -> None:
    signing = Signing((KEY, "another-key-of-ours"))
    case = Case(signing)
    order = command("scale", workers=4)
    second = Signing(("another-key-of-ours",)).sign_command(order)
    assert [answer["workers"] for answer in await case.hear(second + b" " + order)] == [4]


@pytest.mark.parametrize(
    "signature", [b"", b"0" * 64 + b" ", Signing(("f" * 16,)).sign_command(command("quiet")) + b" "]
)
async def test_with_keys_all_other_orders_are_refused_and_questions_are_not(signature: bytes) -> None:
    case = Case(Signing((KEY,)))
    [answer] = await case.hear(signature + command("quiet"))
    assert (answer["ok"], "signed orders alone" in answer["error"]) == (False, True)
    assert await case.hear(command("ping", 2))


async def test_the_signature_of_a_message_is_none_of_an_order() -> None:
    signing = Signing((KEY,))
    order = command("quiet")
    [answer] = await Case(signing).hear(signing.sign(order) + b" " + order)
    assert answer["ok"] is False
    assert signing.refusal(order, signing.sign_command(order))


async def test_a_signed_order_of_before_the_start_or_long_ago_is_refused() -> None:
    signing = Signing((KEY,))
    for began_later_s, waited_s in ((0.0, 31.0), (1.0, 2.0)):
        case = Case(signing)
        case.answerer._began_at += began_later_s
        case.clock.now += waited_s
        order = command("quiet", wait_s=600.0)
        [answer] = await case.hear(signing.sign_command(order) + b" " + order)
        assert "too old" in answer["error"]
