"""From the manifests of packs to the models of an engine: order, versions, switches, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from graphs import constant, dense

from engines.engine import DefaultEngine
from engines.packs import catalogue
from engines.packs.errors import PackDamaged
from engines.packs.manifest import Task
from engines.packs.pack import Pack, sha256
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.vision import adapters
from engines.vision.decoding import Image
from engines.vision.models import Models, assemble
from engines.vision.networks.single_shot import SingleShotDetector
from server.domain.descriptors import BODY_SPECS, SPECS, Descriptor
from server.domain.engine import Look
from server.domain.vision import BODIES, Estimation
from server.errors import BadQuery, EngineFailure, FeatureOff, VersionNotEstimated
from server.settings import Engine
from tests.pictures import png
from tests.unit.engines.made_packs import made, optional

KNOWN = {
    Task.FACE_DETECTION: adapters.FACE_DETECTORS,
    Task.FACE_DESCRIPTOR: adapters.FACE_DESCRIBERS,
    Task.FACE_SCORE: adapters.FACE_SCORES,
    Task.EMOTIONS: adapters.EMOTIONS,
    Task.LIVENESS: adapters.LIVENESS,
    Task.GENDER: adapters.GENDERS,
    Task.AGE: adapters.AGES,
    Task.BODY_DETECTION: adapters.BODY_DETECTORS,
    Task.BODY_DESCRIPTOR: adapters.BODY_DESCRIBERS,
}


def own(folder: Path, **changed: object) -> Pack:
    """A pack with a descriptor network of one's own."""
    (folder / "own").mkdir(exist_ok=True)
    dense(folder / "own" / "net.onnx", (112, 112), 512)
    model = {"task": "face_descriptor", "adapter": "arcface", "files": {"network": "net.onnx"}}
    return made(folder, "own", [{**model, "version": 1903, "dimensions": 512, **changed}])


def of(installed: Sequence[Pack], settings: Engine | None = None) -> Models:
    return assemble(installed, OnnxRuntime(threads=1), settings or Engine())


def test_several_versions_of_descriptors_are_served_side_by_side(pack: Pack, tmp_path: Path) -> None:
    models = of([pack, own(tmp_path)])
    assert list(models.describers) == [1001, 1002, 1903]
    assert models.descriptor_version == 1001
    assert of([own(tmp_path), pack]).descriptor_version == 1903
    assert of([pack], Engine(flip_averaging=True)).descriptor_version == 1002
    assert of([pack, own(tmp_path)], Engine(descriptor_version=1903)).descriptor_version == 1903
    assert own(tmp_path).models(Task.FACE_DESCRIPTOR)[0].calibration is None


def test_a_version_that_no_pack_makes_is_refused(pack: Pack) -> None:
    with pytest.raises(PackDamaged, match="1004 is wanted, and the packs make 1001, 1002"):
        of([pack], Engine(descriptor_version=1004))


async def test_an_engine_describes_samples_in_every_version(pack: Pack, tmp_path: Path, astronaut: Image) -> None:
    engine = DefaultEngine([pack, own(tmp_path)], Engine())
    await engine.start()
    try:
        face = (await engine.detect(png(astronaut))).faces[0]
        for version, length in ((None, 256), (1001, 256), (1002, 256), (1903, 1024)):
            (described,) = await engine.describe([face.warp], version=version)
            assert described.version == (version or 1001)
            assert len(Descriptor.raw(described.version, described.data).data) == length
            vector = np.frombuffer(described.data, "<f2").astype(float)
            assert np.linalg.norm(vector) == pytest.approx(1, abs=2e-3)
        with pytest.raises(VersionNotEstimated):
            await engine.describe([face.warp], version=1004)
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"adapter": "magic"}, r"adapter 'magic'; known are arcface, dlib_resnet, sface"),
        ({"options": {"depth": 3}}, r"option 'depth'; known are none"),
        ({"files": {"weights": "net.onnx"}}, r"lacks the file 'network'"),
        ({"version": 1234}, r"version 1234 is not known"),
        ({"version": 1003}, r"version 1003 has 128 dimensions"),
    ],
)
def test_a_manifest_that_names_what_is_not_known_is_refused(
    pack: Pack, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    with pytest.raises(PackDamaged, match=told) as refused:
        of([pack, own(tmp_path, **change)])
    assert "the pack 'own'" in str(refused.value)


def test_a_pack_alone_that_finds_no_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackDamaged, match="none of the packs own has a model for face_detection"):
        of([own(tmp_path)])


