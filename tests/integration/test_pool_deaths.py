"""A death costs the one job that was running, whoever dies. Real worker processes."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

import pytest

from support.pool_owner import Recorder, running_pool
from support.processes import is_alive, stop
from support.waiting import eventually_async
from workd.pool.deaths import Crashed, Killed, TimedOut

ENDS = [
    (("exit", 3), (3, None)),
    (("exit", 0), (0, None)),
    (("signal", signal.SIGKILL), (None, "SIGKILL")),
    (("signal", signal.SIGABRT), (None, "SIGABRT")),
    (("segfault",), (None, "SIGSEGV")),
    (("half_frame", 5), (5, None)),
    (("close_all",), (79, None)),
    (("close_results", 60), (None, "SIGKILL")),
    (("rogue_frame", 999_999), (None, "SIGKILL")),
    (("answer", 99, "a kind that there is not"), (None, "SIGKILL")),
]


@pytest.mark.parametrize(("operation", "end"), ENDS)
async def test_a_crash_of_any_kind_costs_one_job(operation: tuple[object, ...], end: tuple[object, object]) -> None:
    async with running_pool(2) as owner:
        owner.task = "mixed"  # so that the pool expects it to be quick and buffers others behind it
        await asyncio.gather(*owner.submit_many([("echo", 0)] * 40))
        before = owner.submit_many([("echo", n) for n in range(100)])
        crash = owner.submit(*operation)
        after = owner.submit_many([("echo", n) for n in range(100)])
        how = await crash
        assert isinstance(how, Crashed)
        assert (how.died.exit_code, how.died.signal) == end
        assert how.died.status_known
        others = await asyncio.gather(*before, *after)
        # What a broken worker ran after its nonsense cannot be believed: it is lost, and not by a crash of its own.
        lost = [other for other in others if isinstance(other, Killed)]
        assert [other for n, other in enumerate(others) if other != n % 100] == lost
        assert not lost or "a worker sent a" in how.died.note


async def test_the_slot_is_full_again_within_200_ms_of_a_crash() -> None:
    """A pause before a refill would be in each of them; this machine's own pauses are not in all."""
    took_s = []
    async with running_pool(1) as owner:
        for _ in range(5):
            await owner.submit("exit", 1)
            started = time.monotonic()
            assert await owner.submit("echo", 1) == 1
            took_s.append(time.monotonic() - started)
    assert min(took_s) < 0.2


async def test_a_death_tells_peak_memory_run_time_and_slot() -> None:
    async with running_pool(1) as owner:
        started = time.monotonic()
        crash = owner.submit("sleep", 60)
        pid = only_pid(owner)
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        died = (await crash).died
        assert (died.pid, died.slot) == (pid, 0)
        assert 5_000_000 < died.peak_rss_bytes < 500_000_000
        assert 0.2 <= died.ran_s <= time.monotonic() - started


async def test_an_idle_worker_that_is_killed_costs_nothing() -> None:
    async with running_pool(2) as owner:
        pids = {slot.tenant.pid for slot in owner.pool.slots if slot.tenant}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await owner.until(lambda: not pids & {slot.tenant.pid for slot in owner.pool.slots if slot.tenant})
        assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(10)])) == list(range(10))


async def test_workers_that_die_idle_again_and_again_are_not_replaced_in_a_storm() -> None:
    async with running_pool(1, runner={"die_after_s": 0.01}) as owner:
        await owner.until(lambda: owner.pool.slots[0].boots >= 2)
        await asyncio.sleep(1.0)
        assert owner.pool.slots[0].boots <= 8


async def test_under_random_kills_every_job_ends_once_and_only_claimed_jobs_are_lost() -> None:
    async with running_pool(2) as owner:
        jobs = owner.submit_many([("spin", 0.001)] * 600)
        kills = 0
        for turn in range(20):
            await asyncio.sleep(0.02)
            if (tenant := owner.pool.slots[turn % 2].tenant) is not None:
                with suppress(ProcessLookupError):
                    os.kill(tenant.pid, signal.SIGKILL)
                    kills += 1
        await asyncio.gather(*jobs)
        lost = [job.result() for job in jobs if isinstance(job.result(), Crashed)]
        assert sorted(owner.order) == sorted(set(owner.order))
        assert 0 < len(lost) <= kills


