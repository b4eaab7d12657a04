"""When a call is sent again, how long that may take, and what is told in the end."""

from __future__ import annotations

import pytest
from redis.exceptions import BusyLoadingError, ResponseError

from workd.client.admin import Admin
from workd.client.async_client import AsyncClient
from workd.client.connection import Deadline
from workd.client.sending import Attempts, Lanes, Sending, is_in_doubt
from workd.client.sync import Client
from workd.errors import (
    ClientError,
    EnqueueTimeoutError,
    InvalidJobError,
    NotDurableError,
    ServerUnavailableError,
    SettingsError,
)


def broken(*, in_doubt: bool) -> ServerUnavailableError:
    error = ServerUnavailableError("gone")
    error.in_doubt = in_doubt
    error.__cause__ = ConnectionResetError("reset")
    return error


def refused(cause: Exception) -> ServerUnavailableError:
    error = ServerUnavailableError("refused")
    error.__cause__ = cause
    return error


def attempts(retries: int = 3, span_s: float = 60.0, *, durable: bool = False) -> Attempts:
    return Attempts(Deadline(span_s), Sending(retries, durable))


def test_what_may_pass_is_tried_again_after_pauses_that_grow() -> None:
    tried = attempts()
    pauses_s = [tried.pause_s(broken(in_doubt=False)) for _ in range(3)]
    assert pauses_s[0] < pauses_s[1] < pauses_s[2] < 0.5
    with pytest.raises(ServerUnavailableError):
        tried.pause_s(broken(in_doubt=False))


def test_however_often_it_is_tried_no_pause_eats_up_the_deadline() -> None:
    tried = attempts(retries=100, span_s=2.0)
    assert max(tried.pause_s(broken(in_doubt=False)) for _ in range(100)) <= 0.5


@pytest.mark.parametrize(
    "error",
    [
        EnqueueTimeoutError("late"),
        refused(BusyLoadingError("Redis is loading the dataset in memory")),
        refused(ResponseError("LOADING Redis is loading the dataset in memory")),
        refused(ResponseError("BUSY Redis is busy running a script")),
        refused(ResponseError("CLUSTERDOWN The cluster is down")),
        refused(ResponseError("ASK 1 127.0.0.1:7000")),
    ],
)
def test_what_will_pass_is_tried_again(error: ClientError) -> None:
    assert attempts().pause_s(error) > 0


@pytest.mark.parametrize(
    "error",
    [
        refused(ResponseError("OOM command not allowed")),
        refused(ResponseError("STALE a later call from this place was done")),
        InvalidJobError("no"),
        NotDurableError("0 of 1 replicas had it in time", ["1-0"]),
    ],
)
def test_what_will_not_pass_is_told_at_once(error: ClientError) -> None:
    with pytest.raises(type(error)) as caught:
        attempts().pause_s(error)
    assert caught.value is error


def test_a_doubt_is_what_is_told_in_the_end_whatever_came_later() -> None:
    tried = attempts()
    doubt = broken(in_doubt=True)
    tried.pause_s(doubt)
    with pytest.raises(ServerUnavailableError) as caught:
        tried.pause_s(refused(ResponseError("OOM command not allowed")))
    assert caught.value is doubt
    assert is_in_doubt(doubt)
    assert not is_in_doubt(refused(ResponseError("OOM")))


def test_that_a_job_is_queued_says_more_than_a_doubt() -> None:
    tried = attempts(durable=True)
    tried.pause_s(broken(in_doubt=True))
    queued = NotDurableError("broke off", ["1-0"])
    queued.__cause__ = ConnectionResetError("reset")
    tried.pause_s(queued)
    with pytest.raises(NotDurableError) as caught:
        tried.pause_s(refused(ResponseError("OOM command not allowed")))
    assert caught.value is queued


def test_nothing_is_tried_again_when_the_time_is_over() -> None:
    with pytest.raises(EnqueueTimeoutError):
        attempts(span_s=0.0).pause_s(EnqueueTimeoutError("late"))


def test_each_attempt_gets_half_of_what_is_left_and_the_last_one_all() -> None:
    tried = attempts(retries=2, span_s=100.0)
    lengths_s = []
    for _ in range(2):
        lengths_s.append(tried.deadline().left_s())
        tried.pause_s(broken(in_doubt=False))
    assert lengths_s == pytest.approx([50.0, 50.0], abs=1.0)  # no time has passed between them
    assert tried.deadline().left_s() == pytest.approx(100.0, abs=1.0)
    assert tried.deadline().span_s == 100.0
    assert attempts(retries=2, span_s=100.0).deadline().span_s == 100.0


def test_a_durable_call_may_take_all_the_time_at_once() -> None:
    assert attempts(span_s=100.0, durable=True).deadline().left_s() == pytest.approx(100.0, abs=1.0)


def test_half_of_a_deadline_that_has_passed_is_not_nothing() -> None:
    assert 0 < Deadline(-1.0).half().left_s() < 0.1


def test_a_lane_is_used_by_one_call_at_a_time_and_counts_them() -> None:
    lanes = Lanes()
    one, other = lanes.take(), lanes.take()
    assert one.name != other.name
    assert (one.number, other.number) == (1, 1)
    lanes.give_back(one)
    again = lanes.take()
    assert again is one
    assert again.number == 2


def test_options_change_what_is_given_and_none_is_the_default() -> None:
    sure = Sending(retries=5, durable=True, durable_replicas=2)
    assert sure.changed({"queue": "images"}) is sure
    assert sure.changed({"retries": 0}) == Sending(0, durable=True, durable_replicas=2)
    assert sure.changed({"retries": None, "durable": None}) == Sending()
    assert sure.changed({"durable": False}) == Sending(5)
    assert Sending().changed({"durable": True, "durable_replicas": 1}) == Sending(durable=True, durable_replicas=1)
    with pytest.raises(InvalidJobError, match="durable_replicas"):
        Sending().changed({"durable_replicas": 1})
    with pytest.raises(InvalidJobError, match="durable: 'no' is neither True nor False"):
        Sending().changed({"durable": "no"})


@pytest.mark.parametrize("kind", [Client, AsyncClient, Admin])
@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), float("inf"), 1e10, "2", None, True])
def test_a_deadline_that_no_call_could_keep_is_refused(kind: type, deadline_s: object) -> None:
    with pytest.raises(SettingsError, match=r"deadline_s: .* is no time for a call"):
        kind("redis://localhost", deadline_s=deadline_s)
