"""How fast and how good the default engine is, beside dlib's own functions.

    python tests/bench/engine_speed.py                      medians of single calls
    python tests/bench/engine_speed.py --lfw FOLDER         verification on pairs.txt and images/ of the LFW layout

Times are medians of bare calls in one process, without decoding and without the limiter. The verification goes the
service's way: detect, keep the warp as JPEG, describe the kept warp.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import dlib
import numpy as np
import numpy.typing as npt
import skimage.data
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engines.engine import DefaultEngine
from engines.packs import pack as packs
from engines.packs import sources
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.vision import alignment
from engines.vision.decoding import Image
from engines.vision.descriptor import DescriptorNetwork
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
from server.domain.vision import DetectedFace, DetectedImage
from server.settings import Engine
from tests.packs import default_pack

Floats = npt.NDArray[np.float64]
Photo = tuple[str, int]
Call = Callable[[], object]

DETECT = "detect 640x480, faces from 40 px"
LANDMARKS = "5 landmarks"
WARP = "warp"
DESCRIBE = "descriptor of a warp"
DESCRIBE_16 = "descriptors of 16 warps"

console = Console()


def milliseconds(call: Call, rounds: int) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1000 * median(times)


def per_second(call: Call, workers: int, rounds: int) -> float:
    """Calls per second of several threads side by side."""
    with ThreadPoolExecutor(workers) as pool:
        begin = time.perf_counter()
        list(pool.map(lambda _: call(), range(rounds)))
        return rounds / (time.perf_counter() - begin)


def our_calls(photo: Image, threads: int) -> dict[str, Call]:
    """The engine's calls on one photo, with sessions of so many threads."""
    pack, runtime = default_pack(), OnnxRuntime(threads=threads)
    detector = Detector(
        proposal=runtime.load(pack.path(packs.PROPOSAL)),
        refinement=runtime.load(pack.path(packs.REFINEMENT)),
        output=runtime.load(pack.path(packs.OUTPUT)),
    )
    landmarks = LandmarkPredictor(pack.path(packs.LANDMARKS5))
    network = runtime.load(pack.path(packs.DESCRIPTOR))
    plain = DescriptorNetwork(network, version=1001, flip_averaging=False)
    flipping = DescriptorNetwork(network, version=1002, flip_averaging=True)
    region = alignment.rectangles(detector.detect(photo, 40).points[:1])
    transform = alignment.warp_transform(landmarks.predict(photo, region)[0])
    warp = alignment.warp(photo, transform)
    return {
        DETECT: partial(detector.detect, photo, 40),
        "detect 640x480, faces from 20 px": partial(detector.detect, photo, 20),
        LANDMARKS: partial(landmarks.predict, photo, region),
        WARP: partial(alignment.warp, photo, transform),
        DESCRIBE: partial(plain.describe, [warp]),
        "descriptor, with flip": partial(flipping.describe, [warp]),
        DESCRIBE_16: partial(plain.describe, [warp] * 16),
    }


def dlib_calls(photo: Image) -> dict[str, tuple[str, Call]]:
    """What dlib has for the same purposes, and its name."""
    hog = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(sources.installed(sources.LANDMARKS5)))
    network = dlib.face_recognition_model_v1(str(sources.installed(sources.DESCRIPTOR)))
    rectangle = hog(photo, 1)[0]
    face = predictor(photo, rectangle)
    chip = dlib.get_face_chip(photo, face, size=150)
    return {
        DETECT: ("HOG, upsampled once", partial(hog, photo, 1)),
        LANDMARKS: ("shape_predictor", partial(predictor, photo, rectangle)),
        WARP: ("get_face_chip, 150", partial(dlib.get_face_chip, photo, face, size=150)),
        DESCRIBE: ("compute_face_descriptor", partial(network.compute_face_descriptor, chip)),
        DESCRIBE_16: ("compute_face_descriptor, batch", partial(network.compute_face_descriptor, [chip] * 16)),
    }


