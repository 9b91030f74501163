"""`luna models` as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.optimize import minimize
from typer.testing import CliRunner, Result

from engines.packs.manifest import Calibration, Manifest
from engines.packs.pack import MANIFEST, load, sha256
from server.commands import model_calibrate
from server.commands.application import application
from server.commands.model_calibrate import TooFewPairs, fit


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("LUNA_ENGINE__PACKS", raising=False)
    return tmp_path / "data"


def luna(*words: str) -> Result:
    return CliRunner().invoke(application, ["models", *words])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a network of one's own and the manifest that docs/how-to/model-packs.md shows."""
    folder = tmp_path / "own"
    folder.mkdir()
    weight = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["descriptor"]),
        ],
        "own",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["n", 512])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "my.onnx")
    text = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "model-packs.md").read_text()
    shown = json.loads(text.split("```json\n", 1)[1].split("```", 1)[0])
    shown["files"][0] |= {"size": (folder / "my.onnx").stat().st_size, "sha256": sha256(folder / "my.onnx")}
    (folder / MANIFEST).write_text(json.dumps(shown))
    return folder


def test_all_packs_are_listed_with_licence_and_state(data: Path) -> None:
    told = luna("list")
    assert told.exit_code == 0
    for word in ("default", "luna models prepare", "opencv-zoo", "insightface", "to be accepted", "liveness"):
        assert word in told.output


def test_a_pack_of_ones_own_is_installed_shown_listed_and_verified(data: Path, own: Path) -> None:
    installed = luna("install", "my-faces", "--folder", str(own))
    assert installed.exit_code == 0, installed.output
    assert installed.output.index("licence") < installed.output.index("installed in")
    assert "LUNA_ENGINE__PACKS=default,my-faces" in installed.output
    shown = luna("show", "my-faces").output
    assert "version  1903, 512 dimensions" in shown
    assert "not calibrated" in shown
    assert "my-faces" in luna("list").output
    assert luna("verify").output.strip() == "my-faces is what its manifest says"

    path = data / "models" / "my-faces" / "my.onnx"
    changed = bytearray(path.read_bytes())
    changed[100] ^= 1
    path.write_bytes(changed)
    broken = luna("verify", "my-faces")
    assert broken.exit_code == 1
    assert "sha256" in broken.output
    assert luna("verify", "nothing").exit_code == 1


def test_a_pack_of_the_catalogue_is_installed_from_a_file(data: Path) -> None:
    model = Path(__file__).resolve().parents[4] / "shared" / "models" / "antispoof_minifasnetv2se.onnx"
    if not model.is_file():
        pytest.skip(f"{model} is not there")
    told = luna("install", "liveness", "--file", str(model))
    assert told.exit_code == 0, told.output
    assert "APCER was not measured" in told.output
    load(data / "models", "liveness").verify()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("nothing",), 2, "there is no pack 'nothing' in the catalogue; there are gender, insightface"),
        (("default",), 2, "luna models prepare"),
        (("insightface",), 2, "--accept-license"),
        (("liveness",), 1, "give it with --file PATH"),
        (("liveness", "--only", "gaze"), 2, "has no task 'gaze'; it has liveness"),
        (("liveness", "--file", "nowhere.onnx"), 1, "nowhere.onnx is no file"),
        (("liveness", "--folder", "nowhere"), 1, "nowhere is no folder"),
    ],
)
def test_what_cannot_be_installed_is_said_in_one_line(
    data: Path, words: tuple[str, ...], status: int, told: str
) -> None:
    answer = luna("install", *words)
    assert answer.exit_code == status
    assert told in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (data / "models").exists() or not list((data / "models").glob("[a-z]*"))


def test_a_manifest_of_ones_own_that_is_wrong_is_named_with_its_member(data: Path, own: Path) -> None:
    assert "is of the pack 'my-faces', not of 'other'" in luna("install", "other", "--folder", str(own)).stderr
    text = (own / MANIFEST).read_text().replace('"adapter"', '"adaptor"')
    (own / MANIFEST).write_text(text)
    answer = luna("install", "my-faces", "--folder", str(own))
    assert answer.exit_code == 2
    assert "models.0.adapter: Field required" in answer.stderr


