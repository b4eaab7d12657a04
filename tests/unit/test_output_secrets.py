"""Passwords and keys are in no line."""

import json
from urllib.parse import quote, quote_plus

import pytest

from workd.output.secrets import Mask, passwords_in


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("redis://localhost:6379/0", []),
        ("redis://:s3cret@localhost", ["s3cret"]),
        ("redis://user:p%40ss@localhost", ["p%40ss"]),
        ("unix:///run/redis.sock?password=s3cret", ["s3cret"]),
        ("rediss://u:one@h/0?ssl_password=two", ["one", "two"]),
        ("redis+sentinel://u:one@a:1,b:2/main/0?sentinel_password=two", ["one", "two"]),
        ("redis+cluster://u:one@a:1,b:2", ["one"]),
    ],
)
def test_every_password_of_a_url_is_found(url: str, passwords: list[str]) -> None:
    assert passwords_in(url) == passwords


def test_a_secret_is_hidden_in_each_spelling() -> None:
    mask = Mask()
    mask.hide(["p%40ss%22w\u00f6rd"])
    plain = 'p@ss"w\u00f6rd'
    for said in (plain, "p%40ss%22w\u00f6rd", json.dumps(plain), json.dumps(plain, ensure_ascii=False), repr(plain)):
        hidden = mask.apply(f"login with {said} failed")
        assert "ss" not in hidden
        assert hidden.startswith("login with ")
        assert hidden.endswith(" failed")


@pytest.mark.parametrize(
    "plain", ["it's s3cret", 's3cret"\\', "\n\t's3cret\"", "s3cr\u00e9t, s3cr\u00e9t", "+ s3cret /"]
)
def test_a_secret_is_hidden_however_often_it_is_quoted(plain: str) -> None:
    mask = Mask()
    mask.hide([quote(plain, safe="")])
    error = ValueError(f"""isn't a "URL": {plain}""")
    outer = RuntimeError(f"no connection: {error!r}")
    for said in (quote_plus(plain), f"{plain.encode()!r}", str(error), repr(error), repr(outer), repr([plain, error])):
        for line in (said, json.dumps(said), json.dumps(said, ensure_ascii=False)):
            hidden = mask.apply(f"<{line}>")
            assert "***" in hidden
            assert "s3cr" not in hidden


def test_short_words_are_left_alone() -> None:
    mask = Mask()
    mask.hide(["", "a", "123"])
    assert mask.apply("a line with 123 words") == "a line with 123 words"


def test_the_longest_secret_is_hidden_first() -> None:
    mask = Mask()
    mask.hide(["abcd"])
    mask.hide(["abcdefgh"])
    assert mask.apply("abcdefgh") == "***"
