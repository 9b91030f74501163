"""/6/sdk, /6/iso and /6/liveness over a real photo: forms of images, policies, samples, filters and refusals."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image

from tests.contract.contract import contract
from tests.contract.rest import JSON, Answer, Call
from tests.contract.schema import problems
from tests.contract.test_images import FORMS, SUCCESS, parts, tagged
from tests.contract.test_success import TOLERATED
from tests.contract.world import World, encoded, sdk, text, unknown

CONTRACT = contract()
SDK, ISO, LIVENESS = (CONTRACT.operations[name] for name in ("sdk_resource", "check_iso", "predict_liveness"))
MEMBERS = {"sdk_resource": "images_estimations", "check_iso": "images"}
"""The member of an answer that has an entry for each image."""

both = pytest.mark.parametrize(
    "name", [pytest.param(name, id=f"{name}-estimations") for name in ("sdk_resource", "check_iso")]
)
of_sdk = pytest.mark.operation("sdk_resource")
of_liveness = pytest.mark.operation("predict_liveness")


def ask(world: World, name: str, data: bytes, kind: str = "image/jpeg", /, **query: object) -> Answer:
    """Ask one of the operations; /6/sdk is asked for faces."""
    asked = {"detect_face": 1, **query} if name == "sdk_resource" else query
    given = tuple((key, str(value)) for key, value in asked.items())
    return world.rest.call(
        CONTRACT.operations[name], Call(query=given, data=data, content_type=kind, account=world.owner)
    )


def entries(answer: Answer, name: str) -> list[dict[str, Any]]:
    """The entries of an answer, which must be as the contract has it."""
    operation = CONTRACT.operations[name]
    assert answer.status == operation.status, answer.data
    assert operation.response is not None
    assert [one for one in problems(operation.response, answer.json) if not one.endswith(tuple(TOLERATED))] == []
    found = answer.members[MEMBERS[name]]
    assert isinstance(found, list)
    return found


def detections(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The detections of the faces of an entry that went well."""
    assert (entry["status"], entry["error"]) == (1, SUCCESS)
    return [one["face"]["detection"] for one in entry["estimations"]]


def failed(entry: Mapping[str, Any], code: int) -> None:
    """The entry must say that its image failed, and have no estimations."""
    assert (entry["status"], entry["error"]["error_code"], entry["estimations"]) == (0, code, [])


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@both
def test_every_form_of_an_image_says_the_same(world: World, name: str) -> None:
    rects = []
    for form, suffix in FORMS.items():
        if form == "jpeg":
            continue  # its losses may move a rectangle
        data = encoded(world.pictures.one, suffix)
        packed = f"image/x-{form.removeprefix('x-')}-base64"
        for sent, kind in ((data, f"image/{form}"), (base64.b64encode(data), packed)):
            (entry,) = entries(ask(world, name, sent, kind), name)
            assert entry["filename"] == "raw_image"
            (detection,) = detections(entry)
            rects.append(detection["rect"])
    assert all(one == rects[0] for one in rects)


@both
def test_parts_are_answered_in_their_order_and_a_broken_one_by_itself(world: World, name: str) -> None:
    one, none = encoded(world.pictures.one), encoded(world.pictures.none)
    body, kind = parts(
        ("image", "a", "image/jpeg", one),
        ("image", "b", "image/jpeg", b"no image"),
        ("image", "c", "image/x-jpeg-base64", base64.b64encode(none)),
    )
    found = entries(ask(world, name, body, kind), name)
    assert [entry["filename"] for entry in found] == ["a", "b", "c"]
    assert [len(detections(found[place])) for place in (0, 2)] == [1, 0]
    failed(found[1], 18002)


