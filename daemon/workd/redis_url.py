"""What a URL of a Redis server, or of several, has to look like. Pure; the standard library only, nothing is opened.

    redis://…  rediss://…  unix://…                                 one server
    redis+sentinel://[user:pass@]host[:port],…/service[/db]?…       the master that Sentinels name
    redis+cluster://[user:pass@]host[:port],…?…                     a Cluster, known by some of its nodes

Asked by the settings, before anything boots, and by the broker, before it makes a connection: redis-py itself takes
`redis://h/notadb` for database 0, and an unknown parameter for a bug of the caller. What is wrong is told without
repeating anything that could be a part of a password.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

_ANY: Final = re.compile(r".*", re.DOTALL)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,9}/?")

_UNIX: Final = {
    "client_name": _ANY,
    "db": _NUMBER,
    "decode_responses": _ANY,
    "encoding": _ANY,
    "encoding_errors": _ANY,
    "health_check_interval": _NUMBER,
    "max_connections": re.compile(r"[1-9][0-9]{0,8}"),
    "password": _ANY,
    "protocol": re.compile(r"[23]"),
    "retry_on_timeout": _ANY,
    "socket_connect_timeout": _SECONDS,
    "socket_read_size": _NUMBER,
    "socket_timeout": _SECONDS,
    "username": _ANY,
}
_TCP: Final = _UNIX | {"socket_keepalive": _ANY}
_TLS: Final = _TCP | {
    "ssl_ca_certs": _ANY,
    "ssl_ca_data": _ANY,
    "ssl_ca_path": _ANY,
    "ssl_cert_reqs": re.compile(r"none|optional|required"),
    "ssl_certfile": _ANY,
    "ssl_check_hostname": _ANY,
    "ssl_ciphers": _ANY,
    "ssl_keyfile": _ANY,
    "ssl_password": _ANY,
}
_SENTINEL: Final = {"sentinel_username": _ANY, "sentinel_password": _ANY}
PARAMETERS: Final = {"redis": _TCP, "rediss": _TLS, "unix": _UNIX}
"""Per scheme, the query parameters that redis-py has for it, and what their values look like."""
_OF_SEVERAL: Final = {
    f"{scheme}+{kind}": {name: values for name, values in (PARAMETERS[scheme] | more).items() if name != "db"}
    for scheme in ("redis", "rediss")
    for kind, more in (("sentinel", _SENTINEL), ("cluster", {}))
}
"""The same for several servers: what is for each of them, and what is for the Sentinels."""
SCHEMES: Final = PARAMETERS | _OF_SEVERAL
_SECRETS: Final = ("password", "ssl_password", "sentinel_password")
_SERVICE: Final = re.compile(r"/(?P<service>[A-Za-z0-9_.%-]+)(/(?P<db>[0-9]{1,9})?)?")
_SENTINEL_PORT: Final = 26379
_REDIS_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class Several:
    """A URL of several servers, taken apart: where to ask, and the URL of whichever server is named there."""

    kind: Literal["sentinel", "cluster"]
    seeds: tuple[tuple[str, int], ...]
    """Host and port of the Sentinels, or of some nodes of the Cluster."""
    service: str
    """What the Sentinels call the master; empty for a Cluster."""
    scheme: str
    user: str
    """User and password with their @, as they stand in the URL; or nothing."""
    db: str
    query: str
    sentinel_user: str
    sentinel_query: str

    def node_url(self, host: str, port: int) -> str:
        """Return the URL of a server that holds jobs."""
        return f"{self.scheme}://{self.user}{_named(host)}:{port}/{self.db}{self.query}"

    def sentinel_url(self, host: str, port: int) -> str:
        """Return the URL of a Sentinel, which has users and a password of its own, and no databases."""
        return f"{self.scheme}://{self.sentinel_user}{_named(host)}:{port}{self.sentinel_query}"


def checked(url: str) -> str:
    """Return the URL; ValueError says what is wrong with it."""
    for one in _one_by_one(url):
        _check_one(one)
    return url


def several(url: str) -> Several | None:
    """Take a URL of several servers apart; None for one server. ValueError says what is wrong with it."""
    parts = [_split(one) for one in _one_by_one(checked(url))]
    scheme, plus, kind = parts[0].scheme.partition("+")
    if not plus:
        return None
    asked = dict(parse_qsl(parts[0].query, keep_blank_values=True))
    name, password = (asked.pop(f"sentinel_{what}", "") for what in ("username", "password"))
    for_sentinels = {what: value for what, value in asked.items() if what not in ("username", "password")}
    path = _SERVICE.fullmatch(parts[0].path)
    port = _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT
    return Several(
        "sentinel" if kind == "sentinel" else "cluster",
        tuple((unquote(part.hostname or "localhost"), part.port or port) for part in parts),
        unquote(path["service"]) if path and kind == "sentinel" else "",
        scheme,
        "".join(parts[0].netloc.rpartition("@")[:2]),
        (path["db"] or "0") if path and kind == "sentinel" else "0",
        _query(asked),
        f"{quote(name, safe='')}:{quote(password, safe='')}@" if name or password else "",
        _query(for_sentinels),
    )


def masked(url: str) -> str:
    """Return the URL without user, password and query, for logs and errors; of one that is wrong, only the scheme."""
    try:
        first, *others = [urlsplit(one) for one in _one_by_one(checked(url))]
    except ValueError:
        scheme = url.partition("://")[0]
        return f"{scheme}://…" if scheme in SCHEMES else "…"
    hosts = ",".join(part.netloc.rpartition("@")[2] for part in (first, *others))
    return f"{first.scheme}://{hosts}{first.path}"


def _one_by_one(url: str) -> list[str]:
    """Return the URL as if there were only one server, for each of them."""
    scheme, _, rest = url.partition("://")
    if scheme not in _OF_SEVERAL:
        return [url]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = authority.rpartition("@")
    return [f"{scheme}://{user}{at}{host}{rest[len(authority) :]}" for host in hosts.split(",")]


def _check_one(url: str) -> None:
    parts = _split(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("should begin with redis://, rediss:// or unix://, redis+sentinel:// or redis+cluster://")
    if "@" in parts.path + parts.query or parts.fragment:
        raise ValueError("write @ / ? # in a password, a path or a parameter as %40 %2F %3F %23")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is no number up to 65535") from None
    if parts.scheme == "unix":
        _check_socket(parts)
    else:
        _check_path(parts)
        _check_host(parts)
    _check_query(parts.scheme, parts.query)


def _check_path(parts: SplitResult) -> None:
    match parts.scheme.partition("+")[2]:
        case "sentinel" if not _SERVICE.fullmatch(parts.path):
            raise ValueError("its path should be the name that the Sentinels have for the master, such as /mymaster/0")
        case "cluster" if parts.path not in ("", "/", "/0"):
            raise ValueError("a Cluster has no databases: leave its path away")
        case "" if not _DATABASE.fullmatch(parts.path):
            raise ValueError("its path should be the number of a database, such as /0")
        case _:
            pass
    if "+" in parts.scheme and not parts.hostname:
        raise ValueError("between two commas, and at both ends, there should be host:port")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text repeats what may be a password
        raise ValueError("is no URL: look at its host, where [ and ] belong around an IPv6 address") from None


def _check_socket(parts: SplitResult) -> None:
    if parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
        raise ValueError("write the path of a socket with three slashes: unix:///run/redis.sock")


def _check_host(parts: SplitResult) -> None:
    """Refuse what socket.getaddrinfo refuses with other errors than OSError, which nobody expects of a connection."""
    host = unquote(parts.hostname or "")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("its host can be no name: of its parts between dots one is empty or too long") from None
    if "\0" in host:
        raise ValueError("its host can be no name: there is a NUL in it")


def _check_query(scheme: str, query: str) -> None:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("after the ? there should be name=value, and & between two of them") from None
    known = SCHEMES[scheme]
    told = not any(name in _SECRETS for name, _ in pairs)  # a password with & in it looks like a name, too
    for name, value in pairs:
        named = f"{name!r} " if told or name in known else ""
        if name not in known:
            raise ValueError(f"the parameter {named}is none that redis-py knows for {scheme}://")
        if value and not known[name].fullmatch(value):
            raise ValueError(f"the parameter {named}has a value that it cannot have")


def _named(host: str) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if ":" in host else quote(host, safe="")


def _query(asked: dict[str, str]) -> str:
    return f"?{urlencode(asked)}" if asked else ""
