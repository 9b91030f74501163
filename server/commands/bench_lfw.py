"""`luna bench lfw`: verification of pairs of Labeled Faces in the Wild, through the API as any client would use it.

Huang et al., Labeled Faces in the Wild, technical report 07-49, University of Massachusetts, 2007: `pairs.txt` has
folds of pairs of one person, followed by as many of two people; thresholds are chosen on other folds than those that
they are tried on. The images are for research only and do not come with Luna.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from luna.v6 import attributes_pb2, images_pb2, matcher_pb2, samples_pb2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from server.commands.bench_metrics import Floats, accuracies, allowed, auc, tar_at_far
from server.commands.client import Belongings, Client, ClientError, complain
from server.commands.console import console as wide
from server.edge_client import Trust

IN_FLIGHT = 4
"""Batches of images that are worked on at the same time."""

IMAGES_PER_CALL = 8
"""Images of one call of the detector, and samples of one of the extractor, which takes no more."""

PAIRS_PER_CALL = 64
"""Pairs of one call of the matcher, which compares each of them with all."""

FARS = (1e-2, 1e-3)


class BadPairs(Exception):
    """pairs.txt or an image that it names cannot be used."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images by their path below the folder of images, whether they show one person, and the fold's number."""

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True, slots=True)
class Described:
    """What became of the images: descriptors by path, those without a detection, the time in seconds, and the way."""

    descriptors: Mapping[str, bytes]
    version: int
    undetected: tuple[str, ...]
    seconds: float
    way: str = f"through detector and extractor, {IN_FLIGHT} calls in flight"


def run(target: str, credentials: tuple[str, str], pairs: Path, limit: int, trust: Trust | None = None) -> int:
    """Measure, and print the result.

    Args:
        target: host and port of the service's gRPC server.
        credentials: login and password.
        pairs: folder with pairs.txt and images/NAME/NAME_0001.jpg.
        limit: pairs of each fold, half of them of one person; 0 is all.
        trust: what is believed of the server; None is plain text.

    Returns:
        The exit status: 0, or 1 where it could not be measured.
    """
    console = wide()
    try:
        chosen = limited(read(pairs / "pairs.txt"), limit)
        with Client(target, credentials, trust) as client:
            described = describe(client, pairs / "images", paths(chosen), console)
            compared = compare(client, chosen, described)
    except (ClientError, BadPairs, OSError) as error:
        complain(error)
        return 1
    console.print(report(chosen, described, compared), markup=False, highlight=False, soft_wrap=True)
    return 0


