"""`luna models calibrate`: what a similarity of a pack's descriptors means, from pairs of pictures.

The similarity is the logistic function of the distance that tells pairs of one person from pairs of two with the least
cross entropy, both kinds weighing the same (Platt, Probabilistic Outputs for Support Vector Machines, 1999).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engines.packs.errors import PackDamaged, PackError
from engines.packs.manifest import Calibration, Manifest, Task
from engines.packs.pack import MANIFEST, Pack, load
from server.commands.bench_lfw import FARS, BadPairs, Pair, limited, paths, read
from server.commands.bench_metrics import Bools, Floats, accuracies, allowed, auc, tar_at_far
from server.commands.client import complain
from server.domain.engine import Look
from server.domain.vision import DetectedFace, DetectedImage, Estimation
from server.engine_application import configured
from server.errors import LunaError
from server.settings import Settings

LEAST_PAIRS = 20
"""Pairs of either kind that a fit needs at least."""

_LOOK = Look(estimations=frozenset({Estimation.DESCRIPTOR}), warps=False)
_AT_ONCE = 4
_STEPS = 100
_RIDGE = 1e-5
"""Holds the steepness back where the pairs can be told apart without an error, and any steepness would do."""


class TooFewPairs(Exception):
    """There are not enough pairs with faces to fit anything to."""


def run(settings: Settings, name: str, pairs: Path, version: int, limit: int) -> int:
    """Measure, print the result, and write the calibration. The exit status.

    Args:
        settings: which other packs detect and align, and where packs are.
        name: the pack.
        pairs: folder with pairs.txt and images/NAME/NAME_0001.jpg.
        version: of the pack's descriptors; 0 is its first.
        limit: pairs of each fold; 0 is all.
    """
    console = Console()
    try:
        chosen = limited(read(pairs / "pairs.txt"), limit)
        used = settings.engine.packs
        packs = {one: load(settings.models_folder, one) for one in (used if name in used else (name, *used))}
        version = _version(packs[name], version)
        distances = asyncio.run(_distances(list(packs.values()), settings, version, pairs / "images", chosen, console))
        steepness, midpoint = fit(distances, np.array([pair.same for pair in chosen]))
        data = f"logistic fit on {np.isfinite(distances).sum()} pairs of {pairs.resolve().name}"
        write(packs[name], version, Calibration(steepness=steepness, midpoint=midpoint, data=data))
    except (BadPairs, TooFewPairs, PackError, LunaError, OSError) as error:
        complain(error)
        return 1
    console.print(report(chosen, distances, steepness, midpoint), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written into {packs[name].folder / MANIFEST}; servers use it from their next start", soft_wrap=True)
    return 0


def fit(distances: Floats, same: Bools) -> tuple[float, float]:
    """Steepness and midpoint of the logistic map, by Newton's method.

    Args:
        distances: float64 [n], in [0, 2]; NaN where a picture has no face.
        same: bool [n], true where the two pictures show one person.

    Raises:
        TooFewPairs: of either kind.
    """
    known = np.isfinite(distances)
    mates, others = int((known & same).sum()), int((known & ~same).sum())
    if min(mates, others) < LEAST_PAIRS:
        message = f"{LEAST_PAIRS} pairs with faces of either kind are needed; there are {mates} and {others}"
        raise TooFewPairs(message)
    d, y = distances[known], same[known].astype(np.float64)
    weight = np.where(y == 1, 0.5 / mates, 0.5 / others)
    centre, spread = d.mean(), d.std()
    x = np.stack([(d - centre) / spread, np.ones_like(d)], axis=1)
    beta = np.zeros(2)
    ridge = np.diag([_RIDGE, 0.0])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
        gradient = x.T @ (weight * (y - p)) - ridge @ beta
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    steepness = -beta[0] / spread
    midpoint = centre - beta[1] / beta[0] * spread
    if steepness <= 0 or not 0 < midpoint < 2:
        message = f"the descriptors do not tell persons apart: the fit is {steepness:.3g}, {midpoint:.3g}"
        raise TooFewPairs(message)
    return round(float(steepness), 3), round(float(midpoint), 4)


def write(pack: Pack, version: int, calibration: Calibration) -> None:
    """Put a calibration into the pack's manifest, in one step.

    Raises:
        OSError: the manifest cannot be written.
    """
    models = [
        model.model_copy(update={"calibration": calibration})
        if model.task is Task.FACE_DESCRIPTOR and model.version == version
        else model
        for model in pack.manifest.models
    ]
    changed = Manifest.model_validate({**pack.manifest.model_dump(), "models": [one.model_dump() for one in models]})
    new = pack.folder / f".{MANIFEST}.new"
    new.write_text(changed.to_json(), "utf-8")
    new.replace(pack.folder / MANIFEST)


def report(pairs: Sequence[Pair], distances: Floats, steepness: float, midpoint: float) -> str:
    """The result as lines of text."""
    similarities = np.where(np.isfinite(distances), 2 - distances, np.nan)
    same = np.array([pair.same for pair in pairs])
    folds = np.array([pair.fold for pair in pairs])
    others = int((~same).sum())
    found = accuracies(similarities, same, folds)
    lines = [
        f"pairs      {len(pairs)}: {int(same.sum())} of one person, {others} of two, in {len(found)} folds",
        f"failures   {int(np.isnan(distances).sum())} pairs without a detection, counted as errors",
        f"accuracy   {found.mean():.4f}; the threshold of each fold is chosen on the others",
        f"AUC        {auc(similarities, same):.4f}",
    ]
    lines += [
        f"TAR@FAR    {tar_at_far(similarities, same, far):.4f} at {far:g}, "
        f"where {allowed(far, others)} of the {others} pairs of two people may be accepted"
        for far in FARS
    ]
    return "\n".join([*lines, f"similarity 1 / (1 + exp({steepness:g} (d - {midpoint:g})))"])


def _version(pack: Pack, wanted: int) -> int:
    """The version to calibrate: the wanted one, or the pack's first.

    Raises:
        PackDamaged: the pack does not make it.
    """
    versions = [model.version for model in pack.models(Task.FACE_DESCRIPTOR) if model.version is not None]
    if not versions or (wanted and wanted not in versions):
        made = ", ".join(map(str, versions)) or "none"
        raise PackDamaged(f"the pack {pack.manifest.name!r} makes face descriptors of the versions: {made}")
    return wanted or versions[0]


async def _distances(
    packs: Sequence[Pack], settings: Settings, version: int, folder: Path, pairs: Sequence[Pair], console: Console
) -> Floats:
    """Distances of the pairs, float64 [n]; NaN where a picture has no face."""
    engine = configured(packs, settings.engine.model_copy(update={"descriptor_version": version}))
    await engine.start()
    images = paths(pairs)
    vectors: dict[str, Floats] = {}
    gate = asyncio.Semaphore(_AT_ONCE)
    columns = (TextColumn("describing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(images))

        async def one(path: str) -> None:
            async with gate:
                found = await engine.detect(await asyncio.to_thread((folder / path).read_bytes), _LOOK)
            face = central(found)
            if face is not None and face.descriptor is not None:
                vectors[path] = np.frombuffer(face.descriptor.data, "<f2").astype(np.float64)
            progress.advance(bar)

        try:
            await asyncio.gather(*(one(path) for path in images))
        finally:
            await engine.close()
    return np.array(
        [
            np.linalg.norm(vectors[pair.first] - vectors[pair.second])
            if pair.first in vectors and pair.second in vectors
            else np.nan
            for pair in pairs
        ]
    )


def central(image: DetectedImage) -> DetectedFace | None:
    """The face whose centre is nearest to the image's, which is whom the image is of; None without faces."""

    def distance(face: DetectedFace) -> float:
        x, y = face.rect.x + face.rect.width / 2, face.rect.y + face.rect.height / 2
        return (x - image.width / 2) ** 2 + (y - image.height / 2) ** 2

    return min(image.faces, key=distance, default=None)