# ── timeouts ──


@pytest.mark.parametrize("operation", [("sleep", 60), ("spin", 60), ("hold_gil", 60), ("stop_itself",)])
async def test_a_timeout_fires_whatever_the_worker_does(operation: tuple[object, ...]) -> None:
    async with running_pool(1) as owner:
        started = time.monotonic()
        how = await owner.submit(*operation, timeout_s=0.3)
        assert isinstance(how, TimedOut)
        assert how.timeout_s == 0.3
        assert 0.3 <= time.monotonic() - started < 20
        assert await owner.submit("echo", 1) == 1


async def test_a_timeout_starts_when_the_job_before_it_has_ended() -> None:
    async with running_pool(1) as owner:
        await asyncio.gather(*owner.submit_many([("sleep", 0.001)] * 40, timeout_s=5))
        jobs = owner.submit_many([("sleep", 0.7)] * 4, timeout_s=2.5)
        assert await asyncio.gather(*jobs) == [0.7] * 4


async def test_what_waited_behind_a_job_that_timed_out_is_charged_nothing() -> None:
    async with running_pool(1) as owner:
        await asyncio.gather(*owner.submit_many([("sleep", 0.001)] * 40))
        slow, *others = owner.submit_many([("sleep", 60), *[("sleep", 0.001)] * 20], timeout_s=1.0)
        assert isinstance(await slow, TimedOut)
        assert await asyncio.gather(*others) == [0.001] * 20


async def test_a_timeout_does_not_fire_when_the_result_is_already_in_the_pipe() -> None:
    async with running_pool(1) as owner:
        job = owner.submit("sleep", 0.1, timeout_s=1.0)
        await asyncio.sleep(0.01)
        time.sleep(2.0)  # noqa: ASYNC251 - the supervisor was held up, by swapping for example
        owner.pool.watch._look()  # the timers come before the pipes
        assert owner.pool.slots[0].tenant is not None
        assert owner.pool.slots[0].tenant.kill_order is None
        assert await job == 0.1


async def test_a_hard_kill_takes_the_children_of_the_task_along() -> None:
    async with running_pool(1) as owner:
        child = await owner.submit("leave_child", 100)
        assert isinstance(await owner.submit("sleep", 60, timeout_s=0.1), TimedOut)
        await eventually_async(lambda: not is_alive(child))


async def test_it_does_so_too_when_the_forkserver_is_dead() -> None:
    async with running_pool(1) as owner:
        child = await owner.submit("leave_child", 100)
        job = owner.submit("sleep", 60, timeout_s=0.5)
        os.kill(owner.pool.boots.forkserver_pid, signal.SIGKILL)
        assert isinstance(await job, TimedOut)
        await eventually_async(lambda: not is_alive(child))


# ── strange tasks ──


async def test_a_task_that_forks_and_comes_back_twice_has_one_result() -> None:
    async with running_pool(1) as owner:
        child = await owner.submit("fork_and_return")
        await eventually_async(lambda: not is_alive(child))
        assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(50)])) == list(range(50))
        assert owner.pool.slots[0].boots == 1


async def test_a_grandchild_that_holds_the_channel_open_does_not_hide_a_death() -> None:
    async with running_pool(1) as owner:
        child = await owner.submit("leave_child", 100)
        assert (await owner.submit("exit", 4)).died.exit_code == 4
        assert await owner.submit("echo", 1) == 1
        await eventually_async(lambda: not is_alive(child))


async def test_a_payload_that_its_owner_cannot_read_costs_the_worker_that_sent_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from workd.pool.parsing import FrameError

    async with running_pool(1) as owner:
        take = owner.on_result

        def picky(job: object, frame: object) -> None:
            try:
                take(job, frame)  # type: ignore[arg-type]
            except ValueError as error:
                raise FrameError(str(error)) from error

        monkeypatch.setattr(owner, "on_result", picky)
        how = await owner.submit("answer", 1, "{no json")
        assert isinstance(how, Crashed)
        assert await owner.submit("echo", 1) == 1


