"""From what redis-py raises to what workd raises. Pure.

Three answers: Redis cannot serve now (try again, with new connections), somebody else's key is in our place (a person
has to look), or Redis refused a command (a fault of ours, or rights that are missing). Used by the session.
"""

from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd.errors import BrokerError, BrokerUnavailableError, WrongKeyTypeError

_CANNOT_NOW: Final = (
    "ASK ",
    "BUSY ",
    "CLUSTERDOWN",
    "ERR Script killed",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED ",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
)
_GROUP_IS_GONE: Final = ("NOGROUP", "UNBLOCKED")  # Valkey's word and that of Redis 7.0 for a deleted stream


def text_of(error: BaseException) -> str:
    """Return the error as the server wrote it: redis-py takes the first word away where it knows the code."""
    code = getattr(error, "status_code", None)
    text = str(error)
    return f"{code} {text}" if code and not text.startswith(code) else text


def is_wrong_type(error: BaseException) -> bool:
    """Say whether a command met a key of another type, without saying which."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def group_is_gone(error: BaseException) -> bool:
    """Say whether a read found no stream or no consumer group."""
    return isinstance(error, ResponseError) and str(error).startswith(_GROUP_IS_GONE)


def told(error: RedisError | OSError, url: str, doing: str) -> BrokerError:
    """Return our error for theirs; `url` is masked already, `doing` says what was asked for."""
    text = text_of(error)
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return BrokerUnavailableError(f"Redis at {url} does not answer ({doing}): {text}")
    if text.startswith("WRONGKEY "):
        _, wanted, key = text.split(" ", 2)
        return WrongKeyTypeError(key, wanted)
    if text.startswith(_CANNOT_NOW):
        return BrokerUnavailableError(f"Redis at {url} cannot serve now ({doing}): {text}")
    return BrokerError(f"Redis at {url} refused ({doing}): {text}")
