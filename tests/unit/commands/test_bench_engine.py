"""Scenes, recorded runs and results of `luna bench engine`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import pytest_asyncio
from rich.console import Console

from engines.engine import DefaultEngine
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from server.commands.bench_engine import BARE, ENGINE, FLOOR, Row, as_json, notes, results_of, run, table
from server.commands.bench_libraries import Other, others
from server.commands.bench_load import Window
from server.commands.bench_reference import LIBRARY, BareNetworks, EngineNetworks, RecordingRuntime, library_calls
from server.commands.bench_scenes import HEIGHT, SMALLEST, WIDTH, NoScene, Photo, arranged, scenes
from server.commands.demo_pictures import portraits
from server.domain.vision import Rect
from server.settings import Engine, Settings
from tests.packs import default_pack, models_folder


@pytest.fixture(scope="module")
def pack() -> Pack:
    return default_pack()


@pytest_asyncio.fixture(scope="module")
async def engine(pack: Pack) -> AsyncIterator[DefaultEngine]:
    engine = DefaultEngine([pack], Engine())
    await engine.start()
    yield engine
    await engine.close()


async def test_scenes_have_the_size_and_exactly_the_faces_that_they_are_named_for(engine: DefaultEngine) -> None:
    found = await scenes(engine, [])

    assert list(found) == [1, 2, 20]
    for count, image in found.items():
        picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (HEIGHT, WIDTH, 3)
        faces = (await engine.detect(image)).faces
        assert len(faces) == count
        assert min(min(face.rect.width, face.rect.height) for face in faces) >= SMALLEST


async def test_scenes_are_made_of_a_given_photograph(engine: DefaultEngine, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), portraits()[1].picture)

    found = await scenes(engine, [file])

    assert len((await engine.detect(found[20])).faces) == 20


@pytest.mark.parametrize("content", [b"", b"no picture"])
async def test_a_file_that_is_no_picture_is_named(engine: DefaultEngine, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)

    with pytest.raises(NoScene, match=r"photo\.jpg"):
        await scenes(engine, [file])


async def test_a_photograph_without_a_face_gives_no_scene(engine: DefaultEngine, tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    cv2.imwrite(str(file), np.full((300, 300, 3), 128, np.uint8))

    with pytest.raises(NoScene, match="no face"):
        await scenes(engine, [file])


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_face_is_in_the_middle_of_its_cell(scale: float) -> None:
    # a white square of 100 pixels on black, at any scale, is drawn 100 pixels large in the middle of each cell
    side = round(100 * scale)
    picture = np.zeros((round(500 * scale), round(700 * scale), 3), np.uint8)
    left, top = round(430 * scale), round(110 * scale)
    picture[top : top + side, left : left + side] = 255

    canvas = arranged([Photo(picture, Rect(left, top, side, side))], 2, 2, 2.4)

    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cell = canvas[240 * row : 240 * (row + 1), 320 * column : 320 * (column + 1), 0]
        y, x = np.nonzero(cell > 127)
        assert (x.min(), x.max() + 1) == pytest.approx((110, 210), abs=2)
        assert (y.min(), y.max() + 1) == pytest.approx((70, 170), abs=2)


async def test_the_bare_networks_make_the_runs_that_the_engine_makes_and_give_the_same(
    pack: Pack, engine: DefaultEngine
) -> None:
    inner = OnnxRuntime()
    runtime = RecordingRuntime(inner)
    recorded = DefaultEngine([pack], Engine(), runtime)
    await recorded.start()
    image = (await scenes(engine, []))[2]
    runtime.taken()
    assert (await recorded.detect(image)).faces == (await engine.detect(image)).faces
    runs = runtime.taken()
    await recorded.close()

    assert runtime.taken() == ()
    # a pyramid of proposals, then one run of each other network for all candidates
    names = [one.model.name for one in runs]
    assert names == ["detector_proposal.onnx"] * (len(runs) - 2) + ["detector_refinement.onnx", "detector_output.onnx"]
    networks = BareNetworks()
    networks.replay(runs)()
    for one in runs:
        expected = list(inner.load(one.model).run(one.inputs).values())
        given = networks._sessions[one.model].run(None, dict(one.inputs))
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(expected, given, strict=True))


async def test_the_floor_makes_the_calls_of_opencv_that_the_engine_makes_and_leaves_opencv_as_it_was(
    engine: DefaultEngine,
) -> None:
    plain = [getattr(cv2, name) for name in LIBRARY]
    image = (await scenes(engine, []))[2]
    with library_calls() as calls:
        found = await engine.detect(image)

    assert [getattr(cv2, name) for name in LIBRARY] == plain
    answers = [call() for call in calls]
    pictures = [one for one in answers if isinstance(one, np.ndarray)]
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)
    encoded = [one[1].tobytes() for one in answers if isinstance(one, tuple)]
    assert sorted(encoded) == sorted(face.warp for face in found.faces)


def test_the_engines_own_networks_run_what_was_recorded(pack: Pack) -> None:
    runtime = RecordingRuntime(OnnxRuntime())
    session = runtime.load(pack.path("detector_output.onnx"))
    session.run({"crops": np.zeros((20, 3, 48, 48), np.float32)})
    again = RecordingRuntime(OnnxRuntime())

    EngineNetworks(again).replay(runtime.taken())()

    (run_,) = again.taken()
    assert run_.model == pack.path("detector_output.onnx")
    assert run_.inputs["crops"].shape == (20, 3, 48, 48)


def rows() -> list[Row]:
    async def never(callers: int, seconds: float) -> Window:
        raise AssertionError

    return [
        Row("detect", BARE, 1, never, [Window(1, (0.02,) * 50)] * 3),
        Row("detect", BARE, 2, never, [Window(1, (0.02,) * 100)] * 3),
        Row("detect", FLOOR, 2, never, [Window(1, (0.02,) * 90)] * 3),
        Row("detect", "dlib", 1, never, [Window(1, (0.1,) * 10)] * 3),
        Row("detect", ENGINE, 1, never, [Window(1, (0.025,) * 40)] * 3),
        Row("detect", ENGINE, 16, never, [Window(1, (0.2,) * 80, 0.8)] * 3),
    ]


def test_the_engine_is_compared_with_the_bare_networks_on_every_core() -> None:
    found = results_of(rows())

    assert [one.of_bare for one in found] == [0.5, 1.0, 0.9, None, 0.4, 0.8]
    assert found[2].of_floor == 1
    assert found[3].of_floor is None
    assert found[5].of_floor == pytest.approx(80 / 90)
    assert list(notes(found)) == ["detect: one call of the engine takes 0.25 times as long as dlib"]


def test_results_are_shown_and_written_with_their_units() -> None:
    console = Console(width=140, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(table(results_of(rows())))
    shown = capture.get()
    document = json.loads(as_json(results_of(rows()), 3.0))

    assert "80.0" in shown
    assert "200.0" in shown
    assert "0.80" in shown
    expected = {"rate": 80.0, "p50": 0.2, "p99": 0.2, "processor": 0.01, "calls": 240}
    assert document["rows"][5]["figures"] == pytest.approx(expected)
    assert document["machine"]["cores"] >= 1


def test_dlib_is_measured_where_it_is_installed() -> None:
    pytest.importorskip("dlib")
    found = [one for one in others() if isinstance(one, Other) and one.library.startswith("dlib")]
    image = cv2.imencode(".jpg", portraits()[1].picture)[1].tobytes()

    detected, described = (one.call(image) for one in found)

    assert len(detected) == 1  # type: ignore[arg-type]
    assert np.shape(described) == (1, 128)


def test_the_command_measures_and_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr("server.commands.bench_engine.ROUNDS", 1)
    default_pack()
    out = tmp_path / "result.json"
    settings = Settings(data=tmp_path, models=models_folder())

    assert run(settings, [], 0.06, [1, 4], None, out) == 0

    ways = {(one["task"], one["way"], one["callers"]) for one in json.loads(out.read_text())["rows"]}
    assert {("detect, 20 faces", ENGINE, 4), ("describe 8 samples", BARE, 1)} <= ways
    assert "describe 8 samples" in capsys.readouterr().out


def test_a_file_that_is_missing_is_told_and_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_pack()
    settings = Settings(data=tmp_path, models=models_folder())

    assert run(settings, [tmp_path / "none.jpg"], 0.1, [1], None, None) == 1
    assert "none.jpg" in capsys.readouterr().err
