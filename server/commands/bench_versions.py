"""`luna bench lfw --in-process`: the pairs for every descriptor version that the installed packs make.

No service is needed. The way is the service's: detect, keep the warp as JPEG, describe the kept warp, compare float16
descriptors.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engines.index.compare import unit_rows
from engines.packs.errors import PackError
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.runtime import RuntimeFailure
from engines.vision.models import Models, assemble
from engines.vision.pipeline import Pipeline
from server.commands import models
from server.commands.bench_lfw import BadPairs, Described, Pair, limited, paths, read, report
from server.commands.bench_metrics import Floats
from server.commands.client import complain
from server.commands.console import console as wide
from server.domain.descriptors import Descriptor
from server.domain.engine import Look
from server.domain.vision import DetectedImage
from server.errors import InvalidInput
from server.settings import Settings

BATCH = 16
"""Warps that are described together."""


def run(settings: Settings, pairs: Path, limit: int) -> int:
    """Measure every version, and print the results.

    Args:
        settings: the engine's and the packs.
        pairs: folder with pairs.txt and images/NAME/NAME_0001.jpg.
        limit: pairs of each fold, half of them of one person; 0 is all.

    Returns:
        The exit status: 0, or 1 where it could not be measured.
    """
    console = wide()
    try:
        chosen = limited(read(pairs / "pairs.txt"), limit)
        packs = models.ensure(settings, console)
        for described in _described(packs, settings, pairs / "images", paths(chosen), console):
            text = report(chosen, described, similarities(chosen, described))
            console.print(text, markup=False, highlight=False, soft_wrap=True, end="\n\n")
    except (BadPairs, PackError, RuntimeFailure, OSError) as error:
        complain(error)
        return 1
    return 0


def similarities(pairs: Sequence[Pair], described: Described) -> Floats:
    """Cosines of the pairs, float64 [n]; NaN where an image has no descriptor."""
    found = np.full(len(pairs), np.nan)
    names = list(described.descriptors)
    if not names:
        return found
    units = unit_rows([Descriptor(described.version, described.descriptors[name]) for name in names])
    row = {name: number for number, name in enumerate(names)}
    for number, pair in enumerate(pairs):
        if pair.first in row and pair.second in row:
            found[number] = units[row[pair.first]] @ units[row[pair.second]]
    return found


def central(found: DetectedImage) -> bytes | None:
    """The warp of the face whose centre is nearest to the image's, whom the image is of; None without faces."""
    if not found.faces:
        return None

    def distance(number: int) -> float:
        rect = found.faces[number].rect
        x, y = rect.x + (rect.width - found.width) / 2, rect.y + (rect.height - found.height) / 2
        return x * x + y * y

    return found.faces[min(range(len(found.faces)), key=distance)].warp


def _described(
    packs: Sequence[Pack], settings: Settings, folder: Path, images: Sequence[str], console: Console
) -> Iterator[Described]:
    """The images described by each version: those that are made without flip averaging, then those that need it."""
    warps: dict[str, bytes] = {}
    seen: set[int] = set()
    detecting = 0.0
    cv2.setNumThreads(1)
    for flip in (False, True):
        engine = settings.engine.model_copy(update={"flip_averaging": flip})
        loaded: Models = assemble(packs, OnnxRuntime(threads=engine.threads), engine)
        pipeline = Pipeline(loaded, engine)
        if not seen:
            began = time.monotonic()
            warps = _warps(pipeline, folder, images, console)
            detecting = time.monotonic() - began
        undetected = tuple(path for path in images if path not in warps)
        for version in sorted(set(loaded.describers) - seen):
            seen.add(version)
            began = time.monotonic()
            descriptors = _descriptors(pipeline, version, warps, console)
            seconds = detecting + time.monotonic() - began
            way = f"in process, of which {detecting:.1f} s detect, {_workers()} workers"
            yield Described(descriptors, version, undetected, seconds, way)


def _warps(pipeline: Pipeline, folder: Path, images: Sequence[str], console: Console) -> dict[str, bytes]:
    def detect(path: str) -> bytes | None:
        try:
            return central(pipeline.detect((folder / path).read_bytes(), Look()))
        except InvalidInput as error:
            message = f"{path}: {error}"
            raise BadPairs(message) from error

    with ThreadPoolExecutor(_workers()) as pool, _progress("detecting", console) as progress:
        bar = progress.add_task("", total=len(images))
        found: dict[str, bytes] = {}
        for path, warp in zip(images, pool.map(detect, images), strict=True):
            if warp is not None:
                found[path] = warp
            progress.advance(bar)
        return found


def _descriptors(pipeline: Pipeline, version: int, warps: Mapping[str, bytes], console: Console) -> dict[str, bytes]:
    names = list(warps)
    batches = [names[begin : begin + BATCH] for begin in range(0, len(names), BATCH)]

    def describe(batch: Sequence[str]) -> list[bytes]:
        return [one.data for one in pipeline.describe([warps[name] for name in batch], version)]

    with ThreadPoolExecutor(_workers()) as pool, _progress(f"version {version}", console) as progress:
        bar = progress.add_task("", total=len(names))
        found: dict[str, bytes] = {}
        for batch, data in zip(batches, pool.map(describe, batches), strict=True):
            found |= dict(zip(batch, data, strict=True))
            progress.advance(bar, len(batch))
        return found


def _progress(what: str, console: Console) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
