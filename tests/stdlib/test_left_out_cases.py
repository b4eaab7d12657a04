"""What CPython's cases that can't be run against `workd.Pool` are about, asked of it in another way."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest

from stdlib import partly
from stdlib.left_out import METHODS
from support.pool_owner import assert_nothing_new, left_overs
from support.processes import is_alive
from support.waiting import eventually
from workd import Pool
from workd.errors import BootError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def nothing_left_behind() -> Iterator[None]:
    before = left_overs()
    yield
    assert_nothing_new(before)


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_cannot_start_all_its_workers_leaves_none_behind(
    tmp_path: Path, nothing_left_behind: None, method: str
) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(BootError, match="Manually induced OSError"):
        Pool(5, partly.start, (str(pids), 3), context=multiprocessing.get_context(method))
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) > 3
    eventually(lambda: not any(map(is_alive, started)))
