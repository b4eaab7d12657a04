"""Print the oldest version of each dependency that pyproject.toml allows, as constraints for pip.

pip install --constraint <(python tests/lowest.py) '.[test]'
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

BOUND = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?>=(?P<version>[0-9.]+)$")
# What users install; the tools of the tests may be the newest.
EXTRAS = ("daemon", "embedded", "demo", "otel", "reload")


def constraints(project: dict[str, Any]) -> list[str]:
    """Return `name==version` for each lower bound."""
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    found = (BOUND.fullmatch(line) for line in wanted)
    return sorted({f"{match['name']}=={match['version']}" for match in found if match is not None})


if __name__ == "__main__":
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    print("\n".join(constraints(pyproject["project"])))
