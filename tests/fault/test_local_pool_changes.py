"""A `workd.Pool` whose workers are recycled, reloaded and resized while they are at work, and while they are killed."""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls
from support.local_pools import assert_whole, begun, forkserver_pid, processes, ready_pids, worker_pids
from support.meanwhile import no_dip, random_kills, values_of
from support.waiting import eventually
from workd import faultpoints
from workd.errors import BootError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool
    from workd.pool.api.results import AsyncResult

MIB = 2**20


# ── recycling ──

MOSTLY_QUICK = [0.0] * 9 + [0.04]
"""How long calls take so that the pool hands over many at once, and has to take some of them back."""


def test_a_worker_runs_its_number_of_calls_and_not_one_more_and_no_slot_is_ever_empty(make_pool: MakePool) -> None:
    pool = make_pool(2, maxtasksperchild=10)
    with no_dip(pool):
        pids = Counter(pool.map(fault_calls.pid_after, MOSTLY_QUICK * 10, chunksize=1))
    assert max(pids.values()) == 10
    assert pool.stats().deaths == 0


def test_no_worker_runs_more_than_its_number_of_calls_though_workers_are_killed(make_pool: MakePool) -> None:
    pool = make_pool(3, maxtasksperchild=7)
    with random_kills(pool, random.Random(1), pause_s=0.06) as killed:
        results = [pool.apply_async(fault_calls.pid_after, (seconds,)) for seconds in MOSTLY_QUICK * 20]
        pids = Counter(values_of(results, killed))
    assert killed
    assert max(pids.values()) <= 7


@pytest.mark.parametrize("options", [{"max_age": 0.4}, {"max_growth": 20 * MIB}])
def test_old_and_large_workers_are_replaced_between_two_calls_and_no_slot_is_ever_empty(
    make_pool: MakePool, options: dict[str, Any]
) -> None:
    pool = make_pool(2, **options)
    first = set(ready_pids(pool))
    with no_dip(pool):
        results = [pool.apply_async(fault_calls.keep, (5 * MIB, 0.02)) for _ in range(60)]
        pids = {result.get(20) for result in results}
        eventually(lambda: pool.stats().recycled >= 2 and not first & set(worker_pids(pool)))
    assert len(pids) > 2
    assert pool.stats().deaths == 0


@pytest.mark.parametrize("point", ["worker_born", "worker_before_ready", "worker_after_ready", "worker_leaving"])
def test_a_worker_that_dies_while_another_takes_its_place_costs_nothing(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    marker = tmp_path / "set" / "sprung"
    monkeypatch.setenv(faultpoints.VARIABLE, f"{point}@{marker}")
    pool = make_pool(2, maxtasksperchild=5)
    marker.parent.mkdir()
    assert pool.map(fault_calls.double, range(60), chunksize=1) == [2 * number for number in range(60)]
    assert marker.exists()


# ── reload ──


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module with the function `version` that workers import, whose code can be changed."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # or the old code might be taken for the new
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "code_of_the_test.py"
    write_version(path, 1)
    importlib.invalidate_caches()
    yield path
    sys.modules.pop(path.stem, None)


def write_version(module: Path, version: object) -> None:
    module.write_text(f"VERSION = {version}\n\ndef version():\n    return VERSION\n\ndef start():\n    pass\n")


def load(module: Path) -> Any:
    return importlib.import_module(module.stem)


def test_a_reload_under_load_and_kills_loses_nothing_and_no_old_code_runs_after_it(
    make_pool: MakePool, module: Path, nothing_left: str
) -> None:
    code = load(module)
    pool = make_pool(2, initializer=code.start)
    for version in (2, 3):
        with random_kills(pool, random.Random(version), pause_s=0.06) as killed:
            results = [pool.apply_async(fault_calls.double, (number,)) for number in range(300)]
            write_version(module, version)
            reload_in_spite_of_kills(pool)
            after = [pool.apply_async(code.version) for _ in range(20)]
            assert len(values_of(results, killed)) >= 300 - len(killed)
            assert set(values_of(after, killed)) == {version}
    assert_whole(pool)
    eventually(lambda: set(processes(nothing_left)) == {forkserver_pid(pool), *ready_pids(pool)})


def reload_in_spite_of_kills(pool: Pool) -> None:
    """Reload; a kill may hit the very worker that tries the new code, and then the reload is to be repeated."""
    for _ in range(20):
        with suppress(BootError):
            pool.reload()
            return
    pytest.fail("no reload came through")


def test_a_reload_leaves_no_slot_empty_and_kills_nobody(make_pool: MakePool, module: Path) -> None:
    code = load(module)
    pool = make_pool(2, initializer=code.start)
    with no_dip(pool):
        results = [pool.apply_async(fault_calls.double, (number,)) for number in range(2000)]
        write_version(module, 2)
        pool.reload()
        assert [result.get(20) for result in results] == [2 * number for number in range(2000)]
        assert {pool.apply(code.version) for _ in range(20)} == {2}
    assert pool.stats().deaths == 0


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("def start(:\n", "SyntaxError"),
        ("raise LookupError('no config')\n", "LookupError: no config"),
        ("import os\nos._exit(3)\n", "died"),
        ("def start():\n    raise LookupError('no database')\n", "LookupError: no database"),
    ],
)
def test_broken_new_code_changes_nothing_under_load(make_pool: MakePool, module: Path, source: str, cause: str) -> None:
    code = load(module)
    pool = make_pool(2, initializer=code.start)
    before, forkserver = set(ready_pids(pool)), forkserver_pid(pool)
    with no_dip(pool):
        results = [pool.apply_async(fault_calls.double, (number,)) for number in range(1000)]
        module.write_text(source)
        with pytest.raises(BootError, match=cause) as caught:
            pool.reload()
        assert [result.get(20) for result in results] == [2 * number for number in range(1000)]
        assert {pool.apply(code.version) for _ in range(20)} == {1}
    assert set(ready_pids(pool)) == before
    assert forkserver_pid(pool) == forkserver
    if "LookupError" in cause:
        assert f"{module.name}" in caught.value.traceback
    write_version(module, 3)
    pool.reload()
    assert {pool.apply(code.version) for _ in range(20)} == {3}


