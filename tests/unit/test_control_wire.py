"""What daemons are asked, and what they answer: the models."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from workd import control_wire as wire
from workd.client.fleet import Fleet
from workd.errors import InvalidJobError

BASE = {"v": 1, "reply": "0" * 32, "at": 1.0, "wait_s": 5.0}


def command(**more: object) -> wire.Question | wire.Order:
    return wire.read_command(json.dumps(BASE | more))


def test_each_command_is_read_as_what_it_is() -> None:
    assert command(do="ping") == wire.Ping(reply="0" * 32, at=1.0, wait_s=5.0)
    assert isinstance(command(do="inspect", tasks=["a"]), wire.Inspect)
    assert isinstance(command(do="stacks", job="1-0"), wire.Stacks)
    for order in ("quiet", "resume", "reload"):
        assert isinstance(command(do=order), wire.Order)
    assert isinstance(command(do="scale", by=-1), wire.Order)
    assert not isinstance(command(do="inspect"), wire.Order)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"do": "dance"},
        {"do": "ping", "v": 2},
        {"do": "ping", "reply": "../stream"},
        {"do": "ping", "reply": "0" * 33},
        {"do": "ping", "wait_s": 0},
        {"do": "ping", "wait_s": 1e9},
        {"do": "ping", "at": "now"},
        {"do": "ping", "daemons": ["x"] * 51},
        {"do": "ping", "daemons": [""]},
        {"do": "scale"},
        {"do": "scale", "workers": 1, "by": 1},
        {"do": "scale", "workers": -1},
        {"do": "scale", "workers": 4097},
        {"do": "scale", "workers": True},
        {"do": "stacks", "job": "x" * 513},
    ],
)
def test_what_is_no_command_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        command(**wrong)


def test_fields_of_newer_askers_are_passed_over() -> None:
    assert command(do="ping", colour="blue") == command(do="ping")


@pytest.mark.parametrize(
    ("daemons", "queues", "meant"),
    [
        ((), (), True),
        (("web1",), (), True),
        (("web1:4711",), (), True),
        (("web1:4711:abcd",), (), True),
        (("web",), (), False),
        (("web1:47",), (), False),
        (("web2", "web1"), (), True),
        ((), ("images",), True),
        ((), ("other",), False),
        ((), ("other", "default"), True),
        (("web1",), ("other",), False),
    ],
)
def test_daemons_are_meant_by_id_host_and_queue(daemons: tuple[str, ...], queues: tuple[str, ...], meant: bool) -> None:
    asked = wire.Ping(reply="0" * 32, at=1.0, wait_s=5.0, daemons=daemons, queues=queues)
    assert asked.is_for("web1:4711:abcd", ("default", "images")) is meant


def running(number: int) -> wire.RunningJob:
    return wire.RunningJob(
        id=f"{number}-{'x' * 400}", task="t", queue="q", pid=1, slot=0, seconds=1.0, attempt=1, delivery=1,
        rss_bytes=1, cpu_percent=0.0, state="S",
    )  # fmt: skip


def test_an_answer_that_is_too_long_says_how_much_of_it_was_left_out() -> None:
    jobs = tuple(running(number) for number in range(5_000))
    raw = wire.encode(wire.Answer(daemon="d", jobs=jobs))
    read = wire.Answer.model_validate_json(raw)
    assert len(raw) <= wire.MAX_ANSWER_BYTES
    assert read.jobs == jobs[: len(read.jobs)]
    assert len(read.jobs) + read.left_out == 5_000
    assert len(read.jobs) > 500


def test_a_short_answer_is_whole() -> None:
    answer = wire.Answer(daemon="d", jobs=(running(1),), running=1)
    assert wire.Answer.model_validate_json(wire.encode(answer)) == answer


def test_an_asker_is_told_what_was_given_wrongly_before_anybody_is_asked() -> None:
    fleet = Fleet(None, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidJobError, match="workers"):
        fleet.scale(5_000)
    with pytest.raises(InvalidJobError, match="either"):
        fleet.scale()
    with pytest.raises(InvalidJobError, match="wait_s"):
        fleet.ping(wait_s=0.0)
