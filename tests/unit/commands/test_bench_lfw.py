"""LFW's pairs, whose face is taken, and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from luna.v6 import images_pb2, samples_pb2

from server.commands.bench_lfw import BadPairs, Described, Pair, limited, nearest, paths, read, report, run

PAIRS = """2\t2
Ann\t1\t4
Bo_Li\t2\t10
Ann\t1\tBo_Li\t2
Ann\t4\tCid\t1
Cid\t1\t2
Dan\t1\t3
Cid\t2\tDan\t1
Ann\t12\tDan\t3
"""
LFW = Path(__file__).resolve().parents[4] / "shared" / "data" / "lfw-2folds" / "pairs.txt"


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.txt"
    path.write_text(PAIRS)
    return path


def test_pairs_are_read_with_their_kind_and_fold(pairs_file: Path) -> None:
    found = read(pairs_file)

    assert found[1] == Pair("Bo_Li/Bo_Li_0002.jpg", "Bo_Li/Bo_Li_0010.jpg", same=True, fold=0)
    assert found[7] == Pair("Ann/Ann_0012.jpg", "Dan/Dan_0003.jpg", same=False, fold=1)
    assert [pair.fold for pair in found] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [pair.same for pair in found] == [True, True, False, False] * 2


def test_a_limit_takes_half_of_each_kind_from_each_fold(pairs_file: Path) -> None:
    found = limited(read(pairs_file), 2)

    assert [(pair.fold, pair.same) for pair in found] == [(0, True), (0, False), (1, True), (1, False)]
    assert limited(read(pairs_file), 0) == read(pairs_file)


def test_an_image_of_several_pairs_is_used_once(pairs_file: Path) -> None:
    found = paths(read(pairs_file))

    assert len(found) == len(set(found)) == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("10\n", "first line"),
        ("1\t2\n", "two folds"),
        ("2\t1\nAnn\t1\t2\n", "1 pairs where its first line says 4"),
        ("2\t1\nAnn 1 2\n", "line 2"),
        ("2\t1\nAnn\t1\t2\nAnn\tone\tBo\t2\n", "line 3"),
    ],
)
def test_a_file_of_another_form_is_refused_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)

    with pytest.raises(BadPairs, match=message):
        read(path)


@pytest.mark.skipif(not LFW.exists(), reason="the folder shared/data is not there")
def test_the_two_folds_of_lfw_are_read_whole() -> None:
    found = read(LFW)

    assert len(found) == 1200
    assert sum(pair.same for pair in found) == 600
    assert all((LFW.parent / "images" / path).exists() for path in paths(found))


def test_a_missing_folder_is_told_and_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("127.0.0.1:1", ("login", "password"), tmp_path, 0) == 1
    assert "pairs.txt" in capsys.readouterr().err


def face(sample_id: str, x: int, y: int, side: int) -> samples_pb2.DetectedSample:
    rect = images_pb2.Rect(x=x, y=y, width=side, height=side)
    detection = images_pb2.FaceDetection(rect=rect)
    return samples_pb2.DetectedSample(face=samples_pb2.DetectedFaceSample(sample_id=sample_id, detection=detection))


def test_the_face_in_the_middle_is_taken_and_not_the_largest() -> None:
    found = nearest([face("large", 0, 0, 120), face("middle", 100, 105, 60), face("edge", 200, 200, 40)], 250, 250)

    assert found is not None
    assert found.sample_id == "middle"
    assert nearest([], 250, 250) is None


def test_the_report_counts_failures_and_warns_of_few_pairs(pairs_file: Path) -> None:
    pairs = read(pairs_file)
    known = {path: b"" for path in paths(pairs) if path != "Ann/Ann_0012.jpg"}
    similarities = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, np.nan])

    lines = report(pairs, Described(known, 1001, ("Ann/Ann_0012.jpg",), 2.0), similarities).splitlines()

    assert "accuracy   0.8750, standard deviation 0.1768" in lines[1]
    assert "0 of the 4 pairs" in lines[3]
    text = "\n".join(lines)
    assert "1 pairs without a detection" in text
    assert "9, 1 without a detection" in text
    assert "4.5 images/s" in text
    assert "too few pairs" in text
    assert "no face found in Ann/Ann_0012.jpg" in text
