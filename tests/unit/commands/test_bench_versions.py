"""Verification of pairs in process, for every descriptor version."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from server.commands.bench_lfw import Described, Pair
from server.commands.bench_versions import central, run, similarities
from server.commands.demo_pictures import portraits
from server.domain.vision import DetectedFace, DetectedImage, DetectedPerson, Rect
from server.settings import Settings
from tests.packs import default_pack, models_folder


def test_similarities_are_the_cosines_of_the_stored_descriptors() -> None:
    source = np.random.default_rng(1)
    stored = {name: source.normal(size=128).astype("<f2") for name in "abc"}
    described = Described({name: vector.tobytes() for name, vector in stored.items()}, 1001, ("d",), 1.0)
    pairs = [Pair("a", "b", same=True, fold=0), Pair("c", "d", same=True, fold=0), Pair("b", "b", same=False, fold=1)]

    found = similarities(pairs, described)

    a, b = (stored[name].astype(float) for name in "ab")
    expected = sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
    assert found[0] == pytest.approx(expected, abs=1e-12)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(1, abs=1e-12)
    assert np.isnan(similarities(pairs, Described({}, 0, (), 1.0))).all()


def test_the_face_in_the_middle_is_taken_and_not_the_largest() -> None:
    def face(x: int, y: int, side: int, warp: bytes) -> DetectedPerson:
        return DetectedPerson(DetectedFace(Rect(x, y, side, side), 1.0, (), warp))

    persons = face(0, 0, 120, b"large"), face(100, 105, 60, b"middle"), face(200, 200, 40, b"edge")

    assert central(DetectedImage(250, 250, persons)) == b"middle"
    assert central(DetectedImage(250, 250, ())) is None


def test_every_version_of_the_default_pack_tells_two_people_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_pack()
    for name, portrait in zip(("Ann", "Bea"), portraits(), strict=True):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        small = cv2.resize(portrait.picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        for number, picture in enumerate((portrait.picture, small), 1):
            cv2.imwrite(str(folder / f"{name}_000{number}.jpg"), picture)
    (tmp_path / "pairs.txt").write_text(
        "2\t1\nAnn\t1\t2\nAnn\t1\tBea\t1\nBea\t1\t2\nAnn\t2\tBea\t2\n",
    )

    assert run(Settings(data=tmp_path, models=models_folder()), tmp_path, 0) == 0

    shown = capsys.readouterr().out
    assert shown.count("accuracy   1.0000") == 2
    assert "descriptor version 1001" in shown
    assert "descriptor version 1002" in shown


def test_a_missing_image_is_told_and_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    default_pack()
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn\t1\t2\nAnn\t1\tBea\t1\nBea\t1\t2\nAnn\t2\tBea\t2\n")

    assert run(Settings(data=tmp_path, models=models_folder()), tmp_path, 0) == 1
    assert "Ann_0001.jpg" in capsys.readouterr().err
