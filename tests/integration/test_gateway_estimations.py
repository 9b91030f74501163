"""Every estimation through the real Envoy, the gateway and the services, from an engine that sees everything.

No pack of the tests serves all of it; here every field of /6/sdk, /6/iso, /6/liveness and /6/detector is written.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import msgpack
import pytest
import pytest_asyncio

from server.domain.access import Scope
from server.domain.checks import CheckName, FaceQuality
from server.domain.detection import Detection
from server.domain.images import Images
from server.domain.iso import IsoChecks
from server.domain.liveness import LivenessPrediction, LivenessThresholds
from server.domain.samples import Sample, SampleType
from server.domain.sdk import Sdk
from server.domain.vision import DetectedPerson, HeadPose, Liveness, MaskState, Rect
from server.services.iso import IsoService
from server.services.liveness import LivenessService
from server.services.samples import SamplesService
from server.services.sdk import SdkService
from tests.contract.contract import contract
from tests.contract.schema import problems
from tests.edge import Canned, Edge, envoy, grpc_server
from tests.scripted_engine import Nowhere, ScriptedEngine, body, face

CONTRACT = contract()
THRESHOLDS = LivenessThresholds(0.9, 0.5)
JPEG = {"content-type": "image/jpeg"}
ALICE = DetectedPerson(face(1), body(1))
TURNED = DetectedPerson(
    face(2, HeadPose(yaw=40.5, pitch=0, roll=0), mask=MaskState.OCCLUDED, liveness=Liveness(0.25, 0.75)), body(2)
)
SEEN = {
    b"alice": [ALICE],
    b"turned": [TURNED],
    b"both": [ALICE, TURNED],
    b"carol": [DetectedPerson(None, body(3))],
    b"nobody": [],
    b"bare": [face(4, age=None, male=None)],
    b"dim": [face(5, liveness=Liveness(0.99, 0.25))],
}
SHARES = pytest.approx({"medical_mask": 0.15, "missing": 0.7, "occluded": 0.15})
OF_FACES = (
    "head_pose", "emotions", "mask", "glasses", "liveness", "landmarks68", "landmarks5", "quality", "gaze",
    "eyes_attributes", "mouth_attributes", "basic_attributes", "face_warp",
)  # fmt: skip
OF_BODIES = ("upper_body", "lower_body", "accessories", "body_basic_attributes", "body_warp")
EVERYTHING = "&".join(
    ["detect_face=1", "detect_body=1", "estimate_people_count=1", "extract_exif=1"]
    + [f"estimate_{name}=1" for name in (*OF_FACES, *OF_BODIES)]
)
TOLERATED = {
    ".unavailable_checks: not in the contract": "what nothing measures is told, where LUNA has no word for it",
    "attributes.descriptor: missing": "aggregation was asked for without descriptors",
}


class Kept:
    """Samples in memory."""

    def __init__(self) -> None:
        self.rows: dict[tuple[SampleType, UUID], bytes] = {}

    async def add(self, sample: Sample, data: bytes) -> None:
        self.rows[sample.sample_type, sample.sample_id] = data

    async def add_all(self, kept: Sequence[tuple[Sample, bytes]]) -> None:
        for sample, data in kept:
            await self.add(sample, data)

    async def read(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bytes | None:
        return self.rows.get((sample_type, sample_id))

    async def remove(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bool:
        return self.rows.pop((sample_type, sample_id), None) is not None


class Running:
    """An edge with the services behind it, and what they look with."""

    def __init__(self, edge: Edge, engine: ScriptedEngine, kept: Kept) -> None:
        self.edge, self.engine, self.kept = edge, engine, kept

    async def ask(self, operation_id: str, data: bytes, query: str = "", headers: dict[str, str] = JPEG) -> Any:
        """A call that must succeed as the contract says."""
        operation = CONTRACT.operations[operation_id]
        got = await self.edge.ask("POST", f"{operation.path}?{query}", data, headers)
        assert got.status == operation.status, got.data
        assert operation.response is not None
        assert [one for one in problems(operation.response, got.json) if not one.endswith(tuple(TOLERATED))] == []
        return got.json

    async def estimate(self, data: bytes, query: str = EVERYTHING, headers: dict[str, str] = JPEG) -> Any:
        """The first image of /6/sdk."""
        return (await self.ask("sdk_resource", data, query, headers))["images_estimations"][0]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[Running]:
    engine, kept, canned = ScriptedEngine(SEEN), Kept(), Canned()
    images = Images(engine, kept, Nowhere())
    canned.answers = {
        "Estimate": SdkService(Sdk(images, THRESHOLDS), THRESHOLDS).Estimate,
        "CheckImages": IsoService(IsoChecks(images)).CheckImages,
        "PredictLiveness": LivenessService(LivenessPrediction(images), THRESHOLDS).PredictLiveness,
        "DetectFaces": SamplesService(Detection(images, kept, THRESHOLDS), engine, kept, THRESHOLDS).DetectFaces,
    }
    async with grpc_server(canned) as (_, port), envoy([port]) as edge:
        yield Running(edge, engine, kept)


def parts(*given: tuple[str, str, str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A multipart body of (name, filename, type, bytes), and its headers."""
    out = b""
    for name, filename, kind, data in given:
        named = f'; filename="{filename}"' if filename else ""
        out += f'--edge\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'.encode()
        out += f"Content-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
    return out + b"--edge--\r\n", {"content-type": "multipart/form-data; boundary=edge"}


