"""What systemd knows of our units, as data. Reads `systemctl show`, and nothing else."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SYSTEMD: Final = Path("/run/systemd/system")  # it is there where systemd runs: sd_booted(3)
_TIMEOUT_S: Final = 10
_PATTERNS: Final = ("workd.service", "workd@*.service")
_PROPERTIES: Final = (
    *("Id", "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "FragmentPath", "DropInPaths"),
    *(
        "NeedDaemonReload",
        "NRestarts",
        "Type",
        "TimeoutStopUSec",
        "WatchdogUSec",
        "OOMPolicy",
        "ExecStart",
        "Environment",
    ),
    *(
        "User",
        "WorkingDirectory",
        "MemoryMax",
        "TasksMax",
        "LimitNOFILE",
        "ControlGroup",
        "StandardError",
        "LoadCredential",
    ),
)
_UNITS_S: Final = {"y": 31_557_600, "month": 2_629_800, "w": 604_800, "d": 86_400, "h": 3600, "min": 60, "s": 1,
                   "ms": 1e-3, "us": 1e-6}  # fmt: skip
_PIECE: Final = re.compile(r"(\d+(?:\.\d+)?)(y|month|w|d|h|min|ms|us|s)")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit's properties, as systemd writes them; `seconds`, `number` and `config` read some."""

    properties: dict[str, str]

    def __getitem__(self, name: str) -> str:
        """Return a property, or nothing."""
        return self.properties.get(name, "")

    @property
    def name(self) -> str:
        """Its name, `workd@images.service`."""
        return self["Id"]

    @property
    def installed(self) -> bool:
        """Whether there is such a unit."""
        return self["LoadState"] not in {"", "not-found"}

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self["ActiveState"] in {"active", "reloading", "deactivating"}

    @property
    def config(self) -> Path | None:
        """The settings file that its command names."""
        found = re.search(r"--config[ =](\S+)", self["ExecStart"])
        return Path(found[1]) if found else None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        try:
            words = shlex.split(self["Environment"])
        except ValueError:  # quotes that systemd reads in another way
            words = self["Environment"].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    @property
    def words(self) -> list[str]:
        """What its command says after `workd run`."""
        found = re.search(r"argv\[\]=(.*?) ; ", self["ExecStart"])
        words = found[1].split() if found else []
        return words[words.index("run") + 1 :] if "run" in words else []

    def number(self, name: str) -> int | None:
        """Read a count; None is no limit, or not known."""
        return int(self[name]) if self[name].isdigit() and int(self[name]) < 2**63 else None

    def seconds(self, name: str) -> float | None:
        """Read a span of time, `1min 30s`; None is no limit, or not known."""
        pieces = _PIECE.findall(self[name])
        if self[name] == "0":
            return 0.0
        return sum(float(number) * _UNITS_S[unit] for number, unit in pieces) if pieces else None


def booted() -> bool:
    """Say whether systemd runs this machine."""
    return _SYSTEMD.is_dir()


def ask() -> list[Unit]:
    """Return the units of workd that are installed or run. Raises OSError, or subprocess.SubprocessError."""
    names = _names()
    shown = _systemctl("show", "--property", ",".join(_PROPERTIES), "--", *names) if names else ""
    return [unit for unit in read(shown) if unit.installed]


def read(shown: str) -> list[Unit]:
    """Read the answer of `systemctl show`: blocks of NAME=VALUE. A name that comes again has several values."""
    blocks = (block for block in re.split(r"\n\s*\n", shown) if block.strip())
    return [Unit(_properties(block)) for block in blocks]


def _properties(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found[name] = f"{found[name]} {value}" if name in found else value
    return found


def _names() -> list[str]:
    """Find instances, which are known only by files that enable them or while they run."""
    files = _systemctl("list-unit-files", "--no-legend", "--plain", *_PATTERNS)
    loaded = _systemctl("list-units", "--all", "--no-legend", "--plain", *_PATTERNS)
    words = [line.split()[0] for line in (files + loaded).splitlines() if line.split()]
    return list(dict.fromkeys(word for word in words if not word.endswith("@.service")))


def _systemctl(*words: str) -> str:
    done = subprocess.run(
        ["systemctl", "--no-pager", *words],  # noqa: S607 - wherever this system has it
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout
