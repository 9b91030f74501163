"""`luna bench engine`: what the engine does in a second, beside its bare networks and other libraries, in one run."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import cv2
import onnxruntime
from luna.v6 import images_pb2, samples_pb2, sdk_pb2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engines.engine import DefaultEngine
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from server.commands import models
from server.commands.bench_libraries import DETECT, RECOGNISE, Absent, Other, others
from server.commands.bench_load import Figures, Window, figures, in_tasks, in_threads, ratio
from server.commands.bench_reference import (
    BareNetworks,
    Call,
    EngineNetworks,
    RecordingRuntime,
    Run,
    library_calls,
    together,
)
from server.commands.bench_scenes import NoScene, scenes
from server.commands.client import Belongings, Client, ClientError, complain
from server.commands.console import console as wide
from server.commands.demo_pictures import PicturesMissing
from server.domain.engine import Look
from server.domain.vision import Estimation
from server.edge_client import Trust
from server.engine_application import configured
from server.settings import Settings

ROUNDS = 6
"""Windows of each row, one in each round."""

BATCH = 8
"""Samples of the row that describes."""

BOXES = "detect without samples"
"""What is asked where nothing is kept: no warp is encoded."""

BARE, ENGINE = "bare networks", "engine"
OWN, FLOOR = "networks, as the engine runs them", "floor: those, and OpenCV"
SERVICE, STORING = "gRPC, nothing kept", "gRPC, samples kept"
DESCRIPTOR_NETWORK = "descriptor network"
_COMPARED = {BARE, OWN, FLOOR, ENGINE, SERVICE, STORING}

Measure = Callable[[int, float], Awaitable[Window]]
"""One window of so many callers and seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to do one task with so many callers, and the windows that have been measured."""

    task: str
    way: str
    callers: int
    measure: Measure
    windows: list[Window] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """A row as it is told: its rate over that of the bare networks, and over that of the floor, on every core.

    Both are None where there are none of the task, or where a comparison would say nothing.
    """

    task: str
    way: str
    callers: int
    figures: Figures
    of_bare: float | None
    of_floor: float | None = None


def run(
    settings: Settings,
    photos: Sequence[Path],
    seconds: float,
    callers: Sequence[int],
    service: tuple[str, tuple[str, str], Trust | None] | None,
    out: Path | None,
) -> int:
    """Measure, print tables, and write them as JSON where a file is named.

    Args:
        settings: the engine's are used as they are.
        photos: photographs that scenes are made of; none takes the public-domain portraits.
        seconds: how long each row is measured, all rounds together.
        callers: numbers of callers.
        service: address, login and password, and what is believed, of a service that is measured as well, best on this
            machine.
        out: the JSON file.

    Returns:
        The exit status: 0, or 1 where it could not be measured.
    """
    console = wide()
    try:
        packs = models.ensure(settings, console)
        results = asyncio.run(_measured(packs, settings, photos, seconds, callers, service, console))
    except (ClientError, NoScene, PicturesMissing, OSError) as error:
        complain(error)
        return 1
    console.print(table(results))
    for note in notes(results):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        out.write_text(as_json(results, seconds) + "\n", "utf-8")
    return 0


def results_of(rows: Sequence[Row]) -> list[Result]:
    """What measured rows say, each beside the bare networks of its task with the most callers."""
    bare, floor = _references(rows, BARE), _references(rows, FLOOR)
    return [
        Result(row.task, row.way, row.callers, figures(row.windows), _beside(row, bare), _beside(row, floor))
        for row in rows
    ]


def _references(rows: Sequence[Row], way: str) -> dict[str, Row]:
    """The rows of a way with the most callers, by their task."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.way == way and (row.task not in found or row.callers > found[row.task].callers):
            found[row.task] = row
    return found


def _beside(row: Row, references: Mapping[str, Row]) -> float | None:
    if row.task not in references or row.way not in _COMPARED:
        return None
    return ratio(row.windows, references[row.task].windows)


def table(results: Sequence[Result]) -> Table:
    """All results, a section for each task."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("task", "way"):
        shown.add_column(name, no_wrap=True)
    for name in ("callers", "1/s", "p50 ms", "p99 ms", "of bare", "of floor", "cpu ms", "calls"):
        shown.add_column(name, justify="right", no_wrap=True)
    before = ""
    for one in results:
        if before and one.task != before:
            shown.add_section()
        found = one.figures
        shown.add_row(
            one.task if one.task != before else "",
            one.way,
            str(one.callers),
            f"{found.rate:.1f}",
            f"{1000 * found.p50:.1f}",
            f"{1000 * found.p99:.1f}",
            *("" if share is None else f"{share:.2f}" for share in (one.of_bare, one.of_floor)),
            # through gRPC it would be the client's
            "" if one.way in {SERVICE, STORING} else f"{1000 * found.processor:.1f}",
            str(found.calls),
        )
        before = one.task
    return shown


def notes(results: Sequence[Result]) -> Iterator[str]:
    """Comparisons that the table does not show by itself: medians of single callers."""
    alone = {(one.task, one.way): one.figures.p50 for one in results if one.callers == 1}
    for (task, way), seconds in alone.items():
        engine = alone.get((task, ENGINE))
        if engine is None or way in {ENGINE, BARE, OWN, FLOOR}:
            continue
        yield f"{task}: one call of the engine takes {engine / seconds:.2f} times as long as {way}"


def as_json(results: Sequence[Result], seconds: float) -> str:
    """The results with the machine that they come from; times in seconds, rates in calls a second."""
    machine = {"processor": _processor(), "cores": _cores(), "python": platform.python_version()}
    document = {
        "machine": machine | {"onnxruntime": onnxruntime.__version__, "opencv": cv2.__version__},
        "seconds": seconds,
        "rounds": ROUNDS,
        "rows": [asdict(one) for one in results],
    }
    return json.dumps(document, indent=2)


async def _measured(
    packs: Sequence[Pack],
    settings: Settings,
    photos: Sequence[Path],
    seconds: float,
    callers: Sequence[int],
    service: tuple[str, tuple[str, str], Trust | None] | None,
    console: Console,
) -> list[Result]:
    # all callers find a place, which is what is measured
    engine = configured(
        packs, settings.engine.model_copy(update={"max_queue": settings.engine.max_queue or max(callers)})
    )
    try:
        await engine.start()
        pictures = await scenes(engine, photos)
        warps = [face.warp for face in (await engine.detect(pictures[20])).faces[:BATCH]]
        tasks = _tasks(pictures, warps)
        recorded = await _recorded(packs, settings, tasks)
        with ExitStack() as stack:
            own = stack.enter_context(closing(OnnxRuntime(threads=settings.engine.threads)))
            rows = list(_references_and_engine(engine, tasks, recorded, EngineNetworks(own), callers))
            rows += _libraries(pictures, console)
            if service is not None:
                rows += stack.enter_context(_service(service, pictures, callers))
            rows.sort(key=lambda row: list(tasks).index(row.task))
            await _rounds(rows, seconds / ROUNDS, console)
            return results_of(rows)
    finally:
        await engine.close()


Task = Callable[[DefaultEngine], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one call of a task does: runs of networks, and calls of OpenCV."""

    runs: Sequence[Run]
    calls: Sequence[Call]


def _tasks(pictures: Mapping[int, bytes], warps: Sequence[bytes]) -> dict[str, Task]:
    """What the engine is asked for, by the names in the table."""
    describing = Look(estimations=frozenset({Estimation.DESCRIPTOR}))
    tasks: dict[str, Task] = {}
    for count, image in pictures.items():
        tasks[_named(DETECT, count)] = partial(_detect, image, Look())
        tasks[_named(BOXES, count)] = partial(_detect, image, Look(warps=False))
    tasks[_named(RECOGNISE, 1)] = partial(_detect, pictures[1], describing)
    tasks[f"describe {len(warps)} samples"] = partial(_describe, warps)
    return tasks


def _named(task: str, count: int) -> str:
    return f"{task}, {count} face{'s' if count > 1 else ''}"


async def _detect(image: bytes, look: Look, engine: DefaultEngine) -> object:
    return await engine.detect(image, look)


async def _describe(warps: Sequence[bytes], engine: DefaultEngine) -> object:
    return await engine.describe(warps)