async def test_every_estimation_of_a_face_is_written(running: Running) -> None:
    image = await running.estimate(b"alice")
    (person,) = image["estimations"]
    found = person["face"]
    assert base64.b64decode(found["warp"]) == b"warp 1"
    detection = found["detection"]
    assert detection["rect"] == {"x": 1, "y": 2, "width": 50, "height": 60}
    assert detection["landmarks5"] == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert detection["landmarks68"] == [[index, index + 1] for index in range(68)]
    assert detection["quality"] == {
        "blurriness": 0.1, "dark": 0.2, "illumination": 0.3, "specularity": 0.4, "light": 0.5
    }  # fmt: skip
    attributes = detection["attributes"]
    assert attributes.pop("emotions") == {
        "predominant_emotion": "happiness",
        "estimations": pytest.approx(
            {"happiness": 0.7, **dict.fromkeys(("anger", "disgust", "fear", "sadness", "surprise", "neutral"), 0.05)}
        ),
    }
    assert attributes.pop("mask") == {"predominant_mask": "missing", "estimations": SHARES}
    assert attributes.pop("basic_attributes") == {
        "age": 33,
        "gender": 1,
        "ethnicities": {
            "predominant_ethnicity": "asian",
            "estimations": pytest.approx({"asian": 0.7, "indian": 0.1, "caucasian": 0.1, "african_american": 0.1}),
        },
    }
    descriptor = attributes.pop("descriptor")
    assert descriptor["score"] == 0.75
    assert base64.b64decode(descriptor["sdk_descriptor"]) == b"dp\x00\x00" + (1001).to_bytes(4, "little") + b"\1" * 256
    assert attributes == {
        "head_pose": {"pitch": 0.5, "roll": 0.5, "yaw": 0.5},
        "eyes_attributes": {
            "left_eye": {"state": "open", "iris_landmarks": [[3, 4], [5, 6]], "eyelid_landmarks": [[1, 2]]},
            "right_eye": {"state": "occluded", "iris_landmarks": [[9, 10], [11, 12]], "eyelid_landmarks": [[7, 8]]},
        },
        "mouth_attributes": {"opened": 0.1, "occluded": 0.3, "smile": 0.2, "score": 0.4},
        "glasses": {"glasses": "eyeglasses"},
        "liveness": {"prediction": "real", "estimations": {"quality": 0.8, "score": 0.95}},
        "gaze": {"pitch": 4.0, "yaw": -3.5},
    }


