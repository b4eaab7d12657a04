"""Which folders are watched for changes, without importing anything."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from workd.watching import folders_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_folder_of_a_module_that_lies_here_and_all_that_is_here(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit")
    assert folders_of(["mine"], tmp_path) == [tmp_path]


def test_a_package_here_and_one_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for package in (here / "mine", elsewhere / "shared"):
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit")
    monkeypatch.setattr(sys, "path", [*sys.path, str(elsewhere)])
    assert folders_of(["mine.tasks", "shared.tasks"], here) == [elsewhere / "shared", here]
    assert folders_of(["shared.tasks"], here) == [elsewhere / "shared"]


def test_a_module_that_is_not_there_is_not_watched(tmp_path: Path) -> None:
    assert folders_of(["nobody_has_this.tasks"], tmp_path) == []