def test_the_first_pack_that_serves_a_task_serves_it(pack: Pack, tmp_path: Path, shared_models: Path) -> None:
    home = tmp_path / "zoo"
    home.mkdir()
    (home / "yunet.onnx").write_bytes((shared_models / "face_detection_yunet_2023mar.onnx").read_bytes())
    zoo = made(tmp_path, "zoo", [{"task": "face_detection", "adapter": "yunet", "files": {"network": "yunet.onnx"}}])
    assert isinstance(of([zoo, pack]).detector, SingleShotDetector)
    assert not isinstance(of([pack, zoo]).detector, SingleShotDetector)


def test_demographic_models_are_loaded_only_where_they_are_switched_on(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    constant(tmp_path / "people" / "ga.onnx", (96, 96), [0.0, 1.0, 0.3])
    file = {"files": {"network": "ga.onnx"}, "adapter": "genderage"}
    demographic = made(tmp_path, "people", [{"task": "gender", **file}, {"task": "age", **file}])
    off, on = of([pack, demographic]), of([pack, demographic], Engine(demographics=True))
    assert (off.gender, off.age) == (None, None)
    assert on.gender is not None
    assert on.age is not None


async def test_an_engine_with_packs_serves_what_they_serve(
    pack: Pack, tmp_path: Path, shared_models: Path, photos: Path
) -> None:
    engine = DefaultEngine([pack, optional(tmp_path, shared_models)], Engine(demographics=True))
    await engine.start()
    try:
        served = {Estimation.LIVENESS, Estimation.EMOTIONS, Estimation.BASIC_ATTRIBUTES, Estimation.PEOPLE_COUNT}
        assert [engine.needs(one) for one in (*served, BODIES)] == [None] * 5
        look = Look(bodies=True, estimations=frozenset(served))
        found = await engine.detect((photos / "obama.jpg").read_bytes(), look)
        (face,) = found.faces
        assert face.liveness is not None
        assert face.liveness.score > 0.9
        assert face.emotions is not None
        assert face.emotions.predominant.value == "happiness"
        assert face.basic_attributes is not None
        assert face.basic_attributes.male is not None
        assert face.basic_attributes.male > 0.9
        assert face.basic_attributes.age is None
        assert found.people_count is not None
        assert found.people_count >= 1
        assert found.persons[0].body is not None
        with pytest.raises(BadQuery, match="estimate_liveness"):
            await engine.inspect(face.warp, estimations=frozenset({Estimation.LIVENESS}))
        with pytest.raises(FeatureOff, match="estimate_mask"):
            await engine.inspect(face.warp, estimations=frozenset({Estimation.MASK}))
    finally:
        await engine.close()


@pytest.mark.parametrize("name", catalogue.names())
def test_the_catalogue_names_only_what_there_is(name: str) -> None:
    manifest = catalogue.manifest(name)
    assert manifest.name == name
    for model in manifest.models:
        assert model.adapter in KNOWN[model.task]
        if model.task.makes_descriptors:
            specs = SPECS if model.task is Task.FACE_DESCRIPTOR else BODY_SPECS
            assert specs[model.version or 0].dimensions == model.dimensions
            assert model.calibration is None, "nobody has measured it"
    for file in manifest.files:
        address = file.url or (file.archive.url if file.archive else "https://")
        assert address.startswith("https://")


def test_the_catalogue_has_the_checksums_of_the_files_that_are_at_hand(shared_models: Path) -> None:
    sums = {sha256(path): path.stat().st_size for path in shared_models.glob("*.onnx")}
    listed = {file.sha256: file.size for name in catalogue.names() for file in catalogue.manifest(name).files}
    assert sums
    assert sums.items() <= listed.items()


async def test_an_engine_does_not_start_with_a_network_that_gives_no_numbers(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    constant(tmp_path / "broken" / "fer.onnx", (112, 112), [float("nan")] * 7)
    model = {"task": "emotions", "adapter": "expression", "files": {"network": "fer.onnx"}}
    engine = DefaultEngine([pack, made(tmp_path, "broken", [model])], Engine())
    with pytest.raises(EngineFailure, match="emotions gives numbers that are none"):
        await engine.start()
    await engine.close()