async def test_every_estimation_of_a_body_and_of_an_image_is_written(running: Running) -> None:
    image = await running.estimate(b"alice")
    assert image["image_estimations"] == {"people": {"count": 7}}
    assert image["exif"] == {"Make": "A camera"}
    assert image["filtered_detections"] == {"face_detections": [], "body_detections": []}
    assert (image["status"], image["error"]["error_code"], image["url"]) == (1, 0, None)
    found = image["estimations"][0]["body"]
    assert base64.b64decode(found["warp"]) == b"body 1"
    assert found["detection"]["rect"] == {"x": 1, "y": 3, "width": 70, "height": 140}
    attributes = found["detection"]["attributes"]
    assert attributes.pop("descriptor")["score"] == 0.5
    assert attributes == {
        "basic_attributes": {"apparent_gender": 1, "apparent_age": 40},
        "upper_body": {
            "headwear": {"state": 1, "apparent_color": "black"},
            "sleeve": {"length": "long"},
            "upper_clothing": {"colors": ["blue", "white"]},
        },
        "lower_body": {
            "lower_garment": {"type": "trousers", "colors": ["grey"]},
            "shoes": {"apparent_color": "white"},
        },
        "accessories": {"backpack": {"state": 0}},
    }


async def test_a_person_without_a_face_or_a_body_has_null_there(running: Running) -> None:
    assert (await running.estimate(b"carol"))["estimations"][0]["face"] is None
    alone = (await running.estimate(b"bare"))["estimations"][0]
    assert alone["body"] is None
    assert alone["face"]["detection"]["attributes"]["basic_attributes"] == {
        "age": None,
        "gender": None,
        "ethnicities": alone["face"]["detection"]["attributes"]["basic_attributes"]["ethnicities"],
    }
    assert (await running.estimate(b"nobody"))["estimations"] == []


async def test_what_was_not_asked_for_is_absent(running: Running) -> None:
    image = await running.estimate(b"alice", "detect_face=1&detect_body=1&estimate_face_descriptor=0")
    (person,) = image["estimations"]
    assert person["face"] == {"detection": {"rect": person["face"]["detection"]["rect"], "attributes": {}}}
    assert person["body"]["detection"]["attributes"].keys() == {"descriptor"}
    assert image.keys().isdisjoint({"exif", "image_estimations"})
    assert (await running.estimate(b"alice", ""))["estimations"] == []


async def test_msgpack_has_bytes_where_json_has_base64(running: Running) -> None:
    plain = await running.ask("sdk_resource", b"alice", EVERYTHING)
    got = await running.edge.ask("POST", f"/6/sdk?{EVERYTHING}", b"alice", {**JPEG, "accept": "application/msgpack"})
    assert got.headers["content-type"] == "application/msgpack"
    packed = msgpack.unpackb(got.data)["images_estimations"][0]["estimations"][0]["face"]
    assert packed["warp"] == b"warp 1"
    whole = plain["images_estimations"][0]["estimations"][0]["face"]
    descriptor = packed["detection"]["attributes"]["descriptor"]
    assert (
        base64.b64encode(descriptor["sdk_descriptor"]).decode()
        == (whole["detection"]["attributes"]["descriptor"]["sdk_descriptor"])
    )


async def test_every_reason_is_written_in_the_terms_of_its_parameter(running: Running) -> None:
    query = (
        "detect_face=1&detect_body=1&multiface_policy=2&yaw_threshold=30&score_threshold=0.8"
        "&mask_states=1&mask_states=2&liveness_states=1"
    )
    image = await running.estimate(b"turned", query)
    assert image["estimations"] == []
    filtered = image["filtered_detections"]
    (left_out,) = filtered["face_detections"]
    assert left_out["detection"]["rect"]["x"] == 2
    told = [(one["type"], one["value"], one["threshold"]) for one in left_out["filter_reasons"]]
    assert told == [
        ("yaw_threshold", 40.5, 30),
        ("score_threshold", 0.75, 0.8),
        ("mask_states", 3, [1, 2]),
        ("liveness_states", 0, [1]),
    ]
    assert all(type(number) is int for number in (told[0][2], told[2][1], *told[2][2]))
    (dropped,) = filtered["body_detections"]
    assert dropped["detection"]["rect"]["x"] == 2
    assert dropped["filter_reasons"] == left_out["filter_reasons"]


