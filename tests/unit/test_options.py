import json
from typing import Any, get_type_hints

import pytest

from workd_tasks import TaskDefinitionError, TaskOptions
from workd_tasks.options import TaskKeywords, read_options, size_bytes

BEYOND_THE_TABLE = {"name", "retry_for", "no_retry_for"}


def test_type_checkers_are_told_of_the_same_options_with_the_same_types() -> None:
    told, kept = get_type_hints(TaskKeywords), get_type_hints(TaskOptions)
    assert set(told) - BEYOND_THE_TABLE == set(kept)
    taken_as_text = {"memory_limit"}
    for name in set(kept) - taken_as_text:
        assert told[name] == kept[name], name


def test_the_options_are_plain_json() -> None:
    options = read_options("t", {"memory_limit": "512M", "unique": True, "soft_timeout": 5}).as_dict()
    assert json.loads(json.dumps(options)) == options
    assert options["memory_limit"] == 512 * 2**20


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", ""),
        ("queue", "a{b}"),
        ("queue", None),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("inf")),
        ("timeout", float("nan")),
        ("timeout", "30"),
        ("timeout", True),
        ("timeout", 1e12),
        ("timeout", 10**400),
        ("soft_timeout", 0),
        ("max_retries", -1),
        ("max_retries", 1.0),
        ("max_retries", True),
        ("max_retries", None),
        ("max_retries", 10**7),
        ("backoff_s", -1),
        ("backoff_s", None),
        ("max_backoff_s", "x"),
        ("jitter", 1),
        ("max_crashes", 0),
        ("expires", 0),
        ("start_by", -1),
        ("result_ttl", -1),
        ("unique", "key"),
        ("memory_limit", 1024),
        ("memory_limit", "512 monkeys"),
        ("memory_limit", "1e9"),
        ("memory_limit", True),
        ("memory_limit", 2**64),
        ("cron", "* * * *"),
        ("cron", 5),
        ("timezone", ""),
        ("timezone", None),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_option(option: str, value: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=rf"^task 't': option {option}=.* must be "):
        read_options("t", {option: value})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1_048_576, 2**20),
        ("1048576", 2**20),
        ("512M", 512 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("2TB", 2 * 2**40),
        ("8K", 8192),
    ],
)
def test_sizes_are_read_as_people_write_them(text: int | str, size: int) -> None:
    assert size_bytes(text) == size


def test_a_soft_timeout_that_would_never_come_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="soft_timeout=30 must be less than timeout=30"):
        read_options("t", {"soft_timeout": 30, "timeout": 30})
    assert read_options("t", {"soft_timeout": 30}).timeout is None