@both
def test_boxes_of_faces_say_where_to_look(world: World, name: str) -> None:
    two = encoded(world.pictures.two)
    height, width = world.pictures.two.shape[:2]
    for x in (0, width // 2):
        box = {"x": x, "y": 0, "width": width // 2, "height": height}
        boxes = as_json([{"filename": "two.jpg", "face_bounding_boxes": [box]}])
        ignored = as_json([{"filename": "two.jpg", "body_bounding_boxes": [box]}])
        body, kind = parts(
            ("image", "two.jpg", "image/jpeg", two),
            ("face_bounding_boxes", "", JSON, boxes),
            ("body_bounding_boxes", "", JSON, ignored),
        )
        (entry,) = entries(ask(world, name, body, kind), name)
        (detection,) = detections(entry)
        assert x <= detection["rect"]["x"] + detection["rect"]["width"] / 2 < x + width // 2


@both
def test_boxes_of_bodies_are_judged_like_those_of_faces(world: World, name: str) -> None:
    image = ("image", "a.jpg", "image/jpeg", world.jpeg)
    box = {"x": 1, "y": 1, "width": 9, "height": 9}
    part = "body_bounding_boxes"
    good = as_json([{"filename": "a.jpg", part: [box]}])
    for given, code in (
        ([(part, "", JSON, good), (part, "", JSON, good)], 11048),
        ([(part, "", "text/plain", good)], 12041),
        ([(part, "", JSON, as_json([{"filename": "a.jpg", part: [box, box]}]))], 11050),
        ([(part, "", JSON, as_json([{"filename": "b.jpg", part: [box]}]))], 11049),
        ([(part, "", JSON, as_json([{"filename": "a.jpg", part: [{**box, "height": 0}]}]))], 12022),
    ):
        answer = ask(world, name, *parts(image, *given))
        assert (answer.status, answer.code) == (400, code), (given, answer.data)


@both
def test_json_names_addresses_samples_and_images(world: World, name: str) -> None:
    (sample,) = entries(ask(world, name, as_json({"samples": [world.sample_id]}), JSON), name)
    (detection,) = detections(sample)
    assert detection["rect"] is None
    given = [
        {"image": text(world.jpeg), "filename": "mine"},
        {"sample_id": world.sample_id},
        {"image": text(b"broken")},
        {"sample_id": unknown()},
    ]
    found = entries(ask(world, name, as_json({"images": given}), JSON), name)
    assert [one["filename"] for one in found] == ["mine", "raw_image_1", "raw_image_2", "raw_image_3"]
    assert [len(detections(one)) for one in found[:2]] == [1, 1]
    failed(found[2], 18002)
    failed(found[3], 13003)
    (private,) = entries(ask(world, name, as_json({"urls": ["http://127.0.0.1/a"]}), JSON), name)
    failed(private, 11027)
    for wrong in ({}, {"samples": []}, {"images": [{"image": "AA==", "x": 1}]}, {"pictures": []}):
        answer = ask(world, name, as_json(wrong), JSON)
        assert (answer.status, answer.code) == (400, 12022)


@both
def test_only_an_account_s_own_samples_can_be_looked_at(world: World, name: str) -> None:
    call = Call(query=(("detect_face", "1"),), body={"samples": [world.sample_id]}, account=world.other)
    (entry,) = entries(world.rest.call(CONTRACT.operations[name], call), name)
    failed(entry, 13003)


@both
def test_multiface_policies(world: World, name: str) -> None:
    two = encoded(world.pictures.two)
    (every,) = entries(ask(world, name, two, multiface_policy=1), name)
    assert len(detections(every)) == 2
    (best,) = entries(ask(world, name, two, multiface_policy=2), name)
    assert [one["rect"] for one in detections(best)] == [detections(every)[0]["rect"]]
    (refused,) = entries(ask(world, name, two, multiface_policy=0), name)
    failed(refused, 11038)


@both
def test_a_warp_is_taken_as_it_is_and_nothing_else_is(world: World, name: str) -> None:
    (entry,) = entries(ask(world, name, world.sample, image_type=1), name)
    (detection,) = detections(entry)
    assert detection["rect"] is None
    (wrong,) = entries(ask(world, name, world.jpeg, image_type=1), name)
    failed(wrong, 11030)


@both
def test_exif_is_extracted_where_it_is_asked_for(world: World, name: str) -> None:
    data = tagged(world.pictures.one, 1)
    (entry,) = entries(ask(world, name, data, extract_exif=1), name)
    assert entry["exif"]["Make"] == "A camera"
    (plain,) = entries(ask(world, name, data), name)
    assert "exif" not in plain


@of_sdk
def test_nothing_is_looked_for_unless_it_is_asked_for(world: World) -> None:
    (entry,) = entries(ask(world, "sdk_resource", world.jpeg, detect_face=0, estimate_emotions=1), "sdk_resource")
    assert entry["estimations"] == []


@of_sdk
def test_a_descriptor_is_that_of_the_extractor(world: World) -> None:
    (entry,) = entries(ask(world, "sdk_resource", world.sample, image_type=1), "sdk_resource")
    (detection,) = detections(entry)
    assert base64.b64decode(detection["attributes"]["descriptor"]["sdk_descriptor"]) == sdk(world.descriptor)
    (without,) = entries(ask(world, "sdk_resource", world.jpeg, estimate_face_descriptor=0), "sdk_resource")
    assert detections(without)[0]["attributes"] == {}


@of_sdk
def test_descriptors_of_one_person_together_still_match_that_person(world: World) -> None:
    mirrored = encoded(world.pictures.one[:, ::-1].copy())
    body, kind = parts(("image", "a", "image/jpeg", world.jpeg), ("image", "b", "image/jpeg", mirrored))
    answer = ask(world, "sdk_resource", body, kind, aggregate_attributes=1)
    for entry in entries(answer, "sdk_resource"):
        assert detections(entry)[0]["attributes"] == {}
    together: Any = answer.members["aggregate_estimations"]
    assert together["body"] is None
    descriptor = together["face"]["attributes"]["descriptor"]["sdk_descriptor"]
    matched: Any = world.rest.call(
        CONTRACT.operations["match_raw"],
        Call(
            body={
                "references": [{"id": "mean", "type": "sdk_descriptor", "data": descriptor}],
                "candidates": [
                    {"id": "self", "type": "sdk_descriptor", "data": text(sdk(world.descriptor))},
                    {"id": "other", "type": "sdk_descriptor", "data": text(sdk(world.stranger))},
                ],
            },
            account=world.owner,
        ),
    ).json
    same, other = (one["similarity"] for one in matched["matches"][0]["matches"])
    assert same > 0.9 > 0.5 > other


@of_sdk
def test_a_warp_that_is_asked_for_is_a_sample(world: World) -> None:
    (entry,) = entries(ask(world, "sdk_resource", world.jpeg, estimate_face_warp=1), "sdk_resource")
    warp = base64.b64decode(entry["estimations"][0]["face"]["warp"])
    with Image.open(io.BytesIO(warp)) as image:
        assert (image.format, image.size) == ("JPEG", (250, 250))
    assert warp == world.sample
    (plain,) = entries(ask(world, "sdk_resource", world.jpeg), "sdk_resource")
    assert "warp" not in plain["estimations"][0]["face"]


@of_sdk
def test_what_does_not_pass_is_told_with_every_reason(world: World) -> None:
    answer = ask(world, "sdk_resource", world.jpeg, yaw_threshold=0, score_threshold=1, estimate_head_pose=1)
    (entry,) = entries(answer, "sdk_resource")
    assert detections(entry) == []
    (left_out,) = entry["filtered_detections"]["face_detections"]
    reasons = {one["type"]: one for one in left_out["filter_reasons"]}
    assert reasons.keys() == {"yaw_threshold", "score_threshold"}
    assert reasons["yaw_threshold"]["value"] == left_out["detection"]["attributes"]["head_pose"]["yaw"]
    assert reasons["score_threshold"]["threshold"] == 1
    assert reasons["score_threshold"]["value"] == left_out["detection"]["attributes"]["descriptor"]["score"] < 1


@of_sdk
def test_nothing_is_stored(world: World) -> None:
    (entry,) = entries(ask(world, "sdk_resource", world.jpeg, estimate_face_warp=1), "sdk_resource")
    assert "sample_id" not in json.dumps(entry)


@of_liveness
def test_without_its_pack_liveness_is_refused_whatever_the_form(world: World) -> None:
    body, kind = parts(
        ("image", "a", "image/jpeg", world.jpeg),
        ("meta", "", JSON, b"{}"),
        ("x_meta", "", "text/plain", b"anything"),
    )
    for data, content_type in ((world.jpeg, "image/jpeg"), (body, kind), (as_json({"urls": ["http://a"]}), JSON)):
        answer = ask(world, "predict_liveness", data, content_type, aggregate=1)
        assert (answer.status, answer.code) == (403, 11054)
        assert "liveness" in answer.detail


@of_liveness
def test_liveness_takes_no_samples(world: World) -> None:
    answer = ask(world, "predict_liveness", as_json({"samples": [world.sample_id]}), JSON)
    assert (answer.status, answer.code) == (400, 12022)
    assert "samples" in answer.detail