@pytest.mark.parametrize(
    ("state", "names"), [(0, ["turned"]), (1, ["alice"]), (2, ["dim"])]
)  # fmt: skip
async def test_predictions_select_by_their_numbers(running: Running, state: int, names: list[str]) -> None:
    given = [("image", name, "image/jpeg", name.encode()) for name in ("alice", "turned", "dim")]
    found = await running.ask("sdk_resource", *_query(parts(*given), f"detect_face=1&liveness_states={state}"))
    assert [one["filename"] for one in found["images_estimations"] if one["estimations"]] == names


def _query(body_and_headers: tuple[bytes, dict[str, str]], query: str) -> tuple[bytes, str, dict[str, str]]:
    return body_and_headers[0], query, body_and_headers[1]


async def test_aggregated_values_move_into_one_estimation(running: Running) -> None:
    given = parts(("image", "a", "image/jpeg", b"alice"), ("image", "b", "image/jpeg", b"turned"))
    found = await running.ask("sdk_resource", *_query(given, f"{EVERYTHING}&aggregate_attributes=1"))
    together = found["aggregate_estimations"]
    of_face = together["face"]["attributes"]
    assert of_face["liveness"]["prediction"] == "spoof"
    assert of_face["liveness"]["estimations"] == pytest.approx({"score": 0.6, "quality": 0.775})
    assert of_face["mask"]["estimations"] == pytest.approx({"medical_mask": 0.15, "missing": 0.425, "occluded": 0.425})
    assert of_face["basic_attributes"]["age"] == 33
    assert base64.b64decode(of_face["descriptor"]["sdk_descriptor"])[8:10] == b"\1\2"
    assert of_face.keys() == {"emotions", "mask", "liveness", "basic_attributes", "descriptor"}
    assert together["body"]["attributes"].keys() == {
        "basic_attributes", "upper_body", "lower_body", "accessories", "descriptor"
    }  # fmt: skip
    for image in found["images_estimations"]:
        (person,) = image["estimations"]
        assert person["face"]["detection"]["attributes"].keys() == {
            "head_pose", "eyes_attributes", "mouth_attributes", "glasses", "gaze"
        }  # fmt: skip
        assert person["body"]["detection"]["attributes"] == {}
    nobody = await running.ask("sdk_resource", b"nobody", "detect_face=1&aggregate_attributes=1")
    assert nobody["aggregate_estimations"] == {"face": None, "body": None}


async def test_boxes_of_faces_and_bodies_reach_the_engine(running: Running) -> None:
    def boxes(kind: str, x: int) -> tuple[str, str, str, bytes]:
        box = {"x": x, "y": 2, "width": 3, "height": 4}
        return kind, "", "application/json", json.dumps([{"filename": "a", kind: [box]}]).encode()

    given = parts(
        ("image", "a", "image/jpeg", b"alice"), boxes("face_bounding_boxes", 10), boxes("body_bounding_boxes", 20)
    )
    await running.ask("sdk_resource", *_query(given, "detect_face=1&detect_body=1"))
    look = running.engine.looks[-1]
    assert (look.face_box, look.body_box) == (Rect(10, 2, 3, 4), Rect(20, 2, 3, 4))
    entry = {
        "image": base64.b64encode(b"alice").decode(),
        "body_bounding_boxes": [{"x": 5, "y": 6, "width": 7, "height": 8}],
    }
    body_of_json = json.dumps({"images": [entry]}).encode()
    await running.ask("sdk_resource", body_of_json, "detect_body=1", {"content-type": "application/json"})
    assert running.engine.looks[-1].body_box == Rect(5, 6, 7, 8)


