"""A crew of processes gives what a crew of threads gives: answers, errors, and what observers are told."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from test_turns import Seen

from engines.crew.crew import Unexpected, Work
from engines.crew.line import Line, packed
from engines.crew.processes import Manners, ProcessCrew
from engines.engine import DefaultEngine
from engines.packs.errors import PackDamaged
from engines.packs.pack import DEFAULT, Pack
from engines.packs.prepare import prepare
from engines.vision.decoding import Image
from server.domain.engine import Engine as Port
from server.domain.engine import Look
from server.domain.vision import BODIES, Estimation
from server.engine_application import EngineOnDemand, behind_others, own_engine
from server.errors import (
    EngineFailure,
    FeatureOff,
    ImageTooLarge,
    LunaError,
    NotAnImage,
    Unavailable,
    VersionNotEstimated,
    WrongSampleSize,
)
from server.metrics import Metrics
from server.settings import Engine, Settings
from tests.pictures import png
from tests.unit.engines.made_packs import optional

FACE = frozenset(
    {
        Estimation.HEAD_POSE,
        Estimation.QUALITY,
        Estimation.LANDMARKS68,
        Estimation.EYES,
        Estimation.MOUTH,
        Estimation.FACE_QUALITY,
        Estimation.DESCRIPTOR,
    }
)


@asynccontextmanager
async def started(crew: ProcessCrew, pack: Pack, settings: Engine, seen: Seen | None = None) -> AsyncIterator[Port]:
    engine = DefaultEngine([pack], settings, observer=seen, crew=crew)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


@pytest_asyncio.fixture(scope="module")
async def crew(pack: Pack) -> AsyncIterator[ProcessCrew]:
    """Its engine is `apart`."""
    crew = ProcessCrew([pack], Engine(landmarks68=True, workers=2))
    yield crew
    assert crew.pids == set()


@pytest_asyncio.fixture(scope="module")
async def apart(pack: Pack, crew: ProcessCrew) -> AsyncIterator[DefaultEngine]:
    async with started(crew, pack, Engine(landmarks68=True, workers=2)) as engine:
        yield engine


async def test_it_knows_of_its_models_what_threads_know(apart: DefaultEngine, engine: DefaultEngine) -> None:
    assert apart.runtime == engine.runtime
    assert apart.descriptor_version == engine.descriptor_version
    assert apart.calibrations == engine.calibrations
    subjects = [*Estimation, BODIES]
    assert [apart.needs(one) for one in subjects] == [engine.needs(one) for one in subjects]


async def test_processes_give_what_threads_give(apart: DefaultEngine, engine: DefaultEngine, astronaut: Image) -> None:
    image = png(astronaut)
    warp = (await engine.detect(image)).faces[0].warp
    calls: list[Callable[[Port], Awaitable[object]]] = [
        lambda one: one.detect(image, Look(estimations=FACE, extract_exif=True)),
        lambda one: one.detect(image, Look(faces=False)),
        lambda one: one.inspect(warp, estimations=FACE),
        lambda one: one.describe([warp] * 20),
        lambda one: one.describe([warp], version=1002),
        lambda one: one.normalise(image, width=512, height=512),
        lambda one: one.to_jpeg(image),
    ]
    for call in calls:
        assert await call(apart) == await call(engine)
    body = await engine.to_jpeg(png(np.ascontiguousarray(astronaut[:256, :128])))
    assert await apart.inspect_body(body) == await engine.inspect_body(body)


async def test_processes_give_what_models_of_further_packs_give(
    pack: Pack, tmp_path: Path, shared_models: Path, photos: Path
) -> None:
    packs = [pack, optional(tmp_path, shared_models)]
    settings = Engine(demographics=True, landmarks68=True, workers=1)
    further = {Estimation.LIVENESS, Estimation.EMOTIONS, Estimation.BASIC_ATTRIBUTES, Estimation.PEOPLE_COUNT}
    look = Look(bodies=True, estimations=FACE | further)
    image = (photos / "obama.jpg").read_bytes()
    found = []
    for crew in (None, ProcessCrew(packs, settings)):
        engine = DefaultEngine(packs, settings, crew=crew)
        await engine.start()
        found.append(await engine.detect(image, look))
        await engine.close()
    assert found[0] == found[1]
    assert found[0].faces[0].basic_attributes is not None


def failing(image: bytes) -> dict[type[LunaError], Callable[[Port], Awaitable[object]]]:
    return {
        NotAnImage: lambda one: one.detect(b"no image"),
        WrongSampleSize: lambda one: one.inspect(image),
        ImageTooLarge: lambda one: one.to_jpeg(image),
        VersionNotEstimated: lambda one: one.describe([image], version=1004),
        FeatureOff: lambda one: one.detect(image, Look(estimations=frozenset({Estimation.GAZE}))),
    }


@pytest.mark.parametrize("error", failing(b""))
async def test_errors_are_the_same(
    error: type[LunaError], apart: DefaultEngine, engine: DefaultEngine, astronaut: Image
) -> None:
    image = png(np.zeros((8100, 8100, 3), np.uint8) if error is ImageTooLarge else astronaut)
    told = []
    for one in (apart, engine):
        with pytest.raises(LunaError) as caught:
            await failing(image)[error](one)
        assert type(caught.value) is error
        told.append((str(caught.value), caught.value.args, vars(caught.value), caught.value.body()))
    assert told[0] == told[1]


async def test_what_nobody_foresaw_comes_with_its_type_and_its_traceback(crew: ProcessCrew, apart: Port) -> None:
    def no_method_of_a_pipeline(work: Work) -> None:
        raise NotImplementedError

    with pytest.raises(Unexpected) as caught:
        await asyncio.to_thread(crew.work, no_method_of_a_pipeline)
    text = str(caught.value)
    assert text.startswith("AttributeError\nTraceback")
    assert "no attribute 'no_method_of_a_pipeline'" in text


async def test_observers_are_told_the_same(pack: Pack, astronaut: Image) -> None:
    told = []
    for processes in (False, True):
        seen = Seen()
        settings = Engine(workers=1)
        crew = ProcessCrew([pack], settings, seen) if processes else None
        engine = DefaultEngine([pack], settings, observer=seen, crew=crew)
        await engine.start()
        await asyncio.gather(*(engine.detect(png(astronaut)) for _ in range(3)))
        with pytest.raises(NotAnImage):
            await engine.to_jpeg(b"nothing")
        await engine.close()
        for _, queued, host, compute in seen.turns[:3]:
            assert queued >= 0
            assert host > 0
            assert compute > 0
        assert sum(run[3] for run in seen.runs) > 0
        told.append(([turn[0] for turn in seen.turns], seen.ends, [run[:2] for run in seen.runs]))
    assert told[0] == told[1]


@pytest.mark.parametrize("damage", ["landmarks68", "network"])
async def test_a_start_that_fails_raises_what_threads_raise_and_leaves_no_process(tmp_path: Path, damage: str) -> None:
    pack = prepare(tmp_path, DEFAULT, landmarks68=False, progress=lambda *_: None)
    if damage == "network":
        (pack.folder / "detector_output.onnx").write_bytes((pack.folder / "detector_refinement.onnx").read_bytes())
    settings = Engine(landmarks68=damage == "landmarks68", workers=2)
    crew, told = ProcessCrew([pack], settings), []
    for one in (crew, None):
        engine = DefaultEngine([pack], settings, crew=one)
        with pytest.raises((PackDamaged, EngineFailure)) as caught:
            await engine.start()
        await engine.close()
        told.append((type(caught.value), str(caught.value)))
    assert told[0] == told[1]
    assert crew.pids == set()


async def test_an_engine_that_is_not_running_says_so_whoever_works_for_it(pack: Pack, astronaut: Image) -> None:
    engine = DefaultEngine([pack], Engine(workers=1), crew=ProcessCrew([pack], Engine(workers=1)))
    with pytest.raises(Unavailable):
        await engine.detect(png(astronaut))
    await engine.start()
    await engine.close()
    with pytest.raises(Unavailable):
        await engine.detect(png(astronaut))


async def test_a_process_sees_no_settings_of_the_environment(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNA_DATABASE__URL", "postgresql://someone:secret@host/name")
    crew = ProcessCrew([pack], Engine.model_validate({"workers": 1, "secret": "of servers and engines"}))
    async with started(crew, pack, Engine(workers=1)):
        (pid,) = crew.pids
        environment = psutil.Process(pid).environ()
        assert not [name for name in environment if name.startswith("LUNA_")]
        assert environment["OMP_NUM_THREADS"] == "1"


async def test_memory_that_is_short_ends_a_process_of_the_engine_first(crew: ProcessCrew, apart: DefaultEngine) -> None:
    def badness(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert {badness(pid) for pid in crew.pids} == {min(1000, badness("self") + 300)}


async def test_a_process_lets_its_parent_go_first(crew: ProcessCrew, apart: DefaultEngine) -> None:
    own = psutil.Process().nice()
    assert {psutil.Process(pid).nice() for pid in crew.pids} == {min(19, own + 5)}


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - processes end without a word
            await asyncio.sleep(0.02)


async def test_processes_that_have_nothing_to_do_end_and_begin_again(pack: Pack, astronaut: Image) -> None:
    settings = Engine(workers=2)
    crew = ProcessCrew([pack], settings, manners=Manners(idle_seconds=0.5))
    async with started(crew, pack, settings) as engine:
        image = png(astronaut)
        found = await engine.detect(image)
        await until(lambda: not crew.pids)
        for _ in range(2):
            assert await engine.detect(image) == found
            assert len(crew.pids) == 1
            await until(lambda: not crew.pids)


async def test_a_process_that_is_asked_again_and_again_stays(pack: Pack, astronaut: Image) -> None:
    idle_seconds, settings = 1.0, Engine(workers=2)
    crew = ProcessCrew([pack], settings, manners=Manners(idle_seconds=idle_seconds))
    async with started(crew, pack, settings) as engine:
        image = png(astronaut)
        await engine.detect(image)
        await until(lambda: len(crew.pids) == 1)
        left = set(crew.pids)
        ends = asyncio.get_running_loop().time() + 3 * idle_seconds
        while asyncio.get_running_loop().time() < ends:
            await engine.detect(image)
        assert crew.pids == left


async def test_processes_of_many_threads_end_while_others_are_asked(pack: Pack, astronaut: Image) -> None:
    """Looks for idle processes come at every moment between the taking and the giving back of places."""
    settings = Engine(workers=2)
    crew = ProcessCrew([pack], settings, manners=Manners(idle_seconds=0.001))
    async with started(crew, pack, settings) as engine:
        image = png(astronaut)
        found = await engine.detect(image)
        for _ in range(5):
            assert await asyncio.gather(*(engine.detect(image) for _ in range(4))) == [found] * 4


def session_nice(pid: int) -> int | None:
    """The nice value of a process's session among sessions, where the kernel shares between them first."""
    file = Path(f"/proc/{pid}/autogroup")
    return int(file.read_text().split()[-1]) if file.exists() else None


