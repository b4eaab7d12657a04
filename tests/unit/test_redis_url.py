"""What a URL of a Redis server may look like, and what is told of one that is wrong."""

import re

import pytest

from workd.broker.link import connector
from workd.errors import SettingsError
from workd.redis_url import PARAMETERS, checked, masked

GOOD = [
    "redis://localhost:6379/0",
    "redis://localhost",
    "redis://",
    "redis://:6380/",
    "redis://[::1]:6379/15",
    "rediss://me:hun%40ter%2F2@cache.example/3?ssl_cert_reqs=none",
    "redis://h/0?protocol=3&decode_responses=yes&socket_timeout=1.5&client_name=",
    "unix:///run/redis.sock?db=1&password=a%26b%40c",
    "unix://me:secret@/run/redis.sock",
]
WRONG = [
    ("http://h", "should begin with redis://, rediss:// or unix://"),
    ("localhost:6379", "should begin with"),
    ("redis://localhost:1/0?foo=bar", "the parameter 'foo' is none that redis-py knows for redis://"),
    ("redis://h?ssl_keyfile=x", "the parameter 'ssl_keyfile' is none that redis-py knows for redis://"),
    ("unix:///r.sock?socket_keepalive=1", "the parameter 'socket_keepalive' is none that redis-py knows for unix://"),
    ("redis://h?db=one", "the parameter 'db' has a value that it cannot have"),
    ("redis://h?password=secret&word=2", "the parameter is none that redis-py knows"),
    ("redis://h?db", "after the ? there should be name=value"),
    ("redis://[::1/0", "is no URL: look at its host"),
    ("redis://h/notadb", "its path should be the number of a database"),
    ("redis://h/0/1", "its path should be the number of a database"),
    ("redis://h/-1", "its path should be the number of a database"),
    ("redis://h:port", "its port is no number"),
    ("redis://h:65536", "its port is no number"),
    ("redis://:sec/ret@h/0", "write @ / ? # in a password"),
    ("redis://:sec?re=t@h/0", "write @ / ? # in a password"),
    ("redis://:sec#ret@h/0", "write @ / ? # in a password"),
    ("redis://:sec[ret@h/0", "is no URL"),
    ("redis://:secret@h\u2100/0", "is no URL"),
    (f"redis://:secret@{'h' * 64}.example/0", "its host can be no name"),
    ("redis://:secret@h..example/0", "its host can be no name"),
    ("redis://:secret@h%00/0", "its host can be no name"),
    ("unix://run/redis.sock", "three slashes"),
    ("unix://", "three slashes"),
]


@pytest.mark.parametrize("url", GOOD)
def test_what_is_right_is_left_as_it_is_and_makes_a_connection(url: str) -> None:
    assert checked(url) == url
    connector(url, 1.0, "me")()


@pytest.mark.parametrize(("url", "said"), WRONG)
def test_what_is_wrong_is_told_without_the_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        checked(url)
    with pytest.raises(SettingsError) as refused:
        connector(url, 1.0, "me")
    assert refused.value.setting == "redis_url"
    for told in (str(caught.value), str(refused.value), masked(url)):
        assert "sec" not in told
        assert "ret" not in told


@pytest.mark.parametrize("scheme", PARAMETERS)
def test_redis_py_takes_every_parameter_that_we_let_through(scheme: str) -> None:
    for name, values in PARAMETERS[scheme].items():
        value = next(value for value in ("3", "none") if values.fullmatch(value))
        connector(f"{scheme}://{'/s' if scheme == 'unix' else ''}?{name}={value}", 1.0, "me")()


def test_what_redis_py_refuses_of_a_url_that_looks_right_is_a_wrong_setting_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PARAMETERS["redis"], "foo", PARAMETERS["redis"]["username"])
    with pytest.raises(SettingsError, match=r"redis_url: redis://h/0: .*unexpected keyword argument 'foo'"):
        connector("redis://h/0?foo=bar", 1.0, "me")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:secret@h:1/0?password=secret", "redis://h:1/0"),
        ("unix://me:secret@/run/r.sock?password=secret", "unix:///run/r.sock"),
        ("redis://:sec@ret@h/0", "redis://h/0"),
        ("redis://:secret/secret@h/0", "redis://…"),
        ("secret", "…"),
    ],
)
def test_a_url_is_shown_without_user_password_and_query(url: str, shown: str) -> None:
    assert masked(url) == shown