async def test_samples_have_no_rectangle_and_no_landmarks(running: Running) -> None:
    face_id, body_id = uuid4(), uuid4()
    running.kept.rows = {(SampleType.FACES, face_id): b"alice", (SampleType.BODIES, body_id): b"alice"}
    for kind, one, sample_id in ((1, "face", face_id), (2, "body", body_id)):
        given = json.dumps({"samples": [str(sample_id)]}).encode()
        query = f"image_type={kind}&estimate_landmarks5=1&estimate_head_pose=1&estimate_upper_body=1"
        found = (await _sample(running, given, query))["estimations"][0]
        assert found[one]["detection"]["rect"] is None
        assert "landmarks5" not in found[one]["detection"]
        assert found[one]["detection"]["attributes"].keys() == (
            {"descriptor"} if kind == 1 else {"descriptor", "upper_body"}
        )


async def _sample(running: Running, data: bytes, query: str) -> Any:
    """The first image of /6/sdk, whose rectangle is null."""
    got = await running.edge.ask("POST", f"/6/sdk?{query}", data, {"content-type": "application/json"})
    assert got.status == 200, got.data
    return got.json["images_estimations"][0]


@pytest.mark.parametrize(
    ("query", "named"), [("image_type=1&estimate_liveness=1", "estimate_liveness"),
                         ("image_type=2&estimate_liveness=1", "estimate_liveness"),
                         ("image_type=1&liveness_states=1", "liveness_states")],
)  # fmt: skip
async def test_liveness_of_a_sample_is_refused_by_name(running: Running, query: str, named: str) -> None:
    got = await running.edge.ask("POST", f"/6/sdk?{query}", b"alice", JPEG)
    assert (got.status, got.json["error_code"]) == (400, 12012)
    assert named in got.json["detail"]


async def test_states_are_numbers_in_queries_and_words_are_none(running: Running) -> None:
    for query in ("mask_states=missing", "liveness_states=real", "mask_states=0", "liveness_states=3", "mask_states="):
        got = await running.edge.ask("POST", f"/6/sdk?detect_face=1&{query}", b"alice", JPEG)
        assert (got.status, got.json["error_code"]) == (400, 12012), query


async def test_checks_are_written_with_their_thresholds_and_without_invented_fractions(running: Running) -> None:
    (image,) = (await running.ask("check_iso", b"alice"))["images"]
    (person,) = image["estimations"]
    assert person["face"]["detection"].keys() == {"rect", "iso"}
    iso = person["face"]["detection"]["iso"]
    told = {one["name"]: one for one in iso["checks"]}
    assert told["head_yaw"] == {
        "name": "head_yaw", "object_value": 5.25, "threshold_value": {"min": -5, "max": 5}, "result": 0
    }  # fmt: skip
    assert told["left_eye"] == {
        "name": "left_eye", "object_value": "open", "threshold_value": ["open"], "result": 1
    }  # fmt: skip
    assert told["red_eyes"] == {"name": "red_eyes", "object_value": 0, "threshold_value": 0, "result": 1}
    assert type(told["red_eyes"]["object_value"]) is type(told["red_eyes"]["threshold_value"]) is int
    assert iso["status"] == 0
    unavailable = {one["name"]: one["needs"] for one in iso["unavailable_checks"]}
    assert unavailable["gaze_yaw"] == "a model pack for gaze"
    assert not unavailable.keys() & told.keys()


async def test_iso_refuses_several_faces_unless_told_otherwise(running: Running) -> None:
    (refused,) = (await running.ask("check_iso", b"both"))["images"]
    assert (refused["status"], refused["error"]["error_code"], refused["estimations"]) == (0, 11038, [])
    for policy, count in ((1, 2), (2, 1)):
        (image,) = (await running.ask("check_iso", b"both", f"multiface_policy={policy}"))["images"]
        assert len(image["estimations"]) == count
    (image,) = (await running.ask("check_iso", b"alice", "extract_exif=1"))["images"]
    assert image["exif"] == {"Make": "A camera"}
    got = await running.edge.ask("POST", "/6/iso?image_type=2", b"alice", JPEG)
    assert (got.status, got.json["error_code"]) == (400, 12012)