async def test_processes_behind_others_are_nicer_in_whatever_session(pack: Pack) -> None:
    settings = Engine(workers=2)
    crew = ProcessCrew([pack], settings, manners=Manners(nice=10))
    own = psutil.Process().nice()
    async with started(crew, pack, settings):
        for pid in crew.pids:
            assert psutil.Process(pid).nice() == min(19, own + 15)
            assert os.getsid(pid) == pid
            assert session_nice(pid) in {None, 15}


def test_an_engine_behind_others_takes_a_quarter_of_what_one_of_theirs_does() -> None:
    def workers(engine: dict[str, int], tasks: dict[str, int]) -> int:
        return behind_others(Settings.model_validate({"engine": engine, "tasks": tasks})).engine.workers

    assert [workers({"workers": one}, {}) for one in (1, 2, 4, 7, 8, 16)] == [1, 1, 1, 1, 2, 4]
    assert workers({}, {}) == max(1, len(os.sched_getaffinity(0)) // 4)
    assert workers({"workers": 2}, {"engine_workers": 3}) == 3


async def test_the_engine_of_tasks_stands_behind_others_and_gives_its_memory_back(pack: Pack, astronaut: Image) -> None:
    settings = Settings.model_validate(
        {"models": pack.folder.parent, "engine": {"workers": 8}, "tasks": {"engine_idle_seconds": 1, "engine_nice": 4}}
    )
    before, nice = set(psutil.Process().children()), psutil.Process().nice()

    def begun() -> set[psutil.Process]:
        return set(psutil.Process().children()) - before

    async with AsyncExitStack() as closing:
        on_demand = EngineOnDemand(settings, closing)
        assert begun() == set()
        engine = await on_demand.get()
        assert await on_demand.get() is engine
        assert [one.nice() for one in begun()] == [min(19, nice + 9)] * 2
        await until(lambda: not begun())
        assert (await engine.detect(png(astronaut))).faces
        assert len(begun()) == 1
    assert begun() == set()


@pytest.mark.parametrize(("processes", "children"), [(True, 1), (False, 0)])
async def test_the_setting_chooses_the_crew(pack: Pack, processes: bool, children: int) -> None:
    engine = {"processes": processes, "workers": 1}
    before = set(psutil.Process().children())
    settings = Settings.model_validate({"models": pack.folder.parent, "engine": engine})
    async with own_engine(settings, Metrics()) as one:
        assert len(set(psutil.Process().children()) - before) == children
        assert one.places == 1 + settings.engine.waiting(1)
    assert set(psutil.Process().children()) <= before


def test_what_lets_processes_work_loads_no_networks(pack: Pack) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
import server.application
from server.engine_application import own_engine
from server.metrics import Metrics
from server.settings import Settings

async def main():
    settings = Settings.model_validate({{"models": Path({str(pack.folder.parent)!r}), "engine": {{"workers": 1}}}})
    async with own_engine(settings, Metrics()) as engine:
        assert engine.runtime.startswith("ONNX Runtime")
        print(sorted({{"cv2", "onnx", "onnxruntime"}} & set(sys.modules)))

asyncio.run(main())
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNA_")}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) - 8, 3 << 20])
def test_a_line_carries_messages_of_any_size(size: int) -> None:
    ends = socket.socketpair()
    one, other = Line(ends[0], wary=False), Line(ends[1], wary=True)
    message = os.urandom(size)
    program = asyncio.run(_sent(one, other, message))
    assert program == message
    one.close()
    with pytest.raises(EOFError):
        other.receive()
    other.close()


async def _sent(one: Line, other: Line, message: bytes) -> object:
    _, received = await asyncio.gather(asyncio.to_thread(one.send, packed(message)), asyncio.to_thread(other.receive))
    return received


@pytest.mark.parametrize("thing", [os.system, subprocess.Popen, Path("/"), getattr])
def test_an_answer_can_name_nothing_that_does_something(thing: object) -> None:
    ends = socket.socketpair()
    one, other = Line(ends[0], wary=False), Line(ends[1], wary=True)
    one.send(packed((thing, None)))
    with pytest.raises(pickle.UnpicklingError, match="no answer has a"):
        other.receive()
    one.close()
    other.close()


def test_an_answer_can_reach_nothing_through_a_module_that_it_may_name() -> None:
    ends = socket.socketpair()
    one, other = Line(ends[0], wary=False), Line(ends[1], wary=True)
    for path in ("inspect", "inspect.sys", "LunaError.__init__", "copyreg.pickle"):
        one.send(
            pickle.PROTO
            + b"\x04"
            + b"\x8c\x12server.errors.tree"
            + b"\x8c"
            + bytes([len(path)])
            + path.encode()
            + b"\x93."
        )
        with pytest.raises(pickle.UnpicklingError, match="no answer has a"):
            other.receive()
    one.send(packed(np.float32(0.5)))
    assert other.receive() == 0.5
    one.close()
    other.close()
