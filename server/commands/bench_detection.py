"""`luna bench detection`: what the detector finds in a folder of images, beside how many faces there are."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engines.packs.errors import PackError
from engines.packs.pack import Pack
from server.commands import models
from server.commands.client import complain
from server.commands.console import console as wide
from server.domain.engine import Look
from server.domain.vision import DetectedImage
from server.engine_application import configured
from server.errors import InvalidInput, LunaError
from server.settings import Settings

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
IN_FLIGHT = 8
SHOWN = 20
"""Images that differ from their truth which are named."""


class BadTruth(Exception):
    """The file with the truth or the folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Detections in one image, and whether one of them covers its middle; None where it is no image."""

    faces: int | None
    middle: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Recall and false positives by counts alone: in one image a missed face and a false one cancel each other."""

    images: int
    faces: int
    missed: int
    false: int

    @property
    def recall(self) -> float:
        """Share of the faces that are found, in [0, 1]; 1 where there are none."""
        return 1 - self.missed / self.faces if self.faces else 1.0


def run(settings: Settings, folder: Path, truth: Path | None, min_faces: Sequence[int]) -> int:
    """Measure, and print the result.

    Args:
        settings: the engine's.
        folder: the images.
        truth: CSV file with the columns filename and faces; None where nobody has counted.
        min_faces: smallest faces that are looked for, in pixels; a row of the result for each.

    Returns:
        The exit status: 0, or 1 where it could not be measured.
    """
    console = wide()
    try:
        names = images(folder)
        known = read(truth, names) if truth is not None else {}
        packs = models.ensure(settings, console)
        seen = {size: asyncio.run(_seen(packs, settings, folder, names, size, console)) for size in min_faces}
    except (BadTruth, PackError, LunaError, OSError) as error:
        complain(error)
        return 1
    console.print(table(seen, known))
    for line in differences(seen, known):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def images(folder: Path) -> list[str]:
    """Names of the images below a folder, in order.

    Raises:
        BadTruth: there are none.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        message = f"there are no images in {folder}"
        raise BadTruth(message)
    return found


def read(truth: Path, names: Sequence[str]) -> dict[str, int]:
    """Faces by the name of the image.

    Raises:
        BadTruth: the file has other columns, names an image that is not there or names one twice.
    """
    known: dict[str, int] = {}
    with truth.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if not {"filename", "faces"} <= set(rows.fieldnames or ()):
            message = f"{truth}: its first line does not name the columns filename and faces"
            raise BadTruth(message)
        there = set(names)
        for number, row in enumerate(rows, 2):
            name, faces = row["filename"], row["faces"]
            if name not in there or name in known or not (faces or "").strip().isdecimal():
                message = f"{truth}, line {number}: {name!r} is no image of the folder, is there twice or has no number"
                raise BadTruth(message)
            known[name] = int(faces)
    return known


def score(seen: Mapping[str, Seen], known: Mapping[str, int]) -> Score:
    """Compare what was found with the truth, in the images whose truth is known."""
    found = [(seen[name].faces or 0, faces) for name, faces in known.items()]
    return Score(
        images=len(found),
        faces=sum(faces for _, faces in found),
        missed=sum(max(0, faces - count) for count, faces in found),
        false=sum(max(0, count - faces) for count, faces in found),
    )


def table(seen: Mapping[int, Mapping[str, Seen]], known: Mapping[str, int]) -> Table:
    """A row for each smallest face."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    names = ["smallest face", "images", "refused", "none", "one", "more", "none in the middle"]
    if known:
        names += ["counted faces", "missed", "false", "recall"]
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
    for size, found in seen.items():
        counts = Counter(min(one.faces, 2) for one in found.values() if one.faces is not None)
        refused = sum(one.faces is None for one in found.values())
        outside = sum(not one.middle for one in found.values() if one.faces is not None)
        cells: list[int | str] = [size, len(found), refused, counts[0], counts[1], counts[2], outside]
        if known:
            result = score(found, known)
            cells += [result.faces, result.missed, result.false, f"{result.recall:.4f}"]
        shown.add_row(*map(str, cells))
    return shown


def differences(seen: Mapping[int, Mapping[str, Seen]], known: Mapping[str, int]) -> list[str]:
    """The images whose number of detections is not the truth."""
    found = [
        f"smallest face {size}: {name} has {faces} faces, {one[name].faces or 0} found"
        for size, one in seen.items()
        for name, faces in known.items()
        if (one[name].faces or 0) != faces
    ]
    return [*found[:SHOWN], *([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])]


def looked_at(image: DetectedImage) -> Seen:
    """What there is to count in a result."""
    x, y = image.width / 2, image.height / 2
    rects = [face.rect for face in image.faces]
    covers = any(one.x <= x < one.x + one.width and one.y <= y < one.y + one.height for one in rects)
    return Seen(len(rects), covers)


async def _seen(
    packs: Sequence[Pack], settings: Settings, folder: Path, names: Sequence[str], min_face: int, console: Console
) -> dict[str, Seen]:
    engine = configured(packs, settings.engine.model_copy(update={"min_face": min_face}))
    places = asyncio.Semaphore(IN_FLIGHT)
    columns = (TextColumn(f"smallest face {min_face}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        await engine.start()
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=len(names))

            async def look(name: str) -> Seen:
                async with places:
                    data = await asyncio.to_thread((folder / name).read_bytes)
                    try:
                        return looked_at(await engine.detect(data, Look(warps=False)))
                    except InvalidInput:
                        return Seen(None)
                    finally:
                        progress.advance(bar)

            found = await asyncio.gather(*(look(name) for name in names))
    finally:
        await engine.close()
    return dict(zip(names, found, strict=True))
