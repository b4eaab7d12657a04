import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workd_tasks import TaskDefinitionError, TaskOptions, registry, signature, task


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a reload within a second would take the old code
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, body: str) -> None:
    folder.joinpath(f"{name}.py").write_text(f"from workd_tasks import task\n{body}\n")


def test_load_imports_and_finds() -> None:
    registry.load(["workd_tasks.finite"])
    assert registry.all_tasks() == {}
    assert registry.get("square") is None


def test_a_task_is_found_by_name_and_by_function(folder: Path) -> None:
    write(folder, "mod_a", "@task\ndef f() -> int: return 1")
    registry.load(["mod_a"])
    found = registry.get("f")
    assert found is not None
    assert registry.task_of(found.fn) is found
    assert list(registry.all_tasks()) == ["f"]
    assert registry.task_of(len) is None
    assert registry.task_of([].append) is None


def test_the_catalogue_is_json(folder: Path) -> None:
    write(folder, "mod_a", "@task(queue='q', timeout=3, max_retries=2)\ndef f() -> int: return 1")
    registry.load(["mod_a"])
    options = TaskOptions(queue="q", timeout=3, max_retries=2).as_dict()
    assert json.loads(json.dumps(registry.catalogue())) == {"f": options | {"module": "mod_a", "is_async": False}}


def test_load_raises_what_the_import_raises(folder: Path) -> None:
    write(folder, "mod_a", "1 / 0")
    with pytest.raises(ZeroDivisionError):
        registry.load(["mod_a"])
    with pytest.raises(ModuleNotFoundError, match="mod_b"):
        registry.load(["mod_b"])


def test_two_functions_with_one_name_are_refused_with_both_places(folder: Path) -> None:
    write(folder, "mod_a", "@task\ndef f() -> int: return 1")
    write(folder, "mod_b", "\n@task\ndef f() -> int: return 2")
    with pytest.raises(TaskDefinitionError, match=r"'f': mod_a\.f \(.*mod_a\.py:2\) and mod_b\.f \(.*mod_b\.py:3\)"):
        registry.load(["mod_a", "mod_b"])


def test_a_reload_replaces(folder: Path) -> None:
    write(folder, "mod_a", "@task\ndef f() -> int: return 1")
    registry.load(["mod_a"])
    old = registry.get("f")
    write(folder, "mod_a", "# moved\n@task(timeout=5)\ndef f() -> int: return 2")
    importlib.reload(sys.modules["mod_a"])
    new = registry.get("f")
    assert old is not None
    assert new is not None
    assert (old.fn(), new.fn(), new.options.timeout) == (1, 2, 5)
    assert registry.task_of(old.fn) is None


def test_a_script_that_is_also_imported_defines_its_tasks_once(folder: Path) -> None:
    write(folder, "mod_a", "@task\ndef f() -> int: return 1")
    registry.load(["mod_a"])
    source = folder.joinpath("mod_a.py")
    exec(compile(source.read_text(), source, "exec"), {"__name__": "__main__"})
    found = registry.get("f")
    assert found is not None
    assert found.module == "__main__"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("@task\ndef f(a: int, b: 'Nowhere'): ...", r"task 'f': parameter 'b' cannot be validated.*Nowhere"),
        ("class C: ...\n@task\ndef f(a: int, b: C, c: int): ...", r"task 'f': parameter 'b' .*C"),
        ("@task\ndef f(a: int) -> 'Nowhere': ...", r"task 'f': the return annotation .*Nowhere"),
        ("class C: ...\n@task\ndef f(a: int) -> C: ...", r"task 'f': the return annotation .*C"),
        ("@task\ndef f(a: 'int +') -> int: ...", r"task 'f': .*mod_a\.py:2"),
    ],
)
def test_annotations_that_cannot_be_validated_are_refused_at_load(folder: Path, body: str, why: str) -> None:
    write(folder, "mod_a", body)
    with pytest.raises(TaskDefinitionError, match=why):
        registry.load(["mod_a"])


def test_annotations_may_name_what_is_defined_further_down(folder: Path) -> None:
    imports = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom workd_tasks import task"
    body = "@task\ndef f(p: Point) -> Point: return p\n@dataclass\nclass Point:\n    x: int"
    folder.joinpath("mod_a.py").write_text(f"{imports}\n{body}\n")
    registry.load(["mod_a"])
    assert registry.get("f") is not None


def test_annotations_of_a_decorated_task_are_those_of_its_own_module(folder: Path) -> None:
    folder.joinpath("mod_b.py").write_text(
        "from functools import wraps\n"
        "def loud(fn):\n    @wraps(fn)\n    def wrapper(*args): return fn(*args)\n    return wrapper\n"
    )
    folder.joinpath("mod_a.py").write_text(
        "from __future__ import annotations\nfrom pathlib import Path\nfrom mod_b import loud\n"
        "from workd_tasks import task\n@task\n@loud\ndef f(p: Path) -> Path: return p\n"
    )
    registry.load(["mod_a"])
    found = registry.get("f")
    assert found is not None
    assert found.place == f"mod_a.f ({folder}/mod_a.py:5)"
    assert signature.of(found).bind(b'{"args":["/tmp"]}') == ((Path("/tmp"),), {})


def test_tasks_defined_here_are_checked_too() -> None:
    @task
    def local(x: "Missing") -> None: ...  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(TaskDefinitionError, match="parameter 'x'"):
        registry.load([])
