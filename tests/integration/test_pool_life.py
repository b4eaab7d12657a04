"""Boot, quiet, stop: what the pool says and what it leaves behind. Real worker processes."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.pool_owner import SEARCH_PATH, Recorder, assert_nothing_new, left_overs, running_pool
from support.processes import exists, is_alive
from support.waiting import eventually_async
from workd.errors import BootError
from workd.pool.core import ProcessPool
from workd.pool.deaths import Killed
from workd.pool.launcher import Forkserver
from workd.pool.owner import PoolOptions
from workd.pool.requests import TASK_WORK, LoadSpec

# ── boot ──


async def test_an_initializer_that_raises_at_the_first_boot_is_the_boot_error(tmp_path: Path) -> None:
    switch = tmp_path / "away"
    switch.touch()
    with pytest.raises(BootError, match="RuntimeError: the database of the test is away") as caught:
        await boot(runner={"fail_on_start": str(switch)})
    assert "pool_runner.py" in caught.value.traceback


async def test_later_boot_failures_back_off_are_shown_and_are_recovered_from(tmp_path: Path) -> None:
    switch = tmp_path / "away"
    async with running_pool(1, runner={"fail_on_start": str(switch)}) as owner:
        boots = owner.pool.boots
        switch.touch()
        await owner.submit("exit", 1)
        await owner.until(lambda: boots.degraded)
        assert "the database of the test is away" in str(boots.last_error)
        assert not owner.pool.slots[0].ready
        assert owner.pool.slots[0].boots <= 5
        waiting = owner.submit("echo", 1)
        switch.unlink()
        assert await waiting == 1
        assert not boots.degraded
        assert boots.last_error is None


async def test_one_slot_that_does_not_boot_leaves_the_others_at_work(tmp_path: Path) -> None:
    switch = tmp_path / "away"
    async with running_pool(2, runner={"fail_on_start": str(switch)}) as owner:
        switch.touch()
        await owner.submit("exit", 1)
        await owner.until(lambda: owner.pool.boots.failures > 1)
        assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(20)])) == list(range(20))


async def test_a_worker_that_does_not_get_ready_in_time_is_killed() -> None:
    with pytest.raises(BootError, match=r"it was not ready within 0\.5 s"):
        await boot(runner={"start_s": 60}, boot_timeout_s=0.5)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nowhere_to_be_found\n", "ModuleNotFoundError.*broken_tasks.py:1"),
        ("x = 1\nraise ValueError('no config')\n", "ValueError: no config.*broken_tasks.py:2"),
        ("def f(:\n    pass\n", "SyntaxError.*broken_tasks.py:1"),
        ("\n\nraise SystemExit(3)\n", "SystemExit: 3.*broken_tasks.py:3"),
    ],
)
async def test_a_module_that_does_not_import_is_named_with_its_line(tmp_path: Path, source: str, cause: str) -> None:
    (tmp_path / "broken_tasks.py").write_text(source)
    with pytest.raises(BootError, match=cause) as caught:
        await boot(modules=("broken_tasks",), path=(*SEARCH_PATH, str(tmp_path)))
    assert caught.value.module == "broken_tasks"
    assert "broken_tasks.py" in caught.value.traceback


@pytest.mark.parametrize(
    ("deed", "how"),
    [
        ("os._exit(3)", "left with exit code 3"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("ctypes.string_at(0)", "was killed by SIGSEGV"),
    ],
)
async def test_a_module_that_ends_the_process_on_import_is_named_with_how_it_ended(
    tmp_path: Path, deed: str, how: str
) -> None:
    (tmp_path / "harmless_tasks.py").touch()
    (tmp_path / "deadly_tasks.py").write_text(f"import ctypes, os\n{deed}\n")
    with capture_logs() as lines, pytest.raises(BootError) as caught:
        await boot(modules=("harmless_tasks", "deadly_tasks"), path=(*SEARCH_PATH, str(tmp_path)))
    assert (caught.value.module, caught.value.cause) == ("deadly_tasks", f"the process that imports it {how}")
    assert lines == []  # no word of a forkserver that would be replaced


@pytest.mark.parametrize(
    "source",
    [
        "from workd_tasks import task\n\n@task(max_retries=-1)\ndef f() -> None: ...\n",
        "from workd_tasks import task\n\n@task\nasync def f() -> int:\n    yield 1\n",
        "from workd_tasks import samples, task\n\n@task\ndef square() -> None: ...\n",
    ],
)
async def test_a_task_that_is_refused_is_located_in_its_module(tmp_path: Path, source: str) -> None:
    (tmp_path / "refused_tasks.py").write_text(source)
    with pytest.raises(BootError, match=r"\(.*/refused_tasks\.py:3\)$") as caught:
        await boot(modules=("refused_tasks",), path=(*SEARCH_PATH, str(tmp_path)))
    assert caught.value.module == "refused_tasks"


async def test_a_signature_that_is_refused_names_its_own_module_and_not_the_last_one(tmp_path: Path) -> None:
    source = "from workd_tasks import task\n\n@task\ndef f(x: 'Nowhere') -> None: ...\n"
    (tmp_path / "first_tasks.py").write_text(source)
    (tmp_path / "last_tasks.py").touch()
    modules = ("first_tasks", "last_tasks")
    options = {
        "modules": modules, "daemon_id": "t", "max_result_bytes": 9, "log_level": "info", "log_format": "json"
    }  # fmt: skip
    pool = ProcessPool(Recorder(), PoolOptions(1, LoadSpec(TASK_WORK, modules, options, path=(str(tmp_path),))))
    try:
        with pytest.raises(BootError, match="parameter 'x'") as caught:
            await pool.start()
    finally:
        await pool.stop(kill=True)
    assert caught.value.module == "first_tasks"
    assert caught.value.cause.endswith("first_tasks.py:3))")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("", "the name of a task module is empty"),
        ("tasks.py", "tasks.py is a file name; did you mean tasks?"),
        ("./app/tasks.py", "./app/tasks.py is a file name; did you mean app.tasks?"),
        ("app/tasks", "app/tasks is a path; did you mean app.tasks?"),
        ("../mods", "../mods is a path; name it as import does, with its folder in PYTHONPATH"),
        (".mods", "'.mods' is not the name of a module; name it as import does, from its top package on"),
    ],
)
async def test_what_is_no_name_of_a_module_is_refused_in_one_line(name: str, cause: str) -> None:
    with pytest.raises(BootError) as caught:
        await boot(modules=(name,))
    assert (caught.value.module, caught.value.cause) == (name or "''", f"TaskDefinitionError: {cause}")


async def test_an_import_error_without_words_has_no_trailing_colon(tmp_path: Path) -> None:
    (tmp_path / "wordless_tasks.py").write_text("raise ValueError\n")
    with pytest.raises(BootError, match=r"^wordless_tasks: ValueError \("):
        await boot(modules=("wordless_tasks",), path=(*SEARCH_PATH, str(tmp_path)))


async def test_workers_get_neither_the_daemons_secrets_nor_its_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = {"WORKD_REDIS_URL", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    for name in (*hidden, "DATABASE_URL"):
        monkeypatch.setenv(name, "x")
    async with running_pool(1) as owner:
        assert (await owner.submit("environment")).keys() & {*hidden, "DATABASE_URL"} == {"DATABASE_URL"}
        os.kill(first := owner.pool.boots.forkserver_pid, signal.SIGKILL)
        await owner.until(lambda: owner.pool.boots.forkserver_pid != first)
        await owner.submit("exit", 1)
        assert (await owner.submit("environment")).keys() & {*hidden, "DATABASE_URL"} == {"DATABASE_URL"}


async def test_processes_are_shown_by_their_names() -> None:
    async with running_pool(1) as owner:
        assert await owner.submit("titles") == ["workd-worker-0", "workd-forkserve"]  # 15 bytes are the kernel's limit


async def test_threads_that_a_module_starts_on_import_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "threaded_tasks.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(30,), name='poller', daemon=True).start()\n"
    )
    with capture_logs() as lines:
        await boot(modules=("threaded_tasks",), path=(*SEARCH_PATH, str(tmp_path)))
    assert any(line.get("threads") == ["poller"] for line in lines)


async def test_the_catalogue_comes_from_the_runner() -> None:
    assert await boot() == {"names": ["echo"]}


async def test_a_worker_of_the_daemon_has_loaded_no_redis_no_loop_and_no_http(tmp_path: Path) -> None:
    (tmp_path / "curious_tasks.py").write_text(
        "import sys\nfrom workd_tasks import task\n\n@task\ndef loaded() -> list[str]:\n    return list(sys.modules)\n"
    )
    options = {
        "modules": ["curious_tasks"],
        "daemon_id": "test:1:0",
        "max_result_bytes": 1_000_000,
        "log_level": "info",
        "log_format": "json",
    }
    spec = LoadSpec(TASK_WORK, ("curious_tasks",), options, path=(str(tmp_path),))
    owner = Recorder()
    owner.pool = ProcessPool(owner, PoolOptions(1, spec))
    try:
        assert list(await owner.pool.start()) == ["loaded"]
        modules = await owner.run_task("loaded")
    finally:
        await owner.pool.stop(kill=True)
    # Not on this list, since structlog loads it: asyncio.
    unwanted = {"redis", "hiredis", "uvloop", "typer", "rich", "starlette", "uvicorn", "pydantic_settings"}
    assert "workd.pool.child.taskwork" in modules
    assert {name.partition(".")[0] for name in modules} & unwanted == set()
    assert "workd.pool.core" not in modules


# ── quiet ──


async def test_quiet_returns_what_has_not_started_and_lets_the_rest_finish() -> None:
    async with running_pool(2) as owner:
        await asyncio.gather(*owner.submit_many([("sleep", 0.001)] * 40))
        jobs = owner.submit_many([("sleep", 0.3)] * 2 + [("sleep", 0.001)] * 20)
        await asyncio.sleep(0.1)
        back = owner.pool.quiet()
        assert sorted(job.key for job in back) == sorted(owner.ends)[-20:]
        assert owner.pool.quiet() == []
        await asyncio.wait_for(owner.pool.wait_empty(), 20)
        assert [job.done() for job in jobs] == [True, True] + [False] * 20
        late = owner.submit("echo", 1)
        with pytest.raises(asyncio.CancelledError):
            await late


# ── stop ──


async def test_stop_finishes_what_runs() -> None:
    async with running_pool(2) as owner:
        running = [owner.submit("sleep", 0.3), owner.submit("sleep", 0.3)]
        waiting = owner.submit("sleep", 0.3)
        await asyncio.sleep(0.1)
        await owner.pool.stop()
        assert [job.result() for job in running] == [0.3, 0.3]
        assert waiting.cancelled()


async def test_stop_with_kill_reports_what_it_killed_once_it_is_dead() -> None:
    async with running_pool(2) as owner:
        pids = [slot.tenant.pid for slot in owner.pool.slots if slot.tenant]
        running = [owner.submit("sleep", 60), owner.submit("hold_gil", 60)]
        await asyncio.sleep(0.1)
        await owner.pool.stop(kill=True)
        assert [type(job.result()) for job in running] == [Killed, Killed]
        assert not any(exists(pid) for pid in pids)


async def test_kill_running_kills_what_runs_and_leaves_idle_workers() -> None:
    async with running_pool(2) as owner:
        running = owner.submit("sleep", 60)
        await asyncio.sleep(0.1)
        owner.pool.kill_running("the deadline is over")
        how = await running
        assert isinstance(how, Killed)
        assert how.why == "the deadline is over"
        await owner.until(lambda: all(slot.ready for slot in owner.pool.slots))
        assert sorted(slot.boots for slot in owner.pool.slots) == [1, 2]


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a pool wait so long for a worker that does not leave that it shows even on a machine that is busy."""
    for module in ("core", "renewal"):
        monkeypatch.setattr(f"workd.pool.{module}.LEAVE_S", 20.0)


