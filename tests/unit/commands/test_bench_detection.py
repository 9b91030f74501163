"""Counting detections, and comparing them with the truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from server.commands.bench_detection import BadTruth, Score, Seen, differences, images, looked_at, read, run, score
from server.commands.demo_pictures import portraits
from server.domain.vision import DetectedFace, DetectedImage, DetectedPerson, Rect
from server.settings import Settings
from tests.packs import default_pack, models_folder


def test_missed_and_false_faces_are_counted_image_by_image() -> None:
    seen = {"a": Seen(3), "b": Seen(1), "c": Seen(2), "d": Seen(None), "e": Seen(9)}

    found = score(seen, {"a": 3, "b": 4, "c": 0, "d": 1})

    # b lacks three and d, which could not be read, one; c has two that are none; nobody has counted e
    assert found == Score(images=4, faces=8, missed=4, false=2)
    assert found.recall == 0.5
    assert score(seen, {"c": 0}).recall == 1.0


def test_the_images_that_differ_are_named() -> None:
    seen = {40: {"a": Seen(1), "b": Seen(2)}, 20: {"a": Seen(2), "b": Seen(2)}}

    assert differences(seen, {"a": 2, "b": 2}) == ["smallest face 40: a has 2 faces, 1 found"]
    assert differences({size: {"a": Seen(1)} for size in range(30)}, {"a": 2})[-1] == "and 10 more"


def test_a_detection_covers_the_middle_or_does_not() -> None:
    def picture(*rects: Rect) -> DetectedImage:
        persons = tuple(DetectedPerson(DetectedFace(rect, 1.0, (), b"")) for rect in rects)
        return DetectedImage(100, 60, persons)

    assert looked_at(picture(Rect(45, 25, 10, 10), Rect(0, 0, 5, 5))) == Seen(2, middle=True)
    assert looked_at(picture(Rect(0, 0, 50, 60))) == Seen(1, middle=False)
    assert looked_at(picture()) == Seen(0, middle=False)


def test_images_are_found_in_folders_below(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.JPG", "1.png", "notes.txt"):
        (tmp_path / name).touch()

    assert images(tmp_path) == ["1.png", "b/2.JPG"]
    with pytest.raises(BadTruth, match="no images"):
        images(tmp_path / "none")


def test_the_truth_is_read_by_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("faces,filename,note\n3,a.jpg,x\n0,b/c.jpg,\n")

    assert read(file, ["a.jpg", "b/c.jpg", "d.jpg"]) == {"a.jpg": 3, "b/c.jpg": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("a.jpg,3\n", "first line"),
        ("filename,faces\nnone.jpg,1\n", "line 2"),
        ("filename,faces\na.jpg,1\na.jpg,1\n", "line 3"),
        ("filename,faces\na.jpg,-1\n", "line 2"),
        ("filename,faces\na.jpg,\n", "line 2"),
        ("filename,faces\na.jpg\n", "line 2"),
    ],
)
def test_a_truth_of_another_form_is_refused_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "truth.csv"
    file.write_text(text)

    with pytest.raises(BadTruth, match=message):
        read(file, ["a.jpg"])


def test_the_command_counts_what_is_in_real_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    default_pack()
    folder = tmp_path / "images"
    folder.mkdir()
    for name, portrait in zip(("a.png", "b.png"), portraits(), strict=True):
        cv2.imwrite(str(folder / name), portrait.picture)
    cv2.imwrite(str(folder / "grey.png"), np.full((200, 200, 3), 128, np.uint8))
    (folder / "text.jpg").write_text("no picture")
    truth = tmp_path / "truth.csv"
    truth.write_text("filename,faces\na.png,1\nb.png,2\ngrey.png,0\n")

    assert run(Settings(data=tmp_path, models=models_folder()), folder, truth, [40]) == 0

    shown = capsys.readouterr().out
    row = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["40"])
    # smallest face, images, refused, none, one, more, none in the middle, counted, missed, false, recall
    assert row[:6] == ["40", "4", "1", "1", "2", "0"]
    assert row[7:] == ["3", "1", "0", "0.6667"]
    assert "b.png has 2 faces, 1 found" in shown


def test_a_folder_without_images_is_told_and_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Settings(data=tmp_path), tmp_path, None, [40]) == 1
    assert "no images" in capsys.readouterr().err
