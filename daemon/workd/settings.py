"""All settings of the daemon: their names, types, defaults and meaning, and where their values come from.

`load` reads the sources in rising order (defaults, TOML file, systemd credentials, `WORKD_…` environment,
flags) and says for each setting which one it was. The command line and `workd config` are made from this one
table, so a new setting is a new field here and nothing else. Making a `Settings` by hand reads no source. Row
1: no Redis, no process.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from workd import cores
from workd import redis_url as urls
from workd.address import DEFAULT_HTTP, parse
from workd.crontab import NAME_RULE, Line
from workd.errors import SettingsError
from workd.signing import Signing, check_keys, split_keys
from workd.sizes import LeastWorkers, MostWorkers, Workers
from workd_tasks.options import MAX_CONCURRENCY, MIN_MEMORY_BYTES, QUEUE_RULE, size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_CONFIG: Final = Path("/etc/workd/workd.toml")
ENV_PREFIX: Final = "WORKD_"
SECRETS: Final = frozenset({"redis_url", "signing_keys"})  # read from $CREDENTIALS_DIRECTORY too, and masked when shown
_OTHER_VARIABLES: Final = frozenset({"WORKD_CONFIG", "WORKD_FAULT_POINT"})
_MIB: Final = 1024 * 1024


def _split(value: object) -> object:
    """Read a list as people write it in one word: `images,default`."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    """Drop repetitions: a queue that is named twice is still read once a turn."""
    return tuple(dict.fromkeys(value))


def _weights(value: object) -> object:
    """Read weights as people write them in one word: `urgent=6,bulk=1`. What is no number is refused later."""
    if not isinstance(value, str):
        return value
    pairs = (part.partition("=") for part in value.split(",") if part.strip())
    return {name.strip(): number.strip() for name, _, number in pairs}


def _address(value: str) -> str:
    """Refuse what is no address now, not when the socket is opened."""
    return str(parse(value)) if value else ""


def _some_memory(value: int) -> int:
    """Refuse a limit in which no job could run."""
    if 0 < value < MIN_MEMORY_BYTES:
        raise ValueError(f"should be 0, or at least {MIN_MEMORY_BYTES}")
    return value


QueueName = Annotated[str, StringConstraints(pattern=f"^(?:{QUEUE_RULE.pattern})$")]
QueueNames = Annotated[tuple[QueueName, ...], NoDecode, BeforeValidator(_split), AfterValidator(_distinct)]
Weight = Annotated[int, Field(ge=1, le=1_000_000)]
Weights = Annotated[dict[QueueName, Weight], NoDecode, BeforeValidator(_weights)]
SigningKeys = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_keys), AfterValidator(check_keys)]
ModuleNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_distinct)]
LineName = Annotated[str, StringConstraints(pattern=f"^(?:{NAME_RULE.pattern})$")]
RedisUrl = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^(unix|rediss?(\+(sentinel|cluster))?)://\S+$"),
    AfterValidator(urls.checked),
]
Bytes = Annotated[int, BeforeValidator(size_bytes), Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(gt=0, le=10 * 366 * 86_400, allow_inf_nan=False)]


def usable_cores() -> int:
    """Count the cores that this process can keep busy."""
    return cores.usable()


class Settings(BaseSettings):
    """One daemon's settings, checked and frozen."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        env_prefix=ENV_PREFIX,
    )

    redis_url: RedisUrl = Field(
        default="redis://localhost:6379/0", description="the Redis or Valkey server, Sentinels or Cluster"
    )
    modules: ModuleNames = Field(default=(), description="task modules, where none are named on the command line")
    queues: QueueNames = Field(
        default=("default",), min_length=1, description="queues to serve, in order of preference"
    )
    queue_weights: Weights = Field(
        default_factory=dict,
        description="shares of the queues, as urgent=6,bulk=1 (else 1); without any, an earlier queue goes first",
    )
    inbox_queues: QueueNames = Field(default=("default",), description="queues whose inbox list (RPUSH) is served too")
    workers: Workers = Field(
        default_factory=usable_cores,
        description="worker processes (default: one for each usable core); auto: as the load asks",
    )
    workers_min: LeastWorkers = Field(default=1, description="with workers = auto: so many at least; 0: none when idle")
    workers_max: MostWorkers = Field(default=0, description="with workers = auto: so many at most; 0: four for a core")
    lease_s: Seconds = Field(
        default=15, ge=1, description="others take over this long after a daemon's last sign of life"
    )
    drain_s: float = Field(
        default=30, ge=0, le=86_400, description="running tasks may take this long to finish at a stop"
    )
    cancel_grace_s: float = Field(
        default=5, ge=0, le=86_400, description="a cancelled task may take this long to stop before it is killed"
    )
    timeout_s: Seconds = Field(default=3600, description="how long a task may run that sets no timeout of its own")
    async_concurrency: int = Field(
        default=1, ge=1, le=MAX_CONCURRENCY, description="how many async tasks a worker runs at once, if they don't say"
    )
    memory_limit_bytes: Annotated[Bytes, AfterValidator(_some_memory)] = Field(
        default=0, description="memory over which a job's worker is killed, as 512M; 0: its task's own alone"
    )
    max_crashes: int = Field(default=3, ge=1, description="dead after so many runs that killed their worker")
    max_takeovers: int = Field(default=10, ge=1, description="dead after so many takeovers from daemons that died")
    unknown_task_s: float = Field(default=60, ge=0, description="how long a task that nobody knows is tried again")
    max_message_bytes: int = Field(
        default=_MIB, ge=1024, description="longer messages, and longer results, are dead letters"
    )
    boot_timeout_s: Seconds = Field(default=60, description="how long a worker may take to start")
    worker_max_jobs: int = Field(default=0, ge=0, description="a worker is replaced after so many jobs; 0: never")
    worker_max_age_s: float = Field(
        default=0, ge=0, le=10 * 366 * 86_400, description="a worker is replaced after so long; 0: never"
    )
    worker_max_growth_bytes: Bytes = Field(
        default=0, description="a worker is replaced when it has grown by so much since its start; 0: never"
    )
    dead_max_bytes: int = Field(default=256 * _MIB, ge=_MIB, description="dead letters kept of each queue, in bytes")
    dead_max_age_s: Seconds = Field(default=30 * 86_400, description="dead letters kept of each queue, by age")
    http: Annotated[str, AfterValidator(_address)] = Field(
        default=DEFAULT_HTTP, description="where health is answered: host:port or unix:/path; empty: nowhere"
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="least level logged"
    )
    log_format: Literal["auto", "json", "console", "journal"] = Field(
        default="auto", description="auto: the journal under systemd, colours on a terminal, else JSON"
    )
    schedule: dict[LineName, Line] = Field(
        default={}, description="jobs at certain times: a table [schedule.NAME] for each, in the file"
    )
    signing_keys: SigningKeys = Field(
        default=(),
        repr=False,
        description="keys of at least 16 bytes: messages have to be signed with one of them, the first signs ours",
    )
    require_signatures: bool = Field(
        default=False, description="end at start without signing_keys, instead of running what nobody has signed"
    )
    require_redis: bool = Field(
        default=False, description="end at start when Redis does not answer, instead of trying on"
    )

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The inboxes to serve: those of queues that are served at all, none where messages have to be signed."""
        return () if self.signing_keys else self._wished_inboxes

    @property
    def _wished_inboxes(self) -> tuple[str, ...]:
        return tuple(queue for queue in self.queues if queue in self.inbox_queues)

    @property
    def signing(self) -> Signing | None:
        """What verifies and signs messages; None without keys."""
        return Signing.of(self.signing_keys)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but what the constructor is given: the sources are `load`'s, which keeps count."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with, for each name, where its value came from; `warnings` is for the log."""

    settings: Settings
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()

    def shown(self) -> dict[str, object]:
        """List the effective settings, with passwords masked."""
        return {name: masked(name, getattr(self.settings, name)) for name in names()}