def read(path: Path) -> list[Pair]:
    """Read pairs.txt: "folds pairs", then in each fold pairs of one person and as many of two, by tabs.

    Raises:
        BadPairs: the file has another form, or fewer than two folds.
    """
    lines = path.read_text().splitlines()
    try:
        folds, each = (int(field) for field in lines[0].split())
    except (IndexError, ValueError):
        message = f"{path}: the first line is not the number of folds and of pairs"
        raise BadPairs(message) from None
    if folds < 2:
        message = f"{path}: two folds or more are needed, the threshold of one is chosen on the others"
        raise BadPairs(message)
    found = [_pair(path, number, line, (number - 2) // (2 * each)) for number, line in enumerate(lines[1:], 2) if line]
    if len(found) != folds * 2 * each:
        message = f"{path}: {len(found)} pairs where its first line says {folds * 2 * each}"
        raise BadPairs(message)
    return found


def limited(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """The first pairs of each fold, half of them of one person; all where the limit is 0."""
    if not limit:
        return list(pairs)
    kept: list[Pair] = []
    for fold in sorted({pair.fold for pair in pairs}):
        for same, count in ((True, (limit + 1) // 2), (False, limit // 2)):
            kept += islice((pair for pair in pairs if pair.fold == fold and pair.same is same), count)
    return kept


def paths(pairs: Sequence[Pair]) -> list[str]:
    """Every image once, in the order in which the pairs name them."""
    return list(dict.fromkeys(path for pair in pairs for path in (pair.first, pair.second)))


def describe(client: Client, folder: Path, images: Sequence[str], console: Console) -> Described:
    """Descriptors of the images, through the detector and the extractor. What is made for it is deleted again.

    Raises:
        BadPairs: an image cannot be read.
        CallFailed: a call failed.
    """
    began = time.monotonic()
    descriptors: dict[str, bytes] = {}
    version = 0
    columns = (TextColumn("describing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pool = ThreadPoolExecutor(IN_FLIGHT)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(images))
        try:
            running = {pool.submit(_batch, client, folder, batch): len(batch) for batch in _batches(images)}
            for done in as_completed(running):
                described, used = done.result()
                descriptors |= described
                version = version or used
                progress.advance(bar, running[done])
        finally:
            pool.shutdown(cancel_futures=True)
    undetected = tuple(path for path in images if path not in descriptors)
    return Described(descriptors, version, undetected, time.monotonic() - began)


def compare(client: Client, pairs: Sequence[Pair], described: Described) -> Floats:
    """Similarities of the pairs, float64 [n]; NaN where an image has no descriptor.

    Raises:
        CallFailed: a call failed.
    """
    similarities = np.full(len(pairs), np.nan)
    known = described.descriptors
    rows = [row for row, pair in enumerate(pairs) if pair.first in known and pair.second in known]
    for begin in range(0, len(rows), PAIRS_PER_CALL):
        part = rows[begin : begin + PAIRS_PER_CALL]
        request = matcher_pb2.MatchRawRequest(
            references=[_reference(pairs[row].first, described) for row in part],
            candidates=[_reference(pairs[row].second, described) for row in part],
        )
        answer = client.call(client.matcher.MatchRaw, request).matches
        for place, row in enumerate(part):
            similarities[row] = answer[place].matches[place].similarity
    return similarities


def nearest(
    samples: Sequence[samples_pb2.DetectedSample], width: int, height: int
) -> samples_pb2.DetectedFaceSample | None:
    """The face whose centre is nearest to the image's, which is whom the image is of; None without faces."""

    def distance(face: samples_pb2.DetectedFaceSample) -> float:
        rect = face.detection.rect
        return (rect.x + rect.width / 2 - width / 2) ** 2 + (rect.y + rect.height / 2 - height / 2) ** 2

    return min((sample.face for sample in samples), key=distance, default=None)


def report(pairs: Sequence[Pair], described: Described, similarities: Floats) -> str:
    """The result as lines of text."""
    same = np.array([pair.same for pair in pairs])
    folds = np.array([pair.fold for pair in pairs])
    found = accuracies(similarities, same, folds)
    images = len(described.descriptors) + len(described.undetected)
    others = int((~same).sum())
    lines = [
        f"pairs      {len(pairs)}: {int(same.sum())} of one person, {others} of two, in {len(found)} folds",
        f"accuracy   {found.mean():.4f}, standard deviation {found.std(ddof=1):.4f} over folds; "
        "the threshold of each is chosen on the others",
        f"AUC        {auc(similarities, same):.4f}",
    ]
    for far in FARS:
        accepted = allowed(far, others)
        lines.append(
            f"TAR@FAR    {tar_at_far(similarities, same, far):.4f} at {far:g}, "
            f"where {accepted} of the {others} pairs of two people may be accepted"
        )
    if allowed(min(FARS), others) < 10:
        lines.append(f"           FAR {min(FARS):g} rests on too few pairs here to be more than a hint.")
    lines += [
        f"failures   {int(np.isnan(similarities).sum())} pairs without a detection, counted as errors",
        f"images     {images}, {len(described.undetected)} without a detection",
        f"speed      {described.seconds:.1f} s for all images, {images / described.seconds:.1f} images/s "
        f"{described.way}",
        f"descriptor version {described.version}",
    ]
    lines += [f"           no face found in {path}" for path in described.undetected[:10]]
    return "\n".join(lines)


def _pair(path: Path, number: int, line: str, fold: int) -> Pair:
    fields = line.split("\t")
    try:
        match fields:
            case [name, first, second]:
                return Pair(_image(name, first), _image(name, second), same=True, fold=fold)
            case [name, first, other, second]:
                return Pair(_image(name, first), _image(other, second), same=False, fold=fold)
    except ValueError:
        pass
    message = f"{path}, line {number}: neither NAME N N nor NAME N NAME N"
    raise BadPairs(message)


def _image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _batches(images: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(images), IMAGES_PER_CALL):
        yield images[begin : begin + IMAGES_PER_CALL]


def _batch(client: Client, folder: Path, images: Sequence[str]) -> tuple[dict[str, bytes], int]:
    """Descriptors of some images by path, and their version; 0 where there are none."""
    contents = [(folder / path).read_bytes() for path in images]
    with Belongings(client) as made:
        request = samples_pb2.DetectFacesRequest(
            images=[
                images_pb2.ImageInput(filename=path, data=content)
                for path, content in zip(images, contents, strict=True)
            ]
        )
        answers = client.call(client.samples.DetectFaces, request).images
        by_sample: dict[str, str] = {}
        for path, content, answer in zip(images, contents, answers, strict=True):
            for sample in answer.detections.samples:
                made.sample(sample.face.sample_id)
            face = nearest(answer.detections.samples, *_size(path, content))
            if face is not None:
                by_sample[face.sample_id] = path
        return _extract(client, made, by_sample) if by_sample else ({}, 0)


def _extract(client: Client, made: Belongings, by_sample: Mapping[str, str]) -> tuple[dict[str, bytes], int]:
    wanted = attributes_pb2.ExtractAttributesRequest(sample_ids=list(by_sample))
    extracted = client.call(client.attributes.ExtractAttributes, wanted).attributes
    for one in extracted:
        made.attribute(one.attribute_id)
    listed = client.call(
        client.attributes.ListAttributes,
        attributes_pb2.ListAttributesRequest(
            attribute_ids=[one.attribute_id for one in extracted],
            targets=[attributes_pb2.ATTRIBUTE_FIELD_ATTRIBUTE_ID, attributes_pb2.ATTRIBUTE_FIELD_FACE_DESCRIPTOR],
        ),
    ).attributes
    descriptors = {one.attribute_id: one.face_descriptor for one in listed}
    described = {by_sample[one.samples[0]]: descriptors[one.attribute_id] for one in extracted}
    return described, listed[0].descriptor_version


def _size(path: str, content: bytes) -> tuple[int, int]:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        message = f"{path} is no image"
        raise BadPairs(message)
    height, width = picture.shape[:2]
    return width, height


def _reference(path: str, described: Described) -> matcher_pb2.Reference:
    return matcher_pb2.Reference(
        id=path,
        type=matcher_pb2.REFERENCE_TYPE_RAW_DESCRIPTOR,
        data=attributes_pb2.DescriptorInput(descriptor=described.descriptors[path], version=described.version),
    )