async def test_an_owner_that_fails_breaks_the_pool_visibly_and_costs_no_other_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_pool(1) as owner:
        take = owner.on_result

        def failing(job: object, frame: object) -> None:
            take(job, frame)  # type: ignore[arg-type]
            msg = "the owner has a bug"
            raise RuntimeError(msg)

        monkeypatch.setattr(owner, "on_result", failing)
        assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(5)])) == list(range(5))
        with pytest.raises(RuntimeError, match="the owner has a bug"):
            owner.pool.boots.failed.result()


# ── the forkserver ──


async def test_when_the_forkserver_is_killed_its_workers_go_on_and_a_new_one_is_made() -> None:
    async with running_pool(2) as owner:
        boots = owner.pool.boots
        first, running = boots.forkserver_pid, owner.submit("sleep", 0.5)
        os.kill(first, signal.SIGKILL)
        await owner.until(lambda: boots.forkserver_pid != first)
        assert await running == 0.5
        assert [slot.boots for slot in owner.pool.slots] == [1, 1]
        how = await owner.submit("exit", 4)
        assert isinstance(how, Crashed)
        assert not how.died.status_known
        assert "its exit status is unknown" in how.died.describe()
        await owner.until(lambda: all(slot.ready for slot in owner.pool.slots))
        newcomer = max(owner.pool.slots, key=lambda slot: slot.boots).tenant
        assert newcomer is not None
        os.kill(newcomer.pid, signal.SIGKILL)
        await owner.until(lambda: sum(slot.boots for slot in owner.pool.slots) == 4)


async def test_worker_and_forkserver_killed_at_once_cost_one_job() -> None:
    async with running_pool(2) as owner:
        job = owner.submit("sleep", 60)
        pid = next(slot.tenant.pid for slot in owner.pool.slots if slot.tenant and slot.tenant.jobs)
        await asyncio.sleep(0.1)  # until it is claimed: before, it would be charged nothing and run elsewhere
        os.kill(owner.pool.boots.forkserver_pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        assert isinstance(await job, Crashed)
        assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(50)])) == list(range(50))
        await owner.until(lambda: all(slot.ready for slot in owner.pool.slots))


async def test_a_forkserver_that_hangs_delays_no_news_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.pool.boots.REAP_PATIENCE_S", 0.3)
    async with running_pool(2, boot_timeout_s=10.0) as owner:
        first = owner.pool.boots.forkserver_pid
        os.kill(first, signal.SIGSTOP)
        started = time.monotonic()
        how = await owner.submit("exit", 1)
        assert isinstance(how, Crashed)
        assert not how.died.status_known
        assert time.monotonic() - started < 8  # the forkserver itself is given up after ten
        assert await owner.submit("echo", 1) == 1
        await owner.until(lambda: all(slot.ready for slot in owner.pool.slots))
        assert owner.pool.boots.forkserver_pid != first


# ── kills by order ──


async def test_a_cancelled_job_that_waits_is_given_back_at_once() -> None:
    async with running_pool(1) as owner:
        running, waiting = owner.submit_many([("sleep", 0.3), ("sleep", 0.3)])
        key = max(owner.ends)
        job = owner.pool.cancel(key, "cancelled")
        assert job is not None
        assert job.key == key
        assert await running == 0.3
        assert not waiting.done()


async def test_a_cancelled_job_in_a_buffer_is_taken_back_and_its_neighbours_run() -> None:
    async with running_pool(1) as owner:
        await asyncio.gather(*owner.submit_many([("sleep", 0.001)] * 40))
        running, *buffered = owner.submit_many([("sleep", 0.2), *[("sleep", 0.001)] * 5])
        assert len(owner.pool.running()) == 6
        key = max(owner.ends) - 2
        job = owner.pool.cancel(key, "cancelled")
        assert job is not None
        assert job.key == key
        assert await running == 0.2
        assert await asyncio.gather(*buffered[:2], *buffered[3:]) == [0.001] * 4
        assert owner.pool.slots[0].boots == 1


