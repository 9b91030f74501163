"""Preparing, recognising and refusing model packs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.packs import pack as packs
from engines.packs import prepare as preparation
from engines.packs import sources
from engines.packs.dlib_stream import Reader, integers
from engines.packs.errors import PackDamaged, PackMissing, SourceChanged, SourceMissing, SourceUnreadable
from engines.packs.manifest import Manifest, Task
from engines.packs.pack import DEFAULT, MANIFEST, load
from engines.packs.prepare import is_prepared, prepare
from engines.packs.sources import Source


def quiet(name: str, done: int, total: int) -> None:
    pass


def test_a_pack_is_prepared_once_and_then_recognised(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    assert not is_prepared(tmp_path, DEFAULT, landmarks68=False)
    first = prepare(tmp_path, DEFAULT, landmarks68=False, progress=lambda *step: steps.append(step))
    assert [done for _, done, _ in steps] == list(range(6))
    assert {total for _, _, total in steps} == {5}
    made = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}

    steps.clear()
    second = prepare(tmp_path, DEFAULT, landmarks68=False, progress=lambda *step: steps.append(step))
    assert second == first
    assert not steps
    assert made == {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert is_prepared(tmp_path, DEFAULT, landmarks68=False)
    assert not is_prepared(tmp_path, DEFAULT, landmarks68=True)
    first.verify()


def test_the_manifest_names_sources_and_licences(pack: packs.Pack) -> None:
    manifest = json.loads((pack.folder / MANIFEST).read_text("utf-8"))
    assert manifest["name"] == DEFAULT
    assert {file["name"] for file in manifest["files"]} | {MANIFEST} == {path.name for path in pack.folder.iterdir()}
    assert {(file["origin"]["package"], file["origin"]["version"]) for file in manifest["files"]} == {
        ("face_recognition_models", "0.3.0"),
        ("mtcnn", "1.0.0"),
    }
    ibug = next(model for model in manifest["models"] if model["task"] == "landmarks68")
    assert "exclude commercial use" in ibug["licence"]
    assert "exclude commercial use" in ibug["condition"]
    assert all(model["licence"] and model["source"] for model in manifest["models"])


@pytest.mark.parametrize("source", [sources.PNET, sources.LANDMARKS5], ids=lambda source: source.path)
def test_a_tampered_source_is_refused_and_never_opened(tmp_path: Path, source: Source) -> None:
    content = bytearray(sources.installed(source).read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "changed"
    changed.write_bytes(content)

    def locate(wanted: Source) -> Path:
        return changed if wanted is source else sources.installed(wanted)

    folder = tmp_path / "models"
    with pytest.raises(SourceChanged, match=source.sha256):
        prepare(folder, DEFAULT, landmarks68=False, progress=quiet, locate=locate)
    assert not (folder / DEFAULT).exists()
    assert [path.name for path in folder.iterdir()] == [".default.lock"]


def test_a_source_of_another_length_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"0")
    with pytest.raises(SourceChanged, match="has 1 bytes"):
        sources.read(sources.ONET, lambda _: short)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no-such-package==1\.0"):
        sources.installed(Source("no-such-package", "1.0", "weights", 1, "", ""))
    with pytest.raises(SourceMissing, match="has no file"):
        sources.installed(Source("mtcnn", "1.0.0", "mtcnn/no-such-file", 1, "", ""))


def test_a_preparation_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(name: str, done: int, total: int) -> None:
        if done == 3:
            raise Cut

    with pytest.raises(Cut):
        prepare(tmp_path, DEFAULT, landmarks68=False, progress=cut)
    leftover = tmp_path / ".default.new-leftover"
    leftover.mkdir()
    (leftover / "descriptor.onnx").write_bytes(b"half")
    assert not is_prepared(tmp_path, DEFAULT, landmarks68=False)

    prepare(tmp_path, DEFAULT, landmarks68=False, progress=quiet).verify()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".default.lock", DEFAULT]


def test_a_damaged_pack_is_noticed_and_made_again(tmp_path: Path) -> None:
    pack = prepare(tmp_path, DEFAULT, landmarks68=False, progress=quiet)
    target = pack.path(packs.PROPOSAL)
    content = bytearray(target.read_bytes())
    content[100] ^= 1
    target.write_bytes(content)
    load(tmp_path, DEFAULT)
    with pytest.raises(PackDamaged, match="sha256"):
        pack.verify()

    target.write_bytes(content[:-1])
    with pytest.raises(PackDamaged, match="bytes"):
        load(tmp_path, DEFAULT)
    assert not is_prepared(tmp_path, DEFAULT, landmarks68=False)
    prepare(tmp_path, DEFAULT, landmarks68=False, progress=quiet).verify()


def test_a_pack_of_an_older_converter_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, DEFAULT, landmarks68=False, progress=quiet)
    monkeypatch.setattr(preparation, "CONVERTER", "next")
    assert not is_prepared(tmp_path, DEFAULT, landmarks68=False)
    assert prepare(tmp_path, DEFAULT, landmarks68=False, progress=quiet).manifest.converter == "next"


def test_only_the_default_pack_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(PackMissing, match="luna models install better"):
        prepare(tmp_path, "better", landmarks68=False, progress=quiet)
    with pytest.raises(PackMissing, match="luna models prepare"):
        load(tmp_path, DEFAULT)


def document(**changed: object) -> dict[str, object]:
    """The smallest manifest."""
    model = {"task": "emotions", "adapter": "any", "files": {"network": "a.onnx"}, "licence": "mine", "source": "me"}
    files = [{"name": "a.onnx", "size": 1, "sha256": "0" * 64}]
    whole = {"format": 2, "name": "odd", "version": "1", "licence": "mine", "source": "me"}
    return {**whole, "files": files, "models": [model], **changed}


def test_the_smallest_manifest_survives_being_stored() -> None:
    manifest = Manifest.from_json(json.dumps(document()))
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..\\outside", "manifest.json", "", ".."])
def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    home = tmp_path / "odd"
    home.mkdir()
    files = [{"name": name, "size": 1, "sha256": "0" * 64}]
    (home / MANIFEST).write_text(json.dumps(document(files=files)), "utf-8")
    with pytest.raises(PackDamaged, match=r"files\.0\.name: .*no name of a file"):
        load(tmp_path, "odd")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "JSON"),
        ("[]", "should be an object"),
        ("{}", "format: Field required"),
        (json.dumps(document(format=1)), "format: format 1 is not known, 2 is"),
        (json.dumps(document(colour="red")), "colour: Extra inputs"),
        (json.dumps(document(name="../odd")), "name: "),
        (json.dumps(document(files=[])), "files: "),
        (json.dumps(document(models=[{}])), "models.0.task: Field required"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_a_damaged_pack(tmp_path: Path, text: str, told: str) -> None:
    home = tmp_path / "odd"
    home.mkdir()
    (home / MANIFEST).write_text(text, "utf-8")
    with pytest.raises(PackDamaged, match="cannot be used") as refused:
        load(tmp_path, "odd")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"files": {"network": "b.onnx"}}, "'b.onnx' (network of emotions) is not among the files"),
        ({"version": 1003}, "version and dimensions belong to models of descriptors"),
        ({"task": "face_descriptor"}, "version and dimensions belong to models of descriptors"),
        ({"task": "mind_reading"}, "models.0.task"),
        ({"pixels": {"mean": [1, 2]}}, "models.0.pixels.mean: one number or three"),
        ({"pixels": {"colours": "yuv"}}, "models.0.pixels.colours"),
        ({"accuracy": [{"data": "d", "metric": "m", "value": 1, "measured_by": "nobody"}]}, "measured_by"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(change: dict[str, object], told: str) -> None:
    model = {"task": "emotions", "adapter": "any", "files": {"network": "a.onnx"}, "licence": "mine", "source": "me"}
    with pytest.raises(ValueError, match=re.escape(told)):
        Manifest.from_json(json.dumps(document(models=[{**model, **change}])))


def test_a_pack_reduced_to_a_task_has_the_files_of_that_task(pack: packs.Pack) -> None:
    small = pack.manifest.only(frozenset({Task.FACE_DETECTION}))
    assert small.tasks == (Task.FACE_DETECTION,)
    assert {file.name for file in small.files} == {packs.PROPOSAL, packs.REFINEMENT, packs.OUTPUT}
    with pytest.raises(ValueError, match="models"):
        pack.manifest.only(frozenset({Task.GAZE}))


def written(values: list[int]) -> bytes:
    """Dlib's own way to write integers, value by value."""
    parts = []
    for value in values:
        size = max(1, (abs(value).bit_length() + 7) // 8)
        parts.append(bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little"))
    return b"".join(parts)


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=300), st.integers(1, 200))
def test_integers_read_at_once_are_those_read_one_by_one(values: list[int], repeat: int) -> None:
    data = written(values * repeat)
    reader = Reader(data)
    assert integers(data).tolist() == values * repeat
    assert [reader.integer() for _ in values] == values


@pytest.mark.parametrize("data", [b"\x02\x01", b"\x01\x01\x00", b"\x05\x01\x01\x01\x01\x01", b"\x04\xff\xff\xff\xff"])
def test_damaged_integers_are_refused(data: bytes) -> None:
    with pytest.raises(SourceUnreadable):
        integers(data)


def test_reading_past_the_end_of_a_dlib_stream_is_refused() -> None:
    with pytest.raises(SourceUnreadable, match="ends within a value"):
        Reader(b"\x04\x01").integer()
    with pytest.raises(SourceUnreadable, match="expected"):
        Reader(b"\x01\x03con").one_of("fc_2")
