"""The two trees that are compared, and how programs run under the workd of either.

The programs are always this tree's; only PYTHONPATH says whose workd they import. An installed workd, editable or not,
comes later on the path. Each tree has its modules compiled once, into a folder that is removed at the end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH: Final = Path(__file__).parents[1]
ROOT: Final = BENCH.parents[1]
SOURCES: Final = ("daemon", "tasks")
TASKS: Final = Path(__file__).with_name("tasks")
TIMEOUT_S: Final = 60.0
THIS: Final = "this tree"


class LackingError(Exception):
    """A revision cannot do what is measured; the text is why, in one line."""


class RevisionError(Exception):
    """There is nothing to compare with; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One revision's files."""

    name: str
    root: Path
    cache: Path

    def environment(self) -> dict[str, str]:
        """Return an environment in which `import workd` finds this tree's."""
        folders = [*(self.root / name for name in SOURCES), TASKS, BENCH.parent]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONPYCACHEPREFIX": str(self.cache),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every process compile all anew
        return environment

    def check(self) -> None:
        """Raise `RevisionError` unless a program that runs under this tree finds this tree's workd."""
        command = [sys.executable, "-c", "import workd; print(workd.__file__)"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if not Path(done.stdout.strip()).is_relative_to(self.root / SOURCES[0]):
            raise RevisionError(f"{self.name} has no workd that can be imported: {_last_line(done.stderr)}")

    def run(self, script: Path, *arguments: object) -> Any:
        """Return what a program printed as JSON. Raises `LackingError` if it fails or hangs under this tree."""
        command = [sys.executable, str(script), *map(str, arguments)]
        with subprocess.Popen(
            command, env=self.environment(), stdout=PIPE, stderr=PIPE, text=True, start_new_session=True
        ) as process:
            try:
                output, errors = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise LackingError(f"{script.name} hangs: no answer in {TIMEOUT_S:g} s") from None
            finally:
                with suppress(ProcessLookupError):  # what it has started is in its group
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise LackingError(f"{script.name}: {_last_line(errors)}")
        return json.loads(output)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"


@contextmanager
def both(revision: str) -> Iterator[tuple[Tree, Tree]]:
    """Give this tree, as it is on disk, and another revision in a folder that is removed again.

    Raises `RevisionError`.
    """
    with tempfile.TemporaryDirectory(prefix="workd-compare-") as name:
        folder = Path(name)
        this = Tree(THIS, ROOT, folder / "cache-this")
        with _worktree(revision, folder / "tree") as root:
            other = Tree(revision, root, folder / "cache-other")
            for tree in (this, other):
                tree.check()
            yield this, other


@contextmanager
def _worktree(revision: str, folder: Path) -> Iterator[Path]:
    try:
        # First the commit: a revision that looks like an option must not become one.
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if not commit:
            raise RevisionError(f"git knows no revision {revision!r} in {ROOT}; git log shows what there is")
        _git("worktree", "add", "--detach", "--force", str(folder), commit)
        if not folder.is_dir():
            raise RevisionError(f"git can't check out {revision!r}: try `git worktree prune`")
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> str:
    """Return what git answers, stripped; nothing if it fails. A Ctrl-C is ours: git is to finish."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False, start_new_session=True
        )
    except FileNotFoundError:
        raise RevisionError("git is not installed, and another revision comes from it") from None
    return done.stdout.strip() if not done.returncode else ""
