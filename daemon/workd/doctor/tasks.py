"""Whether the task modules import. Tried in a process of its own: they are not ours, and may do anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from workd.doctor.findings import Finding, note, ok, problem
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def examine(modules: Sequence[str], timeout_s: float, environ: Mapping[str, str], folder: str | None) -> list[Finding]:
    """Import all of them as a worker would; `environ` and `folder` are those of the unit, where there is one."""
    if not modules:
        return [note("tasks.import", "no task modules are named", "`workd doctor MODULE…`, or modules in the settings")]
    # Without -P: what people import lies where they stand, as for `workd run`.
    command = [sys.executable, "-m", "workd", "schema", "--json", "--", *modules]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, **environ}, cwd=folder,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        todo = "a module should define tasks, and do nothing: no connections, no downloads at import"
        return [problem("tasks.import", f"the import has not ended after {timeout_s:g} s (boot_timeout_s)", todo)]
    except OSError as error:
        return [note("tasks.import", f"cannot be tried in {folder}: {error.strerror}", "ask again as root")]
    return [told(modules, done.returncode, done.stdout, done.stderr.decode(errors="replace"))]


def told(modules: Sequence[str], code: int, stdout: bytes, stderr: str) -> Finding:
    """Read what the child said."""
    if code == Exit.OK:
        names = list(json.loads(stdout)["tasks"])
        if not names:
            return problem("tasks.import", f"{', '.join(modules)} define no task", "decorate functions with @task")
        return ok("tasks.import", f"{', '.join(modules)}: {len(names)} tasks ({', '.join(names[:8])}{_more(names)})")
    lines = stderr.strip().splitlines()
    said = lines[-1].removeprefix("workd: ") if lines else f"the import ended with code {code}"
    if "ModuleNotFoundError" in said:
        todo = "is it installed beside workd (the same environment), or in the folder that the daemon starts in?"
    else:
        todo = f"`python -c 'import {modules[0]}'` shows all of the traceback"
    return problem("tasks.import", said, todo)


def _more(names: Sequence[str]) -> str:
    return ", …" if len(names) > 8 else ""  # noqa: PLR2004 - as many as are shown