@pytest.mark.parametrize(
    "point",
    [
        "forkserver_before_load",
        "forkserver_after_load",
        "forkserver_before_fork",
        "forkserver_after_fork",
        "worker_before_ready",
        "worker_after_ready",
    ],
)
def test_a_new_process_that_dies_in_a_reload_costs_no_call(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    marker = tmp_path / "set" / "sprung"
    monkeypatch.setenv(faultpoints.VARIABLE, f"{point}@{marker}")
    pool = make_pool(2)
    marker.parent.mkdir()
    results = [pool.apply_async(fault_calls.double, (number,)) for number in range(1000)]
    with suppress(BootError):  # it may be reported, or have been made good
        pool.reload()
    eventually(marker.exists)  # a worker that says that it is ready dies a moment later
    assert [result.get(20) for result in results] == [2 * number for number in range(1000)]
    assert_whole(pool)
    pool.reload()


# ── size ──


def test_sizes_that_change_at_random_under_load_and_kills_lose_nothing(make_pool: MakePool) -> None:
    pool, dice = make_pool(2), random.Random(3)
    with random_kills(pool, dice) as killed:
        results = []
        for _ in range(25):
            pool.resize(dice.randint(1, 5))
            results += [pool.apply_async(fault_calls.double, (number,)) for number in range(40)]
            time.sleep(dice.uniform(0.0, 0.05))
    assert len(values_of(results, killed)) >= 1000 - len(killed)
    assert killed
    pool.resize(3)
    assert_whole(pool)
    assert len(ready_pids(pool)) == 3


def test_a_pool_that_gets_smaller_finishes_what_runs_and_runs_what_waits(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(4)
    running = [pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path), 0.5)) for _ in range(4)]
    begun(tmp_path, calls=4)
    waiting = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    pool.resize(1)
    assert pool.stats().size == 1
    assert [result.get(20) for result in running] == [None] * 4
    assert [result.get(20) for result in waiting] == [2 * number for number in range(100)]
    eventually(lambda: len(worker_pids(pool)) == 1)
    assert pool.stats().deaths == 0


def test_everything_at_once_loses_nothing(make_pool: MakePool, module: Path) -> None:
    """Recycling, reloads, other sizes, kills of workers and of forkservers, all under load."""
    code = load(module)
    pool, dice = make_pool(3, initializer=code.start, maxtasksperchild=20), random.Random(4)
    results: list[AsyncResult[Any]] = []
    with random_kills(pool, dice, pause_s=0.15) as killed:
        for turn in range(4):
            results += [pool.apply_async(fault_calls.double, (number,)) for number in range(150)]
            pool.resize(dice.randint(1, 4))
            if turn % 2:
                with suppress(BootError):
                    pool.reload()
            else:
                with suppress(ProcessLookupError):
                    os.kill(forkserver_pid(pool), signal.SIGKILL)
    assert len(values_of(results, killed)) >= 600 - len(killed)
    pool.resize(2)
