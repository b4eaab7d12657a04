"""What a URL of several servers may look like, and which URLs of one server come of it."""

import re

import pytest

from workd.broker.servers import Servers
from workd.errors import SettingsError
from workd.redis_url import SCHEMES, checked, masked, several
from workd.settings import Settings
from workd.settings import masked as masked_setting

GOOD = [
    ("redis+sentinel://s/mymaster", (("s", 26379),), "redis://h:1/0"),
    ("redis+sentinel://s:1,[::1]:2,t/my.master-1/3", (("s", 1), ("::1", 2), ("t", 26379)), "redis://h:1/3"),
    ("rediss+sentinel://me:p%40w@s/mymaster/", (("s", 26379),), "rediss://me:p%40w@h:1/0"),
    ("redis+sentinel://s/m?sentinel_password=x%2Fy&protocol=3", (("s", 26379),), "redis://h:1/0?protocol=3"),
    ("redis+cluster://a", (("a", 6379),), "redis://h:1/0"),
    ("redis+cluster://:pw@a:1,b:2/", (("a", 1), ("b", 2)), "redis://:pw@h:1/0"),
    ("rediss+cluster://a:1,b:2/0?ssl_cert_reqs=none", (("a", 1), ("b", 2)), "rediss://h:1/0?ssl_cert_reqs=none"),
]
WRONG = [
    ("redis+sentinel://:secret@s", "its path should be the name that the Sentinels have for the master"),
    ("redis+sentinel://:secret@s/", "its path should be the name that the Sentinels have for the master"),
    ("redis+sentinel://:secret@s/m/0/1", "its path should be the name that the Sentinels have for the master"),
    ("redis+sentinel://:secret@s/m/db", "its path should be the name that the Sentinels have for the master"),
    ("redis+sentinel://:secret@s,,t/m", "between two commas"),
    ("redis+sentinel:///m", "between two commas"),
    ("redis+sentinel://:secret@s:port/m", "its port is no number"),
    ("redis+sentinel://s/m?sentinel_db=secret", "the parameter 'sentinel_db' is none that redis-py knows"),
    ("redis+sentinel://s/m?sentinel_password=secret&word=2", "the parameter is none that redis-py knows"),
    ("redis+sentinel://:sec/ret@s/m", "write @ / ? # in a password"),
    ("redis+cluster://:secret@a/1", "a Cluster has no databases"),
    ("redis+cluster://:secret@a?db=1", "the parameter 'db' is none that redis-py knows for redis+cluster://"),
    ("redis+cluster://:secret@a,b:65536", "its port is no number"),
    ("redis+cluster://:sec#ret@a,b", "write @ / ? # in a password"),
    ("redis+cluster://a,[::1:7000", "is no URL"),
    (f"redis+cluster://:secret@a,{'h' * 64}.example", "its host can be no name"),
    ("redis+magic://:secret@a", "should begin with"),
]


@pytest.mark.parametrize(("url", "seeds", "node_url"), GOOD)
def test_what_is_right_gives_seeds_and_the_urls_of_servers(
    url: str, seeds: tuple[tuple[str, int], ...], node_url: str
) -> None:
    assert checked(url) == url
    assert Settings(redis_url=url).redis_url == url
    found = several(url)
    assert found is not None
    assert found.seeds == seeds
    assert found.node_url("h", 1) == checked(node_url) == node_url
    checked(found.sentinel_url("::1", 2))
    Servers(url).connector(1.0, "me")()


@pytest.mark.parametrize(("url", "said"), WRONG)
def test_what_is_wrong_is_told_without_the_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        checked(url)
    with pytest.raises(SettingsError) as refused:
        Servers(url).connector(1.0, "me")
    for told in (str(caught.value), str(refused.value), masked(url)):
        assert "secret" not in told.replace("sentinel_db=secret", "")
        assert "ret@" not in told


def test_sentinels_have_a_user_of_their_own_and_servers_have_theirs() -> None:
    found = several(
        "redis+sentinel://me:mine@s/m?sentinel_username=it&sentinel_password=its%40&password=mine&protocol=3"
    )
    assert found is not None
    assert found.sentinel_url("s", 1) == "redis://it:its%40@s:1?protocol=3"
    assert found.node_url("h", 2) == "redis://me:mine@h:2/0?password=mine&protocol=3"
    plain = several("redis+sentinel://me:mine@s/m")
    assert plain is not None
    assert plain.sentinel_url("s", 1) == "redis://s:1"


def test_one_server_is_not_several() -> None:
    for url in ("redis://h", "rediss://h/1", "unix:///run/redis.sock"):
        assert several(url) is None


def test_passwords_are_hidden_wherever_a_url_is_shown() -> None:
    url = "redis+sentinel://me:hunter2@a:1,b:2/m/0?sentinel_password=hunter2&protocol=3"
    assert masked(url) == "redis+sentinel://a:1,b:2/m/0"
    shown = masked_setting("redis_url", url)
    assert shown == "redis+sentinel://me:***@a:1,b:2/m/0?sentinel_password=***&protocol=3"


def test_a_parameter_of_one_server_is_one_of_several_too() -> None:
    for scheme in ("redis", "rediss"):
        for kind in ("sentinel", "cluster"):
            assert set(SCHEMES[scheme]) - {"db"} <= set(SCHEMES[f"{scheme}+{kind}"])