async def test_liveness_is_told_in_numbers_image_by_image(running: Running) -> None:
    names = ("alice", "turned", "dim", "both", "nobody")
    given = parts(
        *(("image", name, "image/jpeg", name.encode()) for name in names),
        ("meta", "", "application/json", b'{"mobile": {"os": "UNKNOWN"}}'),
        ("x_meta", "", "text/plain", b"anything"),
    )
    found = await running.ask("predict_liveness", *_query(given, ""))
    assert found["aggregate_estimations"] is None
    told = [(one["filename"], one["liveness"] and one["liveness"]["prediction"]) for one in found["images"]]
    assert told == [("alice", 1), ("turned", 0), ("dim", 2), ("both", None), ("nobody", None)]
    assert [one["error"]["error_code"] for one in found["images"]] == [0, 0, 0, 32017, 4003]
    assert found["images"][0]["liveness"]["estimations"] == {"probability": 0.95, "quality": 0.8}
    together = (await running.ask("predict_liveness", *_query(given, "aggregate=1")))["aggregate_estimations"]
    assert together["liveness"]["estimations"] == pytest.approx({"probability": 0.73, "quality": 0.6})
    assert together["liveness"]["prediction"] == 0
    nobody = await running.ask("predict_liveness", b"nobody", "aggregate=1")
    assert nobody["aggregate_estimations"] is None


async def test_liveness_takes_no_samples_and_other_methods_no_meta(running: Running) -> None:
    given = json.dumps({"samples": [str(uuid4())]}).encode()
    got = await running.edge.ask("POST", "/6/liveness", given, {"content-type": "application/json"})
    assert (got.status, got.json["error_code"]) == (400, 12022)
    assert "samples are not accepted" in got.json["detail"]
    data, headers = parts(("image", "a", "image/jpeg", b"alice"), ("meta", "", "application/json", b"{}"))
    got = await running.edge.ask("POST", "/6/sdk", data, headers)
    assert (got.status, got.json["error_code"]) == (400, 11029)


async def test_every_estimation_of_the_detector_is_written(running: Running) -> None:
    switches = (
        "estimate_head_pose", "estimate_emotions", "estimate_mask", "detect_landmarks68", "estimate_quality",
        "estimate_gaze", "estimate_eyes_attributes", "estimate_mouth_attributes", "estimate_face_quality",
    )  # fmt: skip
    (image,) = (await running.ask("detect_faces", b"alice", "&".join(f"{one}=1" for one in switches)))["images"]
    (sample,) = image["detections"]["samples"]
    detection = sample["face"]["detection"]
    assert detection.keys() == {"rect", "landmarks5", "landmarks68", "quality", "attributes", "face_quality"}
    assert detection["attributes"].keys() == {
        "head_pose", "emotions", "mask", "gaze", "eyes_attributes", "mouth_attributes"
    }  # fmt: skip
    told = {one["name"]: one["result"] for one in detection["face_quality"]["checks"]}
    assert (told["head_yaw"], told["head_pitch"], told["left_eye"]) == (0, 1, 1)
    stored = running.kept.rows[SampleType.FACES, UUID(sample["face"]["sample_id"])]
    assert stored == b"warp 1"


async def test_a_result_is_good_where_all_that_was_checked_is(running: Running) -> None:
    quality = FaceQuality({CheckName.HEAD_ROLL: 5.43}, {CheckName.HEAD_YAW: "a model pack"})
    good = DetectedPerson(face(6).__class__(Rect(0, 0, 1, 1), 0.9, (), b"", face_quality=quality))
    running.engine.seen = {**SEEN, b"good": [good]}
    (image,) = (await running.ask("check_iso", b"good"))["images"]
    iso = image["estimations"][0]["face"]["detection"]["iso"]
    assert iso["status"] == 1
    assert iso["checks"] == [
        {"name": "head_roll", "object_value": 5.43, "threshold_value": {"min": -8, "max": 8}, "result": 1}
    ]
    assert len(iso["unavailable_checks"]) > 1
