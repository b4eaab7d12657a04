"""Memory limits of `workd.Pool`, and deaths by the kernel's OOM killer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls
from support.local_pools import worker_pids
from support.waiting import eventually
from workd.errors import MemoryLimitError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fault.conftest import MakePool
    from workd import Pool

MIB = 2**20
LIMIT = 100 * MIB


# ── limits ──


def test_one_huge_allocation_over_the_limit_is_a_memory_error_of_that_call_alone(pool: Pool) -> None:
    before = worker_pids(pool)
    with pytest.raises(MemoryError):
        pool.apply_async(fault_calls.allocate, (64 * 1024 * MIB,), memory_limit=LIMIT).get(20)
    said = [pool.apply_async(fault_calls.allocate_or_say, (2 * LIMIT,), memory_limit=LIMIT) for _ in range(4)]
    assert [result.get(20) for result in said] == ["no memory"] * 4
    free = [pool.apply_async(fault_calls.allocate_or_say, (2 * LIMIT,)) for _ in range(4)]
    assert [result.get(20) for result in free] == [2 * LIMIT] * 4  # by the same workers
    assert worker_pids(pool) == before


@pytest.mark.parametrize("grow", [fault_calls.grow, fault_calls.grow_shared])
def test_a_call_that_grows_slowly_over_its_limit_ends_and_no_other(pool: Pool, grow: Callable[[int], int]) -> None:
    doomed = pool.apply_async(grow, (1000 * MIB,), memory_limit=LIMIT)
    others = [pool.apply_async(fault_calls.double, (number,)) for number in range(200)]
    with pytest.raises((MemoryLimitError, MemoryError)) as caught:
        doomed.get(30)
    assert [result.get(20) for result in others] == [2 * number for number in range(200)]
    if grow is fault_calls.grow_shared:
        assert isinstance(caught.value, MemoryLimitError)  # only watching from outside finds that
    if isinstance(caught.value, MemoryLimitError):
        assert caught.value.limit_bytes == LIMIT
        assert LIMIT < caught.value.rss_bytes < 1000 * MIB
        assert f"in {grow.__name__}" in str(caught.value)
        assert "over its memory limit of 100 MiB; set a higher one if it needs it" in str(caught.value)


def test_the_limit_of_the_pool_holds_for_every_call_and_a_calls_own_may_only_be_lower(make_pool: MakePool) -> None:
    pool = make_pool(2, memory_limit=LIMIT)
    with pytest.raises(MemoryLimitError, match="memory limit of 100 MiB"):
        pool.apply_async(fault_calls.grow_shared, (1000 * MIB,)).get(30)
    with pytest.raises(MemoryLimitError, match="memory limit of 100 MiB"):
        pool.apply_async(fault_calls.grow_shared, (1000 * MIB,), memory_limit=2 * LIMIT).get(30)
    with pytest.raises(MemoryLimitError, match="memory limit of 70 MiB"):
        pool.apply_async(fault_calls.grow_shared, (1000 * MIB,), memory_limit=70 * MIB).get(30)


# ── the OOM killer ──


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the kernel counts, for a pool that is made now."""
    path = tmp_path / "memory.events"
    path.write_text("oom 0\noom_kill 7\n")
    monkeypatch.setattr("workd.pool.boots.find_counter", lambda: path)
    return path


def killed(pool: Pool, calls: int = 1) -> list[WorkerDiedError]:
    """Have so many workers killed at the same time; return what their calls say."""
    results = [pool.apply_async(fault_calls.kill_self, (9,)) for _ in range(calls)]
    errors = []
    for result in results:
        with pytest.raises(WorkerDiedError) as caught:
            result.get(20)
        errors.append(caught.value)
    return errors


def test_a_kill_is_the_oom_killers_where_the_kernel_counted_one(make_pool: MakePool, counter: Path) -> None:
    pool = make_pool(2)
    counter.write_text("oom 3\noom_kill 8\n")
    (error,) = killed(pool)
    assert error.died.oom is True
    assert "was killed by SIGKILL (the kernel's OOM killer)" in str(error)
    assert "ran out of memory: run fewer workers, or give such jobs a memory limit" in str(error)
    (error,) = killed(pool)
    assert error.died.oom is False
    assert "it was not the OOM killer" in str(error)


def test_of_two_workers_that_are_killed_at_once_as_many_count_as_the_kernel_counted(
    make_pool: MakePool, counter: Path
) -> None:
    pool = make_pool(2)
    counter.write_text("oom_kill 8\n")
    assert sorted(bool(error.died.oom) for error in killed(pool, calls=2)) == [False, True]


def test_where_the_counter_cannot_be_read_it_is_unknown(make_pool: MakePool, counter: Path) -> None:
    pool = make_pool(2)
    counter.unlink()
    (error,) = killed(pool)
    assert error.died.oom is None
    assert "whether the OOM killer did it is unknown here" in str(error)


def test_other_ends_are_not_the_oom_killers_whatever_it_counts(make_pool: MakePool, counter: Path) -> None:
    pool = make_pool(2)
    counter.write_text("oom_kill 8\n")
    with pytest.raises(WorkerDiedError) as caught:
        pool.apply_async(fault_calls.segfault).get(20)
    assert caught.value.died.oom is False


MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
OUT_OF_MEMORY = """
import json, os, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
from support import fault_calls
from workd import Pool
from workd.errors import WorkerDiedError

with Pool(2) as pool:
    try:
        pool.apply(fault_calls.grow, (1000 * 2**20,))
    except WorkerDiedError as error:
        print(json.dumps({"oom": error.died.oom, "signal": error.died.signal, "text": str(error)}))
    assert pool.map(fault_calls.double, range(100)) == [2 * number for number in range(100)]
"""


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A memory cgroup with 150 MiB."""
    group = MEMORY_GROUPS / f"workd-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"a real OOM kill needs a memory cgroup (version 1) that we may make: {error}")
    try:
        (group / "memory.limit_in_bytes").write_text(str(150 * MIB))
        with suppress(OSError):  # where swap is not accounted there mostly is none
            (group / "memory.memsw.limit_in_bytes").write_text(str(150 * MIB))
        yield group
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_a_real_oom_kill_costs_one_call_and_is_named(memory_group: Path, nothing_left: str) -> None:
    environment: dict[str, Any] = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(memory_group)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["oom"], told["signal"]) == (True, "SIGKILL")
    assert "(the kernel's OOM killer)" in told["text"]
