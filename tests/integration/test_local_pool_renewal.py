"""`workd.Pool`: another size and other code while calls go on, and what it tells about itself."""

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.calls import die, pid, raise_if, sleep, square
from support.waiting import eventually
from workd import Pool
from workd.errors import BootError, WorkerDiedError

# ── size ──


def test_a_pool_grows_and_shrinks_without_losing_a_call() -> None:
    with Pool(1) as pool:
        results = [pool.apply_async(sleep, (0.01,)) for _ in range(100)]
        pool.resize(3)
        eventually(lambda: pool.stats().ready == 3)
        assert len(pool._pool) == pool._processes == 3
        results += [pool.apply_async(sleep, (0.01,)) for _ in range(100)]
        pool.resize(1)
        assert [result.get(20) for result in results] == [0.01] * 200
        eventually(lambda: len(pool.stats().workers) == 1)
        assert repr(pool).endswith("pool_size=1>")
        with pytest.raises(ValueError, match="at least 1"):
            pool.resize(0)
    with pytest.raises(ValueError, match="not running"):
        pool.resize(2)


# ── code ──


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that workers import, whose code can be changed."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # or the old code might be taken for the new
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "changing.py"
    path.write_text("def version():\n    return 1\n")
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("changing", None)


def test_reload_returns_when_every_worker_has_the_new_code(module: Path) -> None:
    version = importlib.import_module("changing").version
    with Pool(2) as pool:
        assert pool.apply(version) == 1
        results = [pool.apply_async(sleep, (0.01,)) for _ in range(100)]
        old = {worker.pid for worker in pool._pool}
        module.write_text("def version():\n    return 2\n")
        pool.reload()
        assert {pool.apply(version) for _ in range(10)} == {2}
        eventually(lambda: not old & {worker.pid for worker in pool._pool})  # they finish their last calls
        assert [result.get(20) for result in results] == [0.01] * 100


def test_what_does_not_load_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = tmp_path / "fail"
    with Pool(1, raise_if, (str(flag),)) as pool:
        before = pool.apply(pid)
        flag.touch()
        with pytest.raises(BootError, match="RuntimeError: the flag is there"):
            pool.reload()
        assert pool.apply(pid) == before
        flag.unlink()
        pool.reload()
        assert pool.apply(pid) != before
    with pytest.raises(ValueError, match="not running"):
        pool.reload()


def test_a_reload_that_the_end_of_the_pool_interrupts_raises() -> None:
    pool = Pool(1)
    pool.apply_async(sleep, (60,))
    errors: list[BaseException] = []

    def reload() -> None:
        try:
            pool.reload()
        except ValueError as error:
            errors.append(error)

    reloading = threading.Thread(target=reload, daemon=True)
    reloading.start()
    eventually(lambda: bool(pool._engine._questions))
    pool.terminate()
    reloading.join(10)
    assert not reloading.is_alive()
    assert [str(error) for error in errors] == ["Pool not running"]


# ── stats ──


def test_stats_tell_what_the_pool_does() -> None:
    with Pool(2) as pool:
        pool.map(square, range(100), chunksize=1)
        stats = pool.stats()
        assert (stats.size, stats.ready, stats.busy, stats.waiting, stats.running) == (2, 2, 0, 0, 0)
        assert (stats.started, stats.deaths, stats.boot_failures, stats.degraded) == (2, 0, 0, "")
        assert sum(worker.jobs_done for worker in stats.workers) == 100
        assert all(worker.rss_bytes > 1024 * 1024 for worker in stats.workers)
        pool.apply_async(sleep, (60,))
        eventually(lambda: pool.stats().busy == 1)
        with pytest.raises(WorkerDiedError):
            pool.apply(die, (signal.SIGKILL,))
        assert pool.stats().deaths == 1
    with pytest.raises(ValueError, match="not running"):
        pool.stats()