async def test_stop_is_not_held_up_by_threads_and_children_that_tasks_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patient(monkeypatch)
    async with running_pool(2) as owner:
        child = await owner.submit("leave_child", 100)
        await asyncio.gather(*(owner.submit("leave_thread") for _ in range(2)))
        started = time.monotonic()
        await owner.pool.stop()
        assert time.monotonic() - started < 10
        await eventually_async(lambda: not is_alive(child))


async def test_stop_ends_workers_that_are_stopped_by_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.pool.core.LEAVE_S", 0.5)
    async with running_pool(1) as owner:
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        os.kill(tenant.pid, signal.SIGSTOP)
        started = time.monotonic()
        await owner.pool.stop()
        assert time.monotonic() - started < 10


async def test_stop_while_workers_boot_leaves_nothing() -> None:
    before = left_overs()
    pool = new_pool(2, runner={"start_s": 30})
    booting = asyncio.ensure_future(pool.start())
    await eventually_async(lambda: all(slot.tenant for slot in pool.slots))
    pids = [slot.tenant.pid for slot in pool.slots if slot.tenant]
    await cancelled(booting)
    started = time.monotonic()
    await pool.stop()
    assert time.monotonic() - started < 10
    assert not any(exists(pid) for pid in pids)
    assert_nothing_new(before)


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 60])
async def test_stop_at_any_moment_of_the_boot_leaves_nothing(turns: int) -> None:
    before = left_overs()
    pool = new_pool(3)
    booting = asyncio.ensure_future(pool.start())
    for _ in range(turns):
        await asyncio.sleep(0.002)
    await cancelled(booting)
    await pool.stop(kill=True)
    assert_nothing_new(before)


