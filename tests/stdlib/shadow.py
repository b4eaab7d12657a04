"""Makes interpreters whose `multiprocessing.Pool` is another one; called by the tests."""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path


def make_interpreter(folder: Path, pool: str, start_method: str) -> Path:
    """Make a virtual environment that sees the modules which are seen here, and return its interpreter.

    A `.pth` file does the rest: the interpreter reads it at each start, also in isolated mode, and before the first
    line of any script. No other way reaches the interpreters that CPython's cases start.
    """
    venv.EnvBuilder(symlinks=True).create(folder)
    variables = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", variables))
    seen = [path for path in sys.path if Path(path).is_dir()]
    start = f"import stdlib.swap; stdlib.swap.install({pool!r}, {start_method!r})"
    (packages / "swap.pth").write_text("\n".join([*seen, start, ""]))
    return Path(sysconfig.get_path("scripts", "venv", variables), "python")
