"""What an administrator downloads before an installation: the wheel, deploy/ and systemd/, and the wheels it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from support.machines.able import CannotBootError
from support.machines.parts import contents, made_once

REPOSITORY: Final = Path(__file__).parents[3]
EXTRAS: Final = ("daemon",)

_PACKAGED: Final = ("daemon", "tasks", "pyproject.toml", "README.md", "LICENSE")
_BESIDE_IT: Final = ("deploy", "systemd", "docs", "pyproject.toml", "CHANGELOG.md")
_TIMEOUT_S: Final = 600.0
# The Python and the C library of the Debian that is booted, whatever those out here are.
_THERE: Final = (
    *("--python-version", "3.11", "--implementation", "cp", "--only-binary", ":all:"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64"),
    *("--platform", "manylinux2014_x86_64", "--platform", "manylinux1_x86_64"),
)
# redis wants it before Python 3.11.3; pip decides by the Python out here, not by the one that it downloads for.
_FOR_ITS_PYTHON: Final = ("async-timeout>=4.0.3",)


def release() -> Path:
    """Return a folder that is laid out as a clone in which `make wheel` was run."""
    paths = [REPOSITORY / name for name in (*_PACKAGED, *_BESIDE_IT)]
    return made_once("release", contents(*(path for path in paths if path.exists())), _make_release)


def wheel_house() -> Path:
    """Return a folder with the wheels that workd needs there, for `pip install --no-index --find-links`."""
    requirements = _requirements()
    return made_once("wheels", [*requirements, *_THERE], lambda folder: _download(requirements, folder))


def _make_release(folder: Path) -> None:
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder / "dist"), str(REPOSITORY))
    for source in (REPOSITORY / name for name in _BESIDE_IT):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)


def _download(requirements: list[str], folder: Path) -> None:
    _pip("download", "--dest", str(folder), *_THERE, *requirements)


def _requirements() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [name for extra in EXTRAS for name in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *_FOR_ITS_PYTHON]


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check", "--no-input"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        raise CannotBootError(f"pip {arguments[0]} failed: {' | '.join(done.stderr.splitlines()[-3:])}")