async def test_stop_right_after_crashes_leaves_nothing() -> None:
    for turns in range(6):
        async with running_pool(2) as owner:
            await asyncio.gather(*owner.submit_many([("exit", 1), ("exit", 1)]))
            for _ in range(turns):
                await asyncio.sleep(0)


async def test_stop_is_safe_twice_and_before_the_start() -> None:
    before = left_overs()
    pool = new_pool(1)
    await pool.stop()
    await pool.stop(kill=True)
    assert_nothing_new(before)


async def test_stop_while_the_forkserver_is_replaced_leaves_nothing() -> None:
    for wait_s in (0, 0.02, 0.1):
        async with running_pool(1) as owner:
            os.kill(owner.pool.boots.forkserver_pid, signal.SIGKILL)
            await owner.until(lambda: not owner.pool.boots.servers._loaded.is_set())
            await asyncio.sleep(wait_s)


async def test_stop_does_not_wait_for_a_forkserver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.pool.boots.REAP_PATIENCE_S", 0.3)
    monkeypatch.setattr("workd.pool.core.LEAVE_S", 0.5)
    async with running_pool(1) as owner:
        os.kill(owner.pool.boots.forkserver_pid, signal.SIGSTOP)
        await owner.submit("exit", 1)
        started = time.monotonic()
        await owner.pool.stop()
        assert time.monotonic() - started < 10