def test_an_unknown_pack_cannot_be_shown(data: Path) -> None:
    answer = luna("show", "nothing")
    assert answer.exit_code == 1
    assert "luna models install nothing --folder" in answer.stderr
    assert "liveness, opencv-zoo" in answer.stderr
    assert "the publisher's figure" in luna("show", "opencv-zoo").output


def test_a_pack_that_the_settings_name_has_to_be_there(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNA_ENGINE__PACKS", "liveness")
    answer = luna("prepare")
    assert answer.exit_code == 1
    assert "luna models install liveness" in answer.stderr


def distances(seed: int, mates: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    d = np.concatenate([rng.normal(0.7, 0.15, mates), rng.normal(1.2, 0.15, others)])
    return np.clip(d, 0.01, 1.99), np.arange(mates + others) < mates


@pytest.mark.parametrize(("mates", "others"), [(300, 300), (100, 2000), (1500, 60)])
def test_the_fit_is_the_one_that_scipy_finds(mates: int, others: int) -> None:
    d, same = distances(mates, mates, others)

    def loss(parameters: np.ndarray) -> float:
        z = -parameters[0] * (d - parameters[1])
        return float(np.logaddexp(0, -z)[same].mean() + np.logaddexp(0, z)[~same].mean())

    expected = minimize(loss, (10, 1), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13}).x
    steepness, midpoint = fit(np.append(d, np.nan), np.append(same, True))
    assert steepness == pytest.approx(expected[0], rel=5e-3)
    assert midpoint == pytest.approx(expected[1], abs=1e-3)


def test_pairs_that_can_be_told_apart_without_error_have_a_finite_fit() -> None:
    d = np.concatenate([np.linspace(0.3, 0.5, 40), np.linspace(1.0, 1.4, 40)])
    steepness, midpoint = fit(d, np.arange(80) < 40)
    assert 0 < steepness < 1000
    assert 0.5 < midpoint < 1.0


def test_too_few_pairs_and_descriptors_that_tell_nothing_are_refused() -> None:
    d, same = distances(1, 19, 400)
    with pytest.raises(TooFewPairs, match="there are 19 and 400"):
        fit(d, same)
    with pytest.raises(TooFewPairs, match="do not tell persons apart"):
        fit(2 - distances(1, 100, 100)[0], np.arange(200) < 100)


def test_a_calibration_is_written_into_the_manifest_of_its_version_only(data: Path, own: Path) -> None:
    luna("install", "my-faces", "--folder", str(own))
    pack = load(data / "models", "my-faces")
    model_calibrate.write(pack, 1003, Calibration(steepness=9, midpoint=1, data="nothing"))
    assert load(data / "models", "my-faces").manifest == pack.manifest
    fitted = Calibration(steepness=12.5, midpoint=1.1, data="logistic fit on 30 pairs of mine")
    model_calibrate.write(pack, 1903, fitted)
    again = load(data / "models", "my-faces")
    assert again.manifest.models[0].calibration == fitted
    assert Manifest.from_json(again.manifest.to_json()) == again.manifest
    assert "12.5" in luna("show", "my-faces").output
    again.verify()
    assert {path.name for path in again.folder.iterdir()} == {"my.onnx", MANIFEST}


def test_a_pack_is_calibrated_on_pairs_of_pictures(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Path(__file__).resolve().parents[4] / "shared" / "data" / "lfw-2folds"
    if not pairs.is_dir():
        pytest.skip(f"{pairs} is not there")
    assert luna("prepare").exit_code == 0
    answer = luna("calibrate", "default", "--pairs", str(pairs), "--version", "1002", "--limit", "40")
    assert answer.exit_code == 0, answer.output
    for word in ("40 of one person, 40 of two", "accuracy", "AUC", "TAR@FAR"):
        assert word in answer.output
    first, second = (model.calibration for model in load(data / "models", "default").manifest.models[2:4])
    assert first is not None
    assert first.midpoint == 0.4356
    assert second is not None
    assert second.data == "logistic fit on 80 pairs of lfw-2folds"
    assert 0.3 < second.midpoint < 0.6
    unknown = luna("calibrate", "default", "--pairs", str(pairs), "--version", "1004")
    assert unknown.exit_code == 1
    assert "1001, 1002" in unknown.stderr
    assert luna("calibrate", "default", "--pairs", str(data)).exit_code == 1
