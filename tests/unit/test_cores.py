"""Cores of affinity and of quotas, on trees of cgroups as containers and services have them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from workd import cores

if TYPE_CHECKING:
    from pathlib import Path


def tree(folder: Path, mine: str, files: dict[str, str]) -> tuple[Path, Path]:
    (folder / "mine").write_text(mine)
    for name, text in files.items():
        path = folder / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "mine", folder / "cgroups"


@pytest.mark.parametrize(
    ("mine", "files", "quota"),
    [
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5, id="a container, version 2"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, None, id="a container without a limit"),
        pytest.param("0::/\n", {}, None, id="a machine"),
        pytest.param(
            "0::/system.slice/workd.service\n",
            {"system.slice/workd.service/cpu.max": "max 100000", "system.slice/cpu.max": "200000 100000"},
            2.0,
            id="the quota of a slice",
        ),
        pytest.param(
            "0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5, id="the least of several"
        ),
        pytest.param(
            "0::/docker/0123\n", {"cpu.max": "300000 100000"}, 3.0, id="a path of the host's, which cannot be seen here"
        ),
        pytest.param(
            "3:memory:/x\n2:cpu,cpuacct:/x\n0::/\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
            2.5,
            id="version 1",
        ),
        pytest.param(
            "2:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            None,
            id="version 1 without a limit",
        ),
        pytest.param("2:cpuset:/x\n", {"cpuset/x/cpu.max": "100000 100000"}, None, id="another controller"),
        pytest.param("0::/\n", {"cpu.max": "100000 0\n"}, None, id="nonsense"),
    ],
)
def test_the_quota_is_the_least_around_us(
    tmp_path: Path, mine: str, files: dict[str, str], quota: float | None
) -> None:
    assert cores.quota_cores(*tree(tmp_path, mine, files)) == quota


def test_without_proc_there_is_no_quota(tmp_path: Path) -> None:
    assert cores.quota_cores(tmp_path / "absent", tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "seen", "usable"), [(None, 8, 8), (1.5, 8, 2), (0.2, 8, 1), (64.0, 8, 8), (2.0, 1, 1)]
)
def test_a_part_of_a_core_is_one_and_never_more_than_there_are(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, seen: int, usable: int
) -> None:
    monkeypatch.setattr(cores, "quota_cores", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(seen)))
    assert cores.usable() == usable
