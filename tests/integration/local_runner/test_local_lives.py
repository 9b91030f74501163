"""Versions of lambdas on the local runner: built, started, replaced, put to sleep, restarted, removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from server.domain.lambdas import ImageStatus, LambdaStatus
from server.errors import LambdaNotRunning
from tests.local_lambdas import WAYS, Local, local, need

pytestmark = pytest.mark.timeout(240)
ANSWER = """
async def main(request):
    "Answers with a number."
    return {number}
"""
PID = "import os, time\nbegan = time.time()\nasync def main(request): return began"


@pytest.fixture(params=WAYS, scope="module")
async def way(request: pytest.FixtureRequest) -> str:
    await need(request.param)
    return str(request.param)


@pytest.fixture
async def here(way: str, tmp_path: Path) -> AsyncIterator[Local]:
    async with local(tmp_path / "lambdas", way) as one:
        yield one


async def test_a_lambda_is_built_and_started_and_answers_with_its_version(here: Local) -> None:
    lambda_id = here.deploy(ANSWER.format(number=1))
    first = here.state(lambda_id)
    assert (first.version, first.status, first.image_status) == (1, LambdaStatus.WAITING, ImageStatus.IN_PROGRESS)
    state = await here.reaches(lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    assert state.image_status is ImageStatus.COMPLETED
    assert state.base
    assert "Answers with a number." in state.documentation
    answer = await here.call(lambda_id, "/main")
    assert answer.json() == 1
    assert dict(answer.headers)["lambda-version"] == "1"


async def test_the_old_version_answers_until_the_new_one_does(here: Local) -> None:
    lambda_id = await here.started(ANSWER.format(number=1))
    slow = "import time; time.sleep(1)\n" + ANSWER.format(number=2)
    here.deploy(slow, lambda_id, 2)
    seen = []
    async with asyncio.timeout(60):
        while not seen or seen[-1] != (2, "2"):
            answer = await here.call(lambda_id)
            seen.append((answer.json(), dict(answer.headers)["lambda-version"]))
            assert here.state(lambda_id).version == 2
            await asyncio.sleep(0.05)
    assert set(seen) == {(1, "1"), (2, "2")}
    assert seen == sorted(seen)
    await asyncio.sleep(1)
    assert [path.name for path in (here.folder / str(lambda_id)).iterdir() if path.name.isdigit()] == ["2"]


async def test_a_new_version_that_does_not_start_leaves_the_old_one_answering(here: Local) -> None:
    lambda_id = await here.started(ANSWER.format(number=1))
    here.deploy("raise RuntimeError('no')", lambda_id, 2)
    state = await here.reaches(lambda_id, lambda state: state.status is LambdaStatus.TERMINATED)
    assert (state.version, state.info["answering_version"]) == (2, "1")
    assert (await here.call(lambda_id)).json() == 1
    assert "RuntimeError: no" in await here.logs(lambda_id)


async def test_a_new_version_that_cannot_be_built_leaves_the_old_one_answering(here: Local) -> None:
    lambda_id = await here.started(ANSWER.format(number=1))
    here.deploy(b"no archive", lambda_id, 2)
    state = await here.reaches(lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert (state.version, state.status) == (2, LambdaStatus.WAITING)
    assert "archive" in state.image_logs[-1]
    assert (await here.call(lambda_id)).json() == 1


async def test_the_same_or_an_older_version_changes_nothing(here: Local) -> None:
    lambda_id = await here.started(PID, version=3)
    began = (await here.call(lambda_id)).json()
    here.deploy(PID, lambda_id, 3)
    here.deploy(ANSWER.format(number=9), lambda_id, 2)
    await asyncio.sleep(0.5)
    assert (await here.call(lambda_id)).json() == began


async def test_an_idle_lambda_sleeps_and_is_started_by_the_next_call(way: str, tmp_path: Path) -> None:
    async with local(tmp_path, way, idle_seconds=1) as one:
        lambda_id = await one.started(PID)
        began = (await one.call(lambda_id)).json()
        state = await one.reaches(lambda_id, lambda state: state.info["phase"] == "asleep")
        assert state.status is LambdaStatus.RUNNING
        answers = await asyncio.gather(*(one.call(lambda_id) for _ in range(5)))
        assert len({answer.json() for answer in answers}) == 1
        assert answers[0].json() > began
        assert one.state(lambda_id).info["restarts"] == "0"


async def test_restarts_wait_longer_each_time_and_are_told(here: Local) -> None:
    lambda_id = here.deploy("raise SystemExit(3)\nasync def main(request): pass")
    await here.reaches(lambda_id, lambda state: state.info.get("restarts") == "2")
    told = [line for line in await here.runner.logs(lambda_id, None) if line.startswith("--")]
    assert told[:2] == [f"-- it ended with status 3; it is started again in {pause} s" for pause in (1, 2)]


async def test_a_restart_of_the_runner_needs_no_build_and_keeps_the_log(way: str, tmp_path: Path) -> None:
    async with local(tmp_path, way) as one:
        lambda_id = await one.started("print('first words')\n" + PID)
        built = one.state(lambda_id)
    stamp = (tmp_path / str(lambda_id) / "1" / "build.json").stat().st_mtime_ns
    async with local(tmp_path, way) as one:
        known = one.state(lambda_id)
        assert (known.version, known.status, known.image_status) == (1, LambdaStatus.WAITING, ImageStatus.COMPLETED)
        assert known.documentation == built.documentation
        with pytest.raises(LambdaNotRunning):
            await one.call(lambda_id)
        await one.started(b"not looked at", lambda_id, 1)
        assert "first words" in (await one.runner.logs(lambda_id, None))[0]
    assert (tmp_path / str(lambda_id) / "1" / "build.json").stat().st_mtime_ns == stamp


async def test_half_a_build_of_an_earlier_run_is_not_used(way: str, tmp_path: Path) -> None:
    lambda_id = uuid4()
    for name in ("1.partial", "1", "run-abc"):
        (tmp_path / str(lambda_id) / name / "code").mkdir(parents=True)
        (tmp_path / str(lambda_id) / name / "code" / "lambda_main.py").write_text("raise SystemExit(9)")
    async with local(tmp_path, way) as one:
        await one.started(ANSWER.format(number=5), lambda_id, 1)
        assert (await one.call(lambda_id)).json() == 5
        names = {path.name for path in (tmp_path / str(lambda_id)).iterdir()}
        assert "1.partial" not in names
        assert "run-abc" not in names


async def test_a_removed_lambda_leaves_nothing(here: Local) -> None:
    lambda_id = await here.started(ANSWER.format(number=1))
    building = here.deploy(ANSWER.format(number=1))
    for one in (lambda_id, building, uuid4()):
        await here.runner.remove(one)
    assert here.runner.states() == {}
    assert [path.name for path in here.folder.iterdir()] == ["base"]
    assert await here.runner.logs(lambda_id, None) == []
    with pytest.raises(LambdaNotRunning, match="not_found"):
        await here.call(lambda_id)


async def test_the_last_lines_of_a_log_are_given(here: Local) -> None:
    lambda_id = await here.started("print('one')\nprint('two\\nthree')\n" + ANSWER.format(number=1))
    assert (await here.runner.logs(lambda_id, None))[:3] == ["one", "two", "three"]
    assert await here.runner.logs(lambda_id, 1) == ["three"]
    assert await here.runner.logs(lambda_id, 0) == []


async def test_changes_are_told(here: Local) -> None:
    waiting = asyncio.create_task(here.runner.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    here.deploy(ANSWER.format(number=1))
    await asyncio.wait_for(waiting, 5)
