"""What is slow to make (a root file system, a folder of wheels) is made once and then shared.

A part is a folder under `cache()`, named by what it is made of. A lock keeps two test processes from making the same
one; a half-made part has another name, so one that is there is whole. Parts of a kind that nobody asked for in a day
are removed when another of that kind is made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

VARIABLE: Final = "WORKD_SYSTEM_CACHE"
_KEPT_S: Final = 24 * 3600.0


def cache() -> Path:
    """Return the folder of all parts: what WORKD_SYSTEM_CACHE names, or one of ours under the system's temp."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"workd-system-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to somebody else: set {VARIABLE} to another folder"
    return folder


def made_once(kind: str, made_of: Iterable[str | bytes], make: Callable[[Path], None]) -> Path:
    """Return the part of that kind made of just this; `make` fills an empty folder, if it is not there yet."""
    part = cache() / f"{kind}-{digest(made_of)}"
    with _locked(cache() / f"{kind}.lock"):
        if not part.exists():
            _remove_old(kind)
            unfinished = cache() / f".{part.name}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(part)
        os.utime(part)
    return part


def digest(pieces: Iterable[str | bytes]) -> str:
    """Name a list of texts by what they say."""
    summed = hashlib.sha256()
    for piece in pieces:
        data = piece.encode() if isinstance(piece, str) else piece
        summed.update(len(data).to_bytes(8, "big") + data)
    return summed.hexdigest()[:16]


def contents(*paths: Path) -> Iterator[str | bytes]:
    """Yield the names and bytes of files, and of all files in folders, but for what Python made of them."""
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(path.parent))
                yield file.read_bytes()


def _remove_old(kind: str) -> None:
    for part in cache().glob(f"{kind}-*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _KEPT_S:
                shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file; the kernel gives it up with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