def names() -> tuple[str, ...]:
    """List the settings in the order in which they are shown."""
    return tuple(Settings.model_fields)


def flag(name: str) -> str:
    """Spell a setting as a flag."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Spell a setting as an environment variable."""
    return ENV_PREFIX + name.upper()


def masked(name: str, value: object) -> object:
    """Return a value as plain data, without what must not be printed: the password in a URL, and no more of it."""
    if name == "schedule" and isinstance(value, dict):
        return {line: one.model_dump(mode="json", exclude_unset=True) for line, one in value.items()}
    if name not in SECRETS:
        return value
    if name == "signing_keys":
        return ["***"] * len(value) if isinstance(value, tuple) else "***"
    hidden = re.sub(r"(://[^:/@\s]*:)\S*(@)", r"\1***\2", str(value))
    return re.sub(r"([?&](?:ssl_|sentinel_)?password=)[^&\s]*", r"\1***", hidden)


Layer = tuple[str, dict[str, Any]]
"""Where some values come from, and these."""


def load(flags: Mapping[str, object], config: Path | None = None, unit: Iterable[Layer] = ()) -> Loaded:
    """Read all sources and check them; SettingsError names the first setting that is wrong, and its source.

    `flags` maps setting names to values; None is a flag that was not given. `config` is a file that has to
    exist; without it DEFAULT_CONFIG is read if it is there. `unit` is what a unit would bring, weaker than our own.
    """
    layers = [
        *_file_layers(config),
        *_credential_layers(os.environ.get("CREDENTIALS_DIRECTORY", "")),
        *unit,
        *((variable(name), {name: value}) for name, value in EnvSettingsSource(Settings)().items()),
        *((flag(name), {name: value}) for name, value in flags.items() if value is not None),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(names(), "default")
    for origin, layer in layers:
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _settings_error(error, values, origins) from None
    return Loaded(settings, origins, tuple(_warnings(settings, os.environ)))


def _file_layers(config: Path | None) -> list[Layer]:
    path = config or DEFAULT_CONFIG
    if config is None and not path.exists():
        return []
    try:
        path.open("rb").close()  # the source below takes a missing file for an empty one
        return [(str(path), TomlConfigSettingsSource(Settings, toml_file=path)())]
    except OSError as error:
        raise SettingsError("config", f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError("config", f"{path} is not TOML: {error}") from None


def _credential_layers(directory: str) -> list[Layer]:
    """Read the secrets that systemd hands over as files (`LoadCredential=redis_url:/etc/…`)."""
    if not directory:
        return []
    paths = {name: Path(directory) / name for name in sorted(SECRETS)}
    return [
        (f"credential {name}", {name: path.read_text(encoding="utf-8").strip()})
        for name, path in paths.items()
        if path.is_file()
    ]


def _settings_error(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> SettingsError:
    """Turn pydantic's list into one line about the first setting that is wrong."""
    first, *others = error.errors(include_url=False)
    name = str(first["loc"][0])
    more = f" (and {len(others)} more)" if others else ""
    if name not in Settings.model_fields:
        return SettingsError(name, f"there is no such setting, from {origins[name]}{nearest(name, names())}{more}")
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if name == "schedule":  # a table of tables: the path says which word of which line
        path = ".".join(str(part) for part in first["loc"] if part != "[key]")
        return SettingsError(path, f"{reason} (from {origins[name]}){more}")
    given = "" if name in SECRETS else f"{values.get(name)!r} "
    return SettingsError(name, f"{reason} ({given}from {origins[name]}){more}")


def nearest(word: str, known: tuple[str, ...]) -> str:
    """Guess what was meant: `; did you mean lease_s?`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _warnings(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Say what is no error and yet not what anybody meant."""
    known = {variable(name) for name in names()} | _OTHER_VARIABLES
    unknown = sorted(name for name in environ if name.startswith(ENV_PREFIX) and name not in known)
    spare = [queue for queue in settings.inbox_queues if queue not in settings.queues]
    unserved = [queue for queue in settings.queue_weights if queue not in settings.queues]
    refused = settings._wished_inboxes if settings.signing_keys else ()  # noqa: SLF001 - of the class above
    return [
        *(
            f"inbox_queues: the inbox of {queue} is not served: messages have to be signed (signing_keys), and what"
            " is pushed to a list has no signature; with an empty inbox_queues this is not said"
            for queue in refused
        ),
        *(f"{name} is not a setting{nearest(name, tuple(sorted(known)))}" for name in unknown),
        *(
            f"inbox_queues: {queue} is not among queues: its inbox is not served"
            for queue in spare
            if "inbox_queues" in settings.model_fields_set
        ),
        *(f"queue_weights: {queue} is not among queues: its weight says nothing" for queue in unserved),
    ]