async def test_a_cancelled_job_that_runs_is_killed_alone() -> None:
    async with running_pool(2) as owner:
        doomed, other = owner.submit("sleep", 60), owner.submit("sleep", 0.5)
        await asyncio.sleep(0.1)
        assert owner.pool.cancel(min(owner.ends), "cancelled") is None
        how = await doomed
        assert isinstance(how, Killed)
        assert how.why == "cancelled"
        assert await other == 0.5


async def test_cancelling_what_has_ended_does_nothing() -> None:
    async with running_pool(1) as owner:
        await owner.submit("echo", 1)
        assert owner.pool.cancel(1, "cancelled") is None
        assert owner.pool.slots[0].boots == 1


def only_pid(owner: Recorder) -> int:
    tenant = owner.pool.slots[0].tenant
    assert tenant is not None
    return tenant.pid


async def test_forkservers_that_die_again_and_again_are_not_replaced_in_a_storm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_pool(1) as owner:
        monkeypatch.setenv("WORKD_FAULT_POINT", "forkserver_before_fork")  # for those that come from now on
        first = owner.pool.boots.servers.current
        os.kill(first.pid, signal.SIGKILL)
        await owner.until(lambda: owner.pool.boots.servers.current is not first)
        await owner.submit("exit", 1)
        await owner.until(lambda: owner.pool.boots.degraded, 30)
        assert owner.pool.stats().degraded == "the forkserver died again before it had made a worker"
        assert owner.pool.boots.failures < 10
        monkeypatch.delenv("WORKD_FAULT_POINT")
        assert await asyncio.wait_for(owner.submit("echo", 1), 30) == 1
        assert not owner.pool.boots.degraded


# ── workers that do not claim ──


async def test_a_job_that_a_stopped_worker_does_not_claim_goes_to_another() -> None:
    async with running_pool(2) as owner:
        pid = owner.pool.stats().workers[0].pid
        stop(pid)
        for number in range(10):
            assert await asyncio.wait_for(owner.submit("echo", number), 20) == number
        os.kill(pid, signal.SIGCONT)
        await owner.until(
            lambda: all(slot.tenant and not slot.tenant.strikes for slot in owner.pool.slots) or push(owner)
        )
        assert owner.pool.stats().deaths == 0


def push(owner: Recorder) -> bool:
    """Offer jobs, so that a worker that was passed over gets one."""
    if not owner.pool.running():
        owner.submit_many([("sleep", 0.01)] * 2)
    return False


async def test_a_worker_that_takes_no_job_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.pool.watch.STUCK_S", 0.3)
    async with running_pool(1) as owner:
        pid = await owner.submit("pid")
        stop(pid)
        assert await asyncio.wait_for(owner.submit("pid"), 10) != pid


async def test_a_job_that_runs_is_asked_after_once_and_not_taken_for_unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_pool(1) as owner:
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        found: list[list[int]] = []
        take_back = tenant.channel.take_back

        def note_and_take_back() -> list[int]:
            found.append(take_back())
            return found[-1]

        monkeypatch.setattr(tenant.channel, "take_back", note_and_take_back)
        assert await owner.submit("sleep", 1.0) == 1.0
        assert found.count([]) == 1  # and the times before, if any, it had not been claimed


# ── timers ──


class ForgetfulLoop:
    """A loop like uvloop's, which returns a handle that can only be cancelled when a timer is due at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.time = loop.time
        self.call_later = loop.call_later
        self.remove_reader = loop.remove_reader
        self._loop = loop

    def call_at(self, when: float, call: Callable[[], object]) -> SimpleNamespace:
        return SimpleNamespace(cancel=self._loop.call_at(when, call).cancel)


async def test_timers_need_nothing_of_the_loops_handles_but_that_they_can_be_cancelled() -> None:
    async with running_pool(1) as owner:
        owner.pool.watch._loop = ForgetfulLoop(asyncio.get_running_loop())  # type: ignore[assignment]
        for _ in range(3):
            assert isinstance(await asyncio.wait_for(owner.submit("sleep", 60, timeout_s=0.05), 20), TimedOut)
