import itertools
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from workd import wire
from workd.crontab import Line, Times, job_id, lines_of_tasks
from workd_tasks import TaskDefinitionError

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    """Epoch seconds of a time with its offset."""
    return int(datetime.fromisoformat(text).timestamp())


def shown(times: Times, start: str, count: int) -> list[str]:
    """The next fire times, as clocks in Berlin show them."""
    found = itertools.islice(times.following(at(start)), count)
    return [datetime.fromtimestamp(at_s, BERLIN).strftime("%d. %H:%M%z") for at_s in found]


# ── fire times ──


def test_fire_times_are_those_after_a_moment_and_not_that_moment() -> None:
    times = Times("*/15 * * * *")
    start = at("2030-01-01T00:00:00Z")
    assert list(itertools.islice(times.following(start), 3)) == [start + 900, start + 1800, start + 2700]
    assert times.after(start + 899) == start + 900


def test_six_fields_begin_with_seconds() -> None:
    start = at("2030-01-01T00:00:00Z")
    assert Times("*/20 * * * * *").after(start) == start + 20
    assert Times("* * * * * *").after(start) == start + 1


@pytest.mark.parametrize(
    ("nickname", "expression"),
    [("@hourly", "0 * * * *"), ("@Daily", "0 0 * * *"), ("@weekly", "0 0 * * SUN"), ("@yearly", "0 0 1 1 *")],
)
def test_nicknames_stand_for_lines(nickname: str, expression: str) -> None:
    start = at("2030-05-05T05:05:05Z")
    assert Times(nickname).after(start) == Times(expression).after(start)


def test_a_time_in_the_hour_that_is_left_out_fires_when_clocks_have_been_set_forward() -> None:
    # 31 March 2030: 02:00 becomes 03:00.
    fires = ["30. 02:30+0100", "31. 03:00+0200", "01. 02:30+0200"]
    assert shown(Times("30 2 * * *", "Europe/Berlin"), "2030-03-30T00:00:00Z", 3) == fires
    several = ["31. 01:30+0100", "31. 03:00+0200", "31. 03:30+0200"]
    assert shown(Times("0,30 1-3 * * *", "Europe/Berlin"), "2030-03-31T00:10:00Z", 3) == several


def test_a_time_in_the_hour_that_comes_twice_fires_in_the_first() -> None:
    # 27 October 2030: 03:00 becomes 02:00.
    fires = ["27. 02:30+0200", "28. 02:30+0100"]
    assert shown(Times("30 2 * * *", "Europe/Berlin"), "2030-10-26T12:00:00Z", 2) == fires
    assert shown(Times("30 2 * * *", "Europe/Berlin"), "2030-10-27T00:31:00Z", 1) == fires[1:]
    assert shown(Times("30 2 * * *", "Europe/Berlin"), "2030-10-27T01:10:00Z", 1) == fires[1:]