def speed(rounds: int) -> None:
    """Medians side by side. Throughput is that of sessions of one thread, which is how the service runs them."""
    cv2.setNumThreads(1)
    photo = np.asarray(cv2.resize(skimage.data.astronaut(), (640, 480)), np.uint8)
    one, two = our_calls(photo, 1), our_calls(photo, 2)
    theirs = dlib_calls(photo)
    table = Table("call", "1 thread, ms", "2 threads, ms", "2 workers, 1/s", "dlib's call", "ms", "2 workers, 1/s")
    for name in one:
        row = [milliseconds(one[name], rounds), milliseconds(two[name], rounds), per_second(one[name], 2, rounds)]
        cells = [name, *(f"{value:.1f}" for value in row)]
        if name in theirs:
            label, call = theirs[name]
            few = max(3, rounds // 4)
            cells += [label, f"{milliseconds(call, few):.1f}", f"{per_second(call, 2, few):.1f}"]
        table.add_row(*cells)
    console.print(table)


@dataclass(frozen=True, slots=True)
class Pairs:
    """LFW's pairs: photos `a` and `b`, whether they show one person, and the fold."""

    a: list[Photo]
    b: list[Photo]
    same: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.intp]

    @classmethod
    def read(cls, path: Path) -> Pairs:
        """Parse pairs.txt."""
        head, *lines = path.read_text("utf-8").splitlines()
        size = int(head.split()[1])
        rows = [line.split("\t") for line in lines if line.strip()]
        a = [(row[0], int(row[1])) for row in rows]
        b = [(row[0], int(row[2])) if len(row) == 3 else (row[2], int(row[3])) for row in rows]
        same = np.array([len(row) == 3 for row in rows])
        return cls(a, b, same, np.arange(len(rows)) // (2 * size))


def best_threshold(distance: Floats, same: npt.NDArray[np.bool_]) -> float:
    """Middle of the thresholds that separate best."""
    candidates = np.unique(distance)
    right = np.array([((distance < t) == same).mean() for t in candidates])
    return float(np.median(candidates[right == right.max()]))


def accuracy(pairs: Pairs, distance: Floats) -> float:
    """Mean over the folds, each with the threshold of the others; a pair without distance (nan) counts as wrong."""
    known = ~np.isnan(distance)
    results = []
    for fold in np.unique(pairs.fold):
        rest = known & (pairs.fold != fold)
        threshold = best_threshold(distance[rest], pairs.same[rest])
        mine = pairs.fold == fold
        results.append((((distance < threshold) == pairs.same) & known)[mine].mean())
    return float(np.mean(results))


def true_accept_rate(genuine: Floats, impostor: Floats, rate: float) -> float:
    """Share of genuine distances below the one that lets `rate` of the impostors pass."""
    allowed = int(rate * len(impostor))
    return float((genuine < np.partition(impostor, allowed)[allowed]).mean())


def from_centre(image: DetectedImage, face: DetectedFace) -> float:
    """Distance of a face's centre from the image's."""
    x = face.rect.x + (face.rect.width - image.width) / 2
    y = face.rect.y + (face.rect.height - image.height) / 2
    return float(np.hypot(x, y))


async def warps_of(engine: DefaultEngine, folder: Path, photos: Sequence[Photo]) -> dict[Photo, bytes]:
    """The warp of the face nearest to the centre of each photo, as JPEG."""
    warps: dict[Photo, bytes] = {}
    for photo in track(photos, "detect", console=console):
        path = folder / photo[0] / f"{photo[0]}_{photo[1]:04d}.jpg"
        found = await engine.detect(await asyncio.to_thread(path.read_bytes))
        if found.faces:
            warps[photo] = min(found.faces, key=partial(from_centre, found)).warp
    return warps


def report(table: Table, name: str, pairs: Pairs, vectors: dict[Photo, Floats], undetected: int) -> None:
    """One row: on the pairs, and between all photos."""
    distance = np.array(
        [
            np.linalg.norm(vectors[a] - vectors[b]) if a in vectors and b in vectors else np.nan
            for a, b in zip(pairs.a, pairs.b, strict=True)
        ]
    )
    known = ~np.isnan(distance)
    genuine, impostor = distance[known & pairs.same], distance[known & ~pairs.same]
    area = float((genuine[:, None] < impostor[None]).mean())
    photos = list(vectors)
    matrix = np.stack([vectors[photo] for photo in photos])
    people = np.unique([photo[0] for photo in photos], return_inverse=True)[1]
    upper = np.triu_indices(len(photos), 1)
    every = np.sqrt(np.maximum(2 - 2 * (matrix @ matrix.T)[upper], 0))
    alike = people[upper[0]] == people[upper[1]]
    rates = [f"{true_accept_rate(every[alike], every[~alike], rate):.4f}" for rate in (1e-2, 1e-3, 1e-4)]
    on_pairs = [f"{true_accept_rate(genuine, impostor, rate):.4f}" for rate in (1e-2, 1e-3)]
    table.add_row(name, f"{accuracy(pairs, distance):.4f}", f"{area:.5f}", *on_pairs, *rates, str(undetected))


async def verification(folder: Path) -> None:
    """Accuracy on LFW pairs by way of the engine."""
    pairs = Pairs.read(folder / "pairs.txt")
    photos = sorted({*pairs.a, *pairs.b})
    table = Table("descriptor", "accuracy", "AUC", "TAR@1e-2", "@1e-3", "all: TAR@1e-2", "@1e-3", "@1e-4", "no face")
    table.title = f"{len(pairs.same)} pairs, {len(photos)} photos; 'all' compares every photo with every other one"
    warps: dict[Photo, bytes] = {}
    for flip in (False, True):
        engine = DefaultEngine([default_pack()], Engine(flip_averaging=flip))
        await engine.start()
        try:
            begin = time.perf_counter()
            warps = warps or await warps_of(engine, folder / "images", photos)
            detected = time.perf_counter() - begin
            begin = time.perf_counter()
            described = await engine.describe(list(warps.values()))
            took = time.perf_counter() - begin
        finally:
            await engine.close()
        vectors = {
            photo: np.frombuffer(item.data, "<f2").astype(np.float64)
            for photo, item in zip(warps, described, strict=True)
        }
        vectors = {photo: vector / np.linalg.norm(vector) for photo, vector in vectors.items()}
        report(table, "with flip" if flip else "plain", pairs, vectors, len(photos) - len(warps))
        console.print(
            f"detect {1000 * detected / len(photos):.1f} ms, describe {1000 * took / len(warps):.1f} ms a photo"
        )
        scores = np.quantile([item.score for item in described], (0.01, 0.05, 0.5))
        console.print(f"descriptor scores: 1 % {scores[0]:.2f}, 5 % {scores[1]:.2f}, median {scores[2]:.2f}")
    console.print(table)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="calls that a median is taken of")
    parser.add_argument("--lfw", type=Path, help="folder with pairs.txt and images/")
    arguments = parser.parse_args()
    if arguments.lfw:
        asyncio.run(verification(arguments.lfw))
    else:
        speed(arguments.rounds)


if __name__ == "__main__":
    main()