async def _recorded(packs: Sequence[Pack], settings: Settings, tasks: Mapping[str, Task]) -> Mapping[str, Recorded]:
    """What one call of each task does."""
    runtime = RecordingRuntime(OnnxRuntime(threads=settings.engine.threads))
    engine = DefaultEngine(packs, settings.engine, runtime)
    await engine.start()
    try:
        found = {}
        for name, task in tasks.items():
            runtime.taken()
            with library_calls() as calls:
                await task(engine)
            found[name] = Recorded(runtime.taken(), calls)
        return found
    finally:
        await engine.close()


def _references_and_engine(
    engine: DefaultEngine,
    tasks: Mapping[str, Task],
    recorded: Mapping[str, Recorded],
    own: EngineNetworks,
    callers: Sequence[int],
) -> Iterator[Row]:
    networks = BareNetworks()
    for name, task in tasks.items():
        runs = recorded[name].runs
        floor = together([own.replay(runs), *recorded[name].calls])
        for way, call in ((BARE, networks.replay(runs)), (OWN, own.replay(runs)), (FLOOR, floor)):
            for count in sorted({1, _cores()}):
                yield Row(name, way, count, partial(_threads, call))
        batches = [run for run in runs if len(next(iter(run.inputs.values()))) == BATCH]
        if name.startswith("describe") and batches:
            # by far the largest network of those that see all samples as one batch
            largest = max(batches, key=lambda run: run.model.stat().st_size)
            yield Row(name, DESCRIPTOR_NETWORK, 1, partial(_threads, networks.replay([largest])))
        for count in callers:
            yield Row(name, ENGINE, count, partial(in_tasks, partial(task, engine)))


def _libraries(pictures: Mapping[int, bytes], console: Console) -> Iterator[Row]:
    """One caller each: what the libraries keep in modules is not meant for several threads."""
    for other in others():
        if isinstance(other, Absent):
            console.print(f"{other.library}: {other.reason}", markup=False, highlight=False, soft_wrap=True)
            continue
        for count, image in pictures.items():
            if other.task == RECOGNISE and count > 1:
                continue
            call = partial(other.call, image)
            if (problem := _problem(other, call)) is not None:
                console.print(problem, markup=False, highlight=False, soft_wrap=True)
                break
            yield Row(_named(other.task, count), f"{other.library}, {other.way}", 1, partial(_threads, call))


def _problem(other: Other, call: Callable[[], object]) -> str | None:
    """Call once: models are loaded, and where they cannot be had it is told instead of measured."""
    try:
        call()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a foreign library raises
        return f"{other.library}, {other.way}: fails: {' '.join(str(error).split())[:160]}"
    return None


@contextmanager
def _service(
    service: tuple[str, tuple[str, str], Trust | None], pictures: Mapping[int, bytes], callers: Sequence[int]
) -> Iterator[list[Row]]:
    """The same detections through gRPC: by /6/sdk's method, which keeps nothing, and by the detector's.

    The samples that the detector stores are deleted at the end.
    """
    with Client(*service) as client, Belongings(client) as made:

        def look(image: bytes) -> None:
            request = sdk_pb2.EstimateRequest(
                images=[images_pb2.ImageInput(data=image)], detect_face=True, estimate_face_descriptor=False
            )
            client.call(client.sdk.Estimate, request)

        def detect(image: bytes) -> None:
            request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=image)])
            for found in client.call(client.samples.DetectFaces, request).images[0].detections.samples:
                made.sample(found.face.sample_id)

        yield [
            Row(_named(task, faces), way, count, partial(_threads, partial(call, image)))
            for faces, image in pictures.items()
            for task, way, call in ((BOXES, SERVICE, look), (DETECT, STORING, detect))
            for count in callers
        ]


async def _threads(call: Callable[[], object], callers: int, seconds: float) -> Window:
    return await asyncio.to_thread(in_threads, call, callers, seconds)


async def _rounds(rows: Sequence[Row], seconds: float, console: Console) -> None:
    """A short window of every row that is not counted, then one of every row in each round."""
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=(ROUNDS + 1) * len(rows))
        for number in range(ROUNDS + 1):
            for row in rows:
                window = await row.measure(row.callers, seconds if number else 0)
                if number:
                    row.windows.append(window)
                progress.advance(bar)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