def test_a_line_for_every_hour_fires_in_both_of_them_and_in_none_that_is_left_out() -> None:
    every = Times("0 * * * *", "Europe/Berlin")
    doubled = ["27. 01:00+0200", "27. 02:00+0200", "27. 02:00+0100", "27. 03:00+0100"]
    assert shown(every, "2030-10-26T22:30:00Z", 4) == doubled
    assert shown(every, "2030-03-31T00:30:00Z", 2) == ["31. 03:00+0200", "31. 04:00+0200"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe"])
@pytest.mark.parametrize("expression", ["30 2 * * *", "*/7 * * * *", "0 0 * * *", "15 0-23 * * *", "0 1,2,3 * * SUN"])
def test_fire_times_only_go_forward_and_do_not_depend_on_where_one_begins(expression: str, zone: str) -> None:
    times = Times(expression, zone)
    for start in ("2030-03-29T00:00:00Z", "2030-10-05T00:00:00Z", "2030-10-26T00:00:00Z", "2030-11-02T00:00:00Z"):
        found = list(itertools.islice(times.following(at(start)), 300))
        assert found == sorted(set(found))
        for one, following in itertools.pairwise(found):
            assert times.after(one) == following


def test_the_latest_fire_times_are_found_however_long_ago_the_last_one_was() -> None:
    now = at("2030-06-01T12:00:00Z")
    every_second = Times("* * * * * *")
    assert every_second.latest(0, now, 3) == [now - 2, now - 1, now]
    assert every_second.latest(now - 2, now, 100) == [now - 1, now]
    yearly = Times("@yearly")
    assert yearly.latest(at("2027-06-01T00:00:00Z"), now, 2) == [at("2029-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z")]
    assert yearly.latest(at("2030-02-01T00:00:00Z"), now, 2) == []


# ── lines ──


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cron": "0 0 30 2 *"}, "'0 0 30 2 *' is no cron line, or never fires"),
        ({"cron": "0 0 31 4,6,9,11 *"}, "never fires"),
        ({"cron": "60 * * * *"}, "Bad minute"),
        ({"cron": "* * * *"}, "Wrong number of fields"),
        ({"cron": "@reboot"}, "is no cron line"),
        ({"cron": ""}, "is no cron line"),
        ({"timezone": "Europe/Atlantis"}, "there is no time zone 'Europe/Atlantis'"),
        ({"timezone": "../etc/passwd"}, "there is no time zone"),
        ({"timezone": ""}, "there is no time zone"),
        ({"task": "no name"}, "task"),
        ({"queue": "{}"}, "queue"),
        ({"catch_up": "some"}, "catch_up"),
        ({"catch_up_max": 0}, "catch_up_max"),
        ({"expires_s": 0}, "expires_s"),
        ({"args": [float("nan")]}, "NaN"),
        ({"args": [object()]}, "arguments of square"),
        ({"when": "now"}, "Extra inputs are not permitted"),
    ],
)
def test_a_line_that_is_wrong_is_refused_and_says_why(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Line.model_validate({"task": "square", "cron": "0 3 * * *"} | fields)
    assert said in str(caught.value)


def test_the_message_of_a_fire_time_names_it_and_is_the_same_from_every_daemon() -> None:
    line = Line(task="report", cron="0 3 * * *", args=(1, "two"), kwargs={"full": True})
    message = line.message("nightly.report", at("2030-01-31T03:00:00Z"))
    assert message == line.model_copy().message("nightly.report", at("2030-01-31T03:00:00Z"))
    envelope = wire.decode(message)
    assert envelope.id == "cron:nightly.report:2030-01-31T03:00:00Z"
    assert (envelope.task, envelope.args, envelope.kwargs) == ("report", (1, "two"), {"full": True})
    assert envelope.meta == {"cron": "nightly.report"}
    assert (envelope.unique, envelope.expires_at) == (None, None)


def test_options_of_a_line_are_options_of_its_messages() -> None:
    line = Line(task="report", cron="@daily", overlap=False, expires_s=60)
    envelope = wire.decode(line.message("nightly", 1_000))
    assert (envelope.unique, envelope.expires_at) == ("cron:nightly", 1_060)


def test_the_longest_name_fits_into_an_id() -> None:
    assert len(job_id("x" * 96, at("2030-01-31T03:00:00Z"))) <= wire.MAX_ID_CHARS


def test_a_fingerprint_changes_with_the_fire_times_alone() -> None:
    line = Line(task="report", cron="0 3 * * *")
    assert line.fingerprint == Line(task="other", cron="0 3 * * *", args=(1,)).fingerprint
    assert line.fingerprint != Line(task="report", cron="0 4 * * *").fingerprint
    assert line.fingerprint != Line(task="report", cron="0 3 * * *", timezone="Europe/Berlin").fingerprint


def test_tasks_have_lines_of_their_own() -> None:
    catalogue: dict[str, dict[str, Any]] = {
        "plain": {"cron": None},
        "app.nightly": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
        "old": {},
    }
    assert lines_of_tasks(catalogue) == {
        "app.nightly": Line(task="app.nightly", cron="0 3 * * *", timezone="Europe/Berlin")
    }


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "nightly",
            {"cron": "0 0 30 2 *"},
            "task 'nightly': option cron: '0 0 30 2 *' is no cron line, or never fires",
        ),
        ("nightly", {"cron": "@daily", "timezone": "Mars"}, "there is no time zone 'Mars'"),
        ("n" * 97, {"cron": "@daily"}, "too long for a schedule"),
    ],
)
def test_a_line_of_a_task_that_is_wrong_names_the_task(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(TaskDefinitionError) as caught:
        lines_of_tasks({name: options})
    assert said in str(caught.value)
