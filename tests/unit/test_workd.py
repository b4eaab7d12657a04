"""The package itself: its names, and what it costs to import them."""

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import workd
from workd import errors


def loaded_by(statement: str) -> set[str]:
    """Say which top-level packages a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    path = [str(Path(package.__file__ or "").parents[1]) for package in (workd, sys.modules["workd_tasks"])]
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}; {code}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(answer.stdout.split())


def test_a_task_module_loads_neither_redis_nor_uvloop_nor_pydantic() -> None:
    assert loaded_by("from workd import task") & {"redis", "hiredis", "uvloop", "pydantic", "asyncio"} == set()


def test_a_synchronous_producer_loads_nothing_of_the_daemon() -> None:
    heavy = {"uvloop", "pydantic_settings", "typer", "rich", "starlette", "uvicorn", "prometheus_client"}
    assert loaded_by("from workd import Client, RedisPool") & heavy == set()


def test_every_public_name_can_be_loaded() -> None:
    for name in set(workd.__all__) - {"__version__"}:
        assert getattr(workd, name) is getattr(workd, name)


def test_what_is_exported_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(workd.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names} | {
        "__version__"
    }
    assert seen == set(workd.__all__)
    assert workd.__all__ == sorted(workd.__all__)
    assert dir(workd) == workd.__all__


def test_all_errors_are_exported() -> None:
    public = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert public <= set(workd.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        workd.Klient  # noqa: B018


def test_the_version_is_the_installed_one() -> None:
    try:
        expected = metadata.version("workd")
    except metadata.PackageNotFoundError:
        pytest.skip("workd is not installed here, only on the path: there is no version to compare with")
    assert workd.__version__ == expected
