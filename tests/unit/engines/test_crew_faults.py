"""Processes of an engine that crash, hang, cannot be started, or lose their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engines.crew import processes
from engines.crew.processes import Manners, ProcessCrew
from engines.crew.worker import Worker
from engines.engine import DefaultEngine
from engines.packs.pack import Pack
from engines.vision.decoding import Image
from server.errors import EngineFailure, Unavailable
from server.settings import Engine
from tests.pictures import png

ONE = Engine(workers=1)

PROGRAM = """
import asyncio, signal, sys
from pathlib import Path
import cv2, numpy, skimage.data
from engines.crew.processes import Manners, ProcessCrew
from engines.engine import DefaultEngine
from engines.packs.pack import load
from server.settings import Engine

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    settings = Engine(workers=2)
    packs = [load(Path(sys.argv[1]), "default")]
    crew = ProcessCrew(packs, settings)
    engine = DefaultEngine(packs, settings, crew=crew)
    print("starts", flush=True)
    await engine.start()
    large = cv2.resize(skimage.data.astronaut(), (6000, 6000))[..., ::-1]
    work = asyncio.create_task(engine.detect(cv2.imencode(".jpg", large)[1].tobytes()))
    await asyncio.sleep(0.1)
    print(*crew.pids, flush=True)
    await stop.wait()
    print(work.done(), len((await work).faces) > 0, len(crew.pids), flush=True)
    await engine.close()