async def test_a_forkserver_may_be_launched_before_there_is_a_loop() -> None:
    launched = await asyncio.to_thread(Forkserver)
    pool = new_pool(1, forkserver=launched)
    assert await pool.start() == {"names": ["echo"]}
    assert pool.boots.forkserver_pid == launched.pid
    await pool.stop()


async def test_a_child_that_the_host_program_forks_does_not_keep_the_workers_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patient(monkeypatch)
    async with running_pool(2) as owner:
        pid = os.fork()
        if pid == 0:
            time.sleep(30)  # noqa: ASYNC251 - there is no loop in the child
            os._exit(0)
        try:
            started = time.monotonic()
            await owner.pool.stop()
            assert time.monotonic() - started < 10
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # noqa: ASYNC222 - it was killed


async def test_two_pools_in_two_threads_do_not_mix_their_results() -> None:
    def run(mark: str) -> None:
        async def main() -> None:
            owner = Recorder()
            owner.pool = new_pool(2, owner=owner)
            try:
                await owner.pool.start()
                values = [f"{mark}{n}" * 50 for n in range(3000)]
                assert await asyncio.gather(*owner.submit_many([("echo", value) for value in values])) == values
            finally:
                await owner.pool.stop()

        asyncio.run(main())

    before = set(threading.enumerate())
    await asyncio.gather(*(asyncio.to_thread(run, mark) for mark in "ab"))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("workd")]


