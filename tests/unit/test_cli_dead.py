"""What `workd dead` makes of letters that are not as they should be: just those it is for."""

from __future__ import annotations

import pytest

from workd.cli.dead_mending import readable


@pytest.mark.parametrize("message", [b"[" * 100_000, b'{"a":' * 5_000, b"\xff", b"", b"1e999"])
def test_a_message_that_cannot_be_indented_is_mended_as_it_is(message: bytes) -> None:
    assert readable(message) == message


def test_json_is_indented_for_whoever_mends_it() -> None:
    assert readable('{"task":"ü"}'.encode()) == '{\n  "task": "ü"\n}\n'.encode()