asyncio.run(main())
"""
"""An engine that works on an image until it hears Ctrl-C; then it waits for the image, and ends."""


def running(pid: int) -> bool:
    """True where a process runs; one that has ended, with all of its threads, and waits for its parent does not."""
    try:
        process = psutil.Process(pid)
        # what it has open is closed when the last thread has ended, which need not be the first one
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
async def crew(pack: Pack) -> AsyncIterator[ProcessCrew]:
    """One process; its engine is `engine`."""
    crew = ProcessCrew([pack], ONE)
    yield crew
    assert crew.pids == set()


@pytest.fixture
async def engine(pack: Pack, crew: ProcessCrew) -> AsyncIterator[DefaultEngine]:
    engine = DefaultEngine([pack], ONE, crew=crew)
    await engine.start()
    yield engine
    await engine.close()


async def held(crew: ProcessCrew, engine: DefaultEngine, image: bytes, calls: int) -> list[asyncio.Task[object]]:
    """Calls of which the first is with the process, which is stopped, and the others wait for it."""
    (pid,) = crew.pids
    os.kill(pid, signal.SIGSTOP)
    tasks = [asyncio.create_task(engine.detect(image)) for _ in range(calls)]
    await asyncio.sleep(0.2)
    return tasks


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_crash_fails_the_one_image_and_the_queue_is_served_by_the_next_process(
    crew: ProcessCrew,
    engine: DefaultEngine,
    astronaut: Image,
    number: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (before,) = crew.pids
    first, *others = await held(crew, engine, png(astronaut), 4)
    os.kill(before, number)
    os.kill(before, signal.SIGCONT)
    with pytest.raises(EngineFailure) as failed:
        await first
    assert failed.value.detail.endswith(f"the process that worked on the image was ended by {number.name}")
    assert "/" not in failed.value.detail
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    found = await asyncio.gather(*others)
    assert all(len(image.faces) == 1 for image in found)  # type: ignore[attr-defined]
    (after,) = crew.pids
    assert after != before
    assert not running(before)
    assert len((await engine.detect(png(astronaut))).faces) == 1
    assert crew.pids == {after}


async def test_a_process_that_ends_with_nothing_to_do_fails_no_image(
    crew: ProcessCrew, engine: DefaultEngine, astronaut: Image
) -> None:
    (before,) = crew.pids
    os.kill(before, signal.SIGKILL)
    until(lambda: not running(before))
    assert len((await engine.detect(png(astronaut))).faces) == 1
    assert crew.pids != {before}


async def test_two_processes_that_end_fail_two_images(pack: Pack, astronaut: Image) -> None:
    settings = Engine(workers=2)
    crew = ProcessCrew([pack], settings)
    engine = DefaultEngine([pack], settings, crew=crew)
    await engine.start()
    try:
        before = crew.pids
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        tasks = [asyncio.create_task(engine.detect(png(astronaut))) for _ in range(6)]
        await asyncio.sleep(0.2)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, EngineFailure) for one in ended] == [True] * 2 + [False] * 4
        assert not before & crew.pids
        assert len(crew.pids) == 2
    finally:
        await engine.close()


async def test_a_process_that_hangs_is_ended(pack: Pack, astronaut: Image) -> None:
    crew = ProcessCrew([pack], ONE, patience=4)
    engine = DefaultEngine([pack], ONE, crew=crew)
    await engine.start()
    try:
        (before,) = crew.pids
        first, second = await held(crew, engine, png(astronaut), 2)
        with pytest.raises(EngineFailure, match="did not answer within 4 seconds and was ended"):
            await first
        assert len((await second).faces) == 1  # type: ignore[attr-defined]
        assert not running(before)
    finally:
        await engine.close()


async def test_a_process_that_does_not_take_a_large_picture_is_ended(pack: Pack) -> None:
    crew = ProcessCrew([pack], ONE, patience=4)
    engine = DefaultEngine([pack], ONE, crew=crew)
    await engine.start()
    try:
        (first,) = await held(crew, engine, bytes(8 << 20), 1)
        with pytest.raises(EngineFailure, match="did not answer within 4 seconds and was ended"):
            await first
    finally:
        await engine.close()


async def test_where_no_process_can_be_started_each_call_tries_once(
    crew: ProcessCrew, engine: DefaultEngine, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refused(*_: object) -> Worker:
        tries.append(1)
        raise OSError(11, "Resource temporarily unavailable")

    (pid,) = crew.pids
    (first,) = await held(crew, engine, png(astronaut), 1)
    with monkeypatch.context() as patched:
        patched.setattr(processes, "Worker", refused)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineFailure, match="SIGKILL"):
            await first
        assert crew.pids == set()
        for _ in range(2):
            with pytest.raises(EngineFailure, match="cannot be started again"):
                await engine.detect(png(astronaut))
        assert len(tries) == 3
    assert len((await engine.detect(png(astronaut))).faces) == 1


async def test_a_replacement_that_cannot_load_its_networks_fails_calls_without_a_path(
    tmp_path: Path, pack: Pack, astronaut: Image
) -> None:
    home = tmp_path / "default"
    home.symlink_to(pack.folder)
    moved = Pack(home, pack.manifest)
    crew = ProcessCrew([moved], ONE)
    engine = DefaultEngine([moved], ONE, crew=crew)
    await engine.start()
    try:
        home.unlink()
        (pid,) = crew.pids
        (first,) = await held(crew, engine, png(astronaut), 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineFailure, match="SIGKILL"):
            await first
        with pytest.raises(EngineFailure, match="cannot be started again") as failed:
            await engine.detect(png(astronaut))
        assert str(tmp_path) not in failed.value.detail
        assert crew.pids == set()
        home.symlink_to(pack.folder)
        assert len((await engine.detect(png(astronaut))).faces) == 1
    finally:
        await engine.close()


async def test_a_process_that_took_the_place_of_one_that_crashed_ends_when_nobody_asks_it(
    pack: Pack, astronaut: Image
) -> None:
    crew = ProcessCrew([pack], ONE, manners=Manners(idle_seconds=1))
    engine = DefaultEngine([pack], ONE, crew=crew)
    await engine.start()
    try:
        (pid,) = crew.pids
        (first,) = await held(crew, engine, png(astronaut), 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineFailure, match="SIGKILL"):
            await first
        assert len(crew.pids) == 1
        await asyncio.to_thread(until, lambda: not crew.pids)
        assert len((await engine.detect(png(astronaut))).faces) == 1
    finally:
        await engine.close()


async def test_a_process_that_ends_at_its_start_stops_the_start(pack: Pack) -> None:
    crew = ProcessCrew([pack], Engine(workers=2))
    engine = DefaultEngine([pack], Engine(workers=2), crew=crew)
    starting = asyncio.create_task(engine.start())
    await asyncio.to_thread(until, lambda: len(crew.pids) == 2)
    os.kill(max(crew.pids), signal.SIGKILL)
    with pytest.raises(EngineFailure, match="was ended by SIGKILL while it started"):
        await starting
    assert crew.pids == set()
    await engine.close()


async def test_a_start_that_is_given_up_leaves_no_process(pack: Pack) -> None:
    crew = ProcessCrew([pack], Engine(workers=2))
    engine = DefaultEngine([pack], Engine(workers=2), crew=crew)
    starting = asyncio.create_task(engine.start())
    await asyncio.to_thread(until, lambda: bool(crew.pids))
    started = crew.pids
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await engine.close()
    assert not any(map(running, started))
    assert crew.pids == set()


async def test_closing_waits_for_what_is_worked_on_and_leaves_no_process(pack: Pack, astronaut: Image) -> None:
    crew = ProcessCrew([pack], ONE)
    engine = DefaultEngine([pack], ONE, crew=crew)
    await engine.start()
    (pid,) = crew.pids
    first, second = await held(crew, engine, png(astronaut), 2)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.1)
    assert not closing.done()
    os.kill(pid, signal.SIGCONT)
    assert len((await first).faces) == 1  # type: ignore[attr-defined]
    with pytest.raises(Unavailable):
        await second
    await closing
    assert not running(pid)


async def test_a_process_that_does_not_end_is_killed(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.crew.worker._GRACE", 0.2)
    crew = ProcessCrew([pack], ONE)
    engine = DefaultEngine([pack], ONE, crew=crew)
    await engine.start()
    (pid,) = crew.pids
    os.kill(pid, signal.SIGSTOP)
    await engine.close()
    assert not running(pid)


@contextmanager
def program(pack: Pack) -> Iterator[subprocess.Popen[str]]:
    """`PROGRAM` in a process group of its own, as a shell would run it."""
    arguments = [sys.executable, "-c", PROGRAM, str(pack.folder.parent)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "starts\n"
        try:
            yield one
        finally:
            one.kill()


def test_processes_end_with_their_parent_even_while_they_work(pack: Pack) -> None:
    with program(pack) as one:
        assert one.stdout is not None
        pids = [int(word) for word in one.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(running, pids))
        one.kill()
        until(lambda: not any(map(running, pids)), 3)


def test_processes_end_with_their_parent_while_they_start(pack: Pack) -> None:
    with program(pack) as one:
        parent = psutil.Process(one.pid)
        until(lambda: len(parent.children()) == 2)
        children = [child.pid for child in parent.children()]
        one.kill()
        until(lambda: not any(map(running, children)), 5)


def test_ctrl_c_in_a_terminal_ends_no_process_before_its_work_is_done(pack: Pack) -> None:
    with program(pack) as one:
        parent = psutil.Process(one.pid)
        assert one.stdout is not None
        pids = [int(word) for word in one.stdout.readline().split()]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        os.killpg(one.pid, signal.SIGINT)
        output, errors = one.communicate(timeout=60)
        assert (output, errors, one.returncode) == ("False True 2\n", "", 0)
        assert not parent.is_running()
        assert not any(map(running, pids))


def test_ctrl_c_while_processes_start_reaches_their_parent_alone(pack: Pack) -> None:
    with program(pack) as one:
        parent = psutil.Process(one.pid)
        until(lambda: bool(parent.children()))
        for _ in range(20):
            os.killpg(one.pid, signal.SIGINT)
            time.sleep(0.02)
        output, errors = one.communicate(timeout=60)
        assert (len(output.splitlines()), errors, one.returncode) == (2, "", 0)
