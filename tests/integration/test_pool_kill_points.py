"""A worker that dies at each named point of its loop: exactly one job is charged, or none where its result was out."""

import asyncio
from pathlib import Path

import pytest

from support.pool_owner import running_pool
from workd import faultpoints
from workd.pool.deaths import Crashed


@pytest.mark.parametrize(("point", "charged"), [("after_claim", 1), ("before_result", 1), ("after_result", 0)])
async def test_a_worker_that_dies_there_costs_that_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, charged: int
) -> None:
    marker = tmp_path / "reached"
    monkeypatch.setenv(faultpoints.VARIABLE, f"{point}:30@{marker}")
    async with running_pool(2) as owner:
        jobs = owner.submit_many([("echo", n) for n in range(400)])
        ends = await asyncio.gather(*jobs)
        assert marker.exists()
        crashed = [end for end in ends if isinstance(end, Crashed)]
        assert [end.died.signal for end in crashed] == ["SIGKILL"] * charged
        assert len(ends) - len(crashed) == 400 - charged
        assert sorted(owner.order) == sorted(owner.ends)
        assert sum(end == n for n, end in enumerate(ends)) == 400 - charged