def new_pool(
    size: int = 1,
    *,
    modules: tuple[str, ...] = (),
    path: tuple[str, ...] = SEARCH_PATH,
    runner: dict[str, object] | None = None,
    boot_timeout_s: float = 60.0,
    forkserver: Forkserver | None = None,
    owner: Recorder | None = None,
) -> ProcessPool:
    spec = LoadSpec("support.pool_runner:make", modules, options=runner or {}, path=path)
    return ProcessPool(owner or Recorder(), PoolOptions(size, spec, boot_timeout_s=boot_timeout_s), forkserver)


async def boot(**options: object) -> dict[str, object]:
    """Start a pool and stop it at once; return the catalogue."""
    before = left_overs()
    pool = new_pool(2, **options)  # type: ignore[arg-type]
    try:
        return await pool.start()
    finally:
        await pool.stop(kill=True)
        assert_nothing_new(before)


async def cancelled(future: asyncio.Future[Any]) -> None:
    future.cancel()
    await asyncio.wait([future])


# ── what a program hands down ──


async def test_a_program_that_blocks_and_ignores_signals_has_workers_like_any_other() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        launched = Forkserver()
    finally:
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    async with running_pool(1, forkserver=launched) as owner:
        assert await owner.submit("sleep", 60, soft_timeout_s=0.1) == "SoftTimeout"
        end = await owner.submit("sleep", 60, timeout_s=0.1)
        assert "in sleep" in end.died.stacks
        assert (await owner.submit("exit", 3)).died.exit_code == 3


async def test_a_load_that_takes_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(BootError, match=r"slow_module: it was not loaded within 0\.5 s"):
        async with running_pool(1, modules=("slow_module",), boot_timeout_s=0.5):
            pass


async def test_a_forkserver_whose_successor_does_not_get_loaded_makes_the_pool_degraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module = tmp_path / "slow_module.py"
    module.write_text("")
    async with running_pool(1, modules=("slow_module",), boot_timeout_s=1.0, fail_waiting=True) as owner:
        module.write_text("import time\ntime.sleep(60)\n")
        await owner.submit("exit", 1)  # takes the worker, whose successor comes from the first forkserver
        await owner.until(lambda: owner.pool.slots[0].ready)
        os.kill(owner.pool.boots.forkserver_pid, signal.SIGKILL)
        await owner.submit("exit", 1)
        end = await asyncio.wait_for(owner.submit("echo", 1), 20)
        assert isinstance(end, BootError)
        assert "not loaded within" in end.cause


async def test_calls_do_not_wait_for_the_successor_of_a_worker_at_the_end_of_its_budget_that_never_comes(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"
    runner = {"fail_on_start": str(broken)}
    async with running_pool(1, runner=runner, max_tasks=1, boot_timeout_s=0.5, fail_waiting=True) as owner:
        broken.touch()
        assert await owner.submit("echo", 1) == 1
        end = await asyncio.wait_for(owner.submit("echo", 20), 20)
        assert isinstance(end, BootError)
