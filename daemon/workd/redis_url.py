"""What a URL of a Redis server has to look like. Pure; the standard library only, nothing is opened.

Asked by the settings, before anything boots, and by the broker, before it makes a connection: redis-py itself takes
`redis://h/notadb` for database 0, and an unknown parameter for a bug of the caller. What is wrong is told without
repeating anything that could be a part of a password.
"""

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

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
PARAMETERS: Final = {"redis": _TCP, "rediss": _TLS, "unix": _UNIX}
"""Per scheme, the query parameters that redis-py has for it, and what their values look like."""
_SECRETS: Final = ("password", "ssl_password")


def checked(url: str) -> str:
    """Return the URL; ValueError says what is wrong with it."""
    parts = _split(url)
    if parts.scheme not in PARAMETERS:
        raise ValueError("should begin with redis://, rediss:// or unix://")
    if "@" in parts.path + parts.query or parts.fragment:
        raise ValueError("write @ / ? # in a password, a path or a parameter as %40 %2F %3F %23")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is no number up to 65535") from None
    if parts.scheme == "unix":
        _check_socket(parts)
    elif not _DATABASE.fullmatch(parts.path):
        raise ValueError("its path should be the number of a database, such as /0")
    else:
        _check_host(parts)
    _check_query(parts.scheme, parts.query)
    return url


def masked(url: str) -> str:
    """Return the URL without user, password and query, for logs and errors; of one that is wrong, only the scheme."""
    try:
        parts = urlsplit(checked(url))
    except ValueError:
        scheme = url.partition("://")[0]
        return f"{scheme}://…" if scheme in PARAMETERS else "…"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


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
    told = not any(name in _SECRETS for name, _ in pairs)  # a password with & in it looks like a name, too
    for name, value in pairs:
        named = f"{name!r} " if told or name in PARAMETERS[scheme] else ""
        if name not in PARAMETERS[scheme]:
            raise ValueError(f"the parameter {named}is none that redis-py knows for {scheme}://")
        if value and not PARAMETERS[scheme][name].fullmatch(value):
            raise ValueError(f"the parameter {named}has a value that it cannot have")
