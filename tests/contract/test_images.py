"""Images as they may be sent: bytes, Base64, parts and JSON; and what the detector does with them."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.mutations import UUID
from tests.contract.rest import JSON, Answer, Call
from tests.contract.schema import problems
from tests.contract.test_success import TOLERATED
from tests.contract.world import World, encoded, text, unknown

pytestmark = pytest.mark.operation("detect_faces")

CONTRACT = contract()
DETECT = CONTRACT.operations["detect_faces"]
SAVE = CONTRACT.operations["save_sample"]
FORMS = {"jpeg": "jpg", "png": "png", "bmp": "bmp", "tiff": "tiff", "x-portable-pixmap": "ppm"}
"""Image types and the suffixes of their files."""
SUCCESS = {"error_code": 0, "desc": "Success", "detail": "Success"}
ORIENTATION, MAKE = 0x0112, 0x010F
"""Tags of EXIF."""


def detect(world: World, data: bytes, kind: str = "image/jpeg", /, **query: object) -> Answer:
    """Ask the detector."""
    given = tuple((name, str(value)) for name, value in query.items())
    return world.rest.call(DETECT, Call(query=given, data=data, content_type=kind, account=world.owner))


def entries(answer: Answer) -> list[dict[str, Any]]:
    """The entries of an answer, which must be as the contract has it."""
    assert answer.status == 201, answer.data
    assert DETECT.response is not None
    assert [one for one in problems(DETECT.response, answer.json) if not one.endswith(tuple(TOLERATED))] == []
    found = answer.members["images"]
    assert isinstance(found, list)
    return found


def faces(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The faces of an entry that went well."""
    assert (entry["status"], entry["error"]) == (1, SUCCESS)
    return [one["face"] for one in entry["detections"]["samples"]]


def rects(entry: Mapping[str, Any]) -> list[dict[str, int]]:
    """Where the faces of an entry are."""
    return [one["detection"]["rect"] for one in faces(entry)]


def failed(entry: Mapping[str, Any], code: int) -> None:
    """The entry must say that its image failed, and have no detections."""
    assert (entry["status"], entry["error"]["error_code"]) == (0, code)
    assert entry["detections"] == {
        "samples": [],
        "filtered_detections": {"face_detections": [], "body_detections": []},
    }


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def parts(*given: tuple[str, str, str, bytes]) -> tuple[bytes, str]:
    """A multipart body of (name, filename, type, bytes), and its content type."""
    out = b""
    for name, filename, kind, data in given:
        named = f'; filename="{filename}"' if filename else ""
        out += f'--edge\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'.encode()
        out += f"Content-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
    return out + b"--edge--\r\n", "multipart/form-data; boundary=edge"


@pytest.mark.parametrize("form", FORMS)
def test_every_binary_form_is_taken(world: World, form: str) -> None:
    data = encoded(world.pictures.one, FORMS[form])
    (entry,) = entries(detect(world, data, f"image/{form}"))
    assert entry["filename"] == "raw_image"
    assert len(faces(entry)) == 1
    assert f"image/{form}" in DETECT.content_types


@pytest.mark.parametrize("form", FORMS)
def test_every_base64_form_says_the_same(world: World, form: str) -> None:
    data = encoded(world.pictures.one, FORMS[form])
    kind = f"image/{form.removeprefix('x-') if form == 'x-portable-pixmap' else form}"
    kind = f"image/x-{kind.removeprefix('image/')}-base64"
    assert kind in DETECT.content_types
    (plain,), (packed,) = (
        entries(detect(world, data, f"image/{form}")),
        entries(detect(world, base64.b64encode(data), kind)),
    )
    assert rects(packed) == rects(plain)
    assert packed["filename"] == "raw_image"


@pytest.mark.parametrize("wrong", [b"***", b"abc", b"data:image/jpeg;base64,AAAA", b"/9j/ 4AA="])
def test_bad_base64_is_refused(world: World, wrong: bytes) -> None:
    answer = detect(world, wrong, "image/x-jpeg-base64")
    assert (answer.status, answer.code) == (400, 18001)


def test_content_types_that_are_no_images_are_refused(world: World) -> None:
    for kind, code in (
        ("image/gif", 11028),
        ("image/x-gif-base64", 11028),
        ("text/plain", 12024),
        ("video/mp4", 12024),
    ):
        answer = detect(world, world.jpeg, kind)
        assert (answer.status, answer.code) == (400, code)
        assert kind in answer.detail
    nothing = detect(world, b"", "image/jpeg")
    assert (nothing.status, nothing.code) == (400, 12030)
    body, kind = parts(("image", "a.gif", "image/gif", world.jpeg))
    answer = detect(world, body, kind)
    assert (answer.status, answer.code) == (400, 11029)
    assert "image/gif" in answer.detail


def test_the_type_that_is_said_does_not_matter_as_long_as_it_is_an_image(world: World) -> None:
    (entry,) = entries(detect(world, encoded(world.pictures.one, "png"), "image/jpeg"))
    assert len(faces(entry)) == 1


def test_parts_are_answered_in_their_order_under_their_names(world: World) -> None:
    one, two, none = (encoded(image) for image in (world.pictures.one, world.pictures.two, world.pictures.none))
    body, kind = parts(
        ("image", "two.jpg", "image/jpeg", two),
        ("photo", "none.jpg", "image/jpeg", none),
        ("image", "one.b64", "image/x-jpeg-base64", base64.b64encode(one)),
        ("image", "no\N{LATIN SMALL LETTER E WITH ACUTE}l.jpg", "image/jpeg", one),
    )
    found = entries(detect(world, body, kind))
    assert [one["filename"] for one in found] == ["two.jpg", "none.jpg", "one.b64", "noél.jpg"]
    assert [len(faces(one)) for one in found] == [2, 0, 1, 1]


def test_a_broken_image_is_told_in_its_own_entry(world: World) -> None:
    one = encoded(world.pictures.one)
    body, kind = parts(
        ("image", "a", "image/jpeg", one),
        ("image", "b", "image/jpeg", b"no image"),
        ("image", "c", "image/jpeg", one[: len(one) // 8]),
        ("image", "d", "image/png", one),
    )
    found = entries(detect(world, body, kind))
    assert [one["filename"] for one in found] == ["a", "b", "c", "d"]
    assert [one["status"] for one in found] == [1, 0, 0, 1]
    failed(found[1], 18002)
    failed(found[2], 18002)
    (alone,) = entries(detect(world, b"no image"))
    failed(alone, 18002)


def test_boxes_say_where_to_look(world: World) -> None:
    two = encoded(world.pictures.two)
    height, width = world.pictures.two.shape[:2]

    def boxed(x: int) -> list[dict[str, int]]:
        box = {"x": x, "y": 0, "width": width // 2, "height": height}
        boxes = as_json([{"filename": "two.jpg", "face_bounding_boxes": [box]}])
        body, kind = parts(("image", "two.jpg", "image/jpeg", two), ("face_bounding_boxes", "", JSON, boxes))
        return rects(entries(detect(world, body, kind))[0])

    (left,), (right,) = boxed(0), boxed(width // 2)
    assert left["x"] + left["width"] / 2 < width / 2 < right["x"] + right["width"] / 2


def test_boxes_that_cannot_be_used_are_refused(world: World) -> None:
    image = ("image", "a.jpg", "image/jpeg", world.jpeg)
    box = {"x": 1, "y": 1, "width": 9, "height": 9}
    good = as_json([{"filename": "a.jpg", "face_bounding_boxes": [box]}])
    name = "face_bounding_boxes"
    for given, code in (
        ([(name, "", JSON, good), (name, "", JSON, good)], 11048),
        ([(name, "", "text/plain", good)], 12041),
        ([(name, "", JSON, as_json([{"filename": "a.jpg", name: [box, box]}]))], 11050),
        ([(name, "", JSON, as_json([{"filename": "b.jpg", name: [box]}]))], 11049),
        ([(name, "", JSON, as_json([{name: [box]}]))], 12003),
        ([(name, "", JSON, as_json([{"filename": "a.jpg", name: [{**box, "width": 0}]}]))], 12022),
        ([(name, "", JSON, as_json([{"filename": "a.jpg", name: [{**box, "z": 0}]}]))], 12022),
        ([(name, "", JSON, as_json({}))], 12022),
        ([(name, "", JSON, b"{")], 12002),
    ):
        answer = detect(world, *parts(image, *given))
        assert (answer.status, answer.code) == (400, code), (given, answer.data)
    alone = detect(world, *parts((name, "", JSON, good)))
    assert (alone.status, alone.code) == (400, 11049)


def test_multipart_that_is_cut_off_is_refused(world: World) -> None:
    body, kind = parts(("image", "a.jpg", "image/jpeg", world.jpeg))
    for data, content_type in ((body[:-20], kind), (body, "multipart/form-data"), (b"x", kind)):
        answer = detect(world, data, content_type)
        assert (answer.status, answer.code) == (400, 11049)
    empty = detect(world, *parts(("image", "a.jpg", "image/jpeg", b"")))
    assert (empty.status, empty.code) == (400, 11049)


def test_json_names_samples_and_carries_images(world: World) -> None:
    (sample,) = entries(detect(world, as_json({"samples": [world.sample_id]}), JSON))
    (face,) = faces(sample)
    assert face["detection"]["rect"] is None
    assert face["sample_id"] != world.sample_id
    given = [
        {"image": text(world.jpeg), "filename": "mine"},
        {"sample_id": world.sample_id},
        {"image": text(b"broken")},
        {"sample_id": unknown()},
    ]
    found = entries(detect(world, as_json({"images": given}), JSON))
    assert [one["filename"] for one in found] == ["mine", "raw_image_1", "raw_image_2", "raw_image_3"]
    assert [len(faces(one)) for one in found[:2]] == [1, 1]
    failed(found[2], 18002)
    failed(found[3], 13003)


def test_json_names_addresses_and_private_ones_are_not_fetched(world: World) -> None:
    urls = [f"{world.service.rest}/6/samples/faces/{world.sample_id}", "ftp://example.com/a.jpg", "http://[::1]/a"]
    found = entries(detect(world, as_json({"urls": urls}), JSON))
    assert [one["url"] for one in found] == urls
    for entry in found:
        failed(entry, 11027)


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"urls": []}, {"samples": [], "urls": []}, {"samples": ["nobody"]}, {"samples": [5]}, {"urls": [""]},
        {"images": [{}]}, {"images": [{"image": "AA==", "url": "http://a"}]}, {"images": [{"image": 5}]},
        {"images": [{"image": "AA==", "x": 1}]}, {"pictures": []}, {"samples": UUID},
    ],
    ids=str,
)  # fmt: skip
def test_json_of_another_shape_is_refused(world: World, body: object) -> None:
    answer = detect(world, as_json(body), JSON)
    assert (answer.status, answer.code) == (400, 12022)


def test_json_that_cannot_be_read_is_refused(world: World) -> None:
    broken = detect(world, b"{", JSON)
    assert (broken.status, broken.code) == (400, 12002)
    base64_text = detect(world, as_json({"images": [{"image": "***"}]}), JSON)
    assert (base64_text.status, base64_text.code) == (400, 18001)


def test_multiface_policies(world: World) -> None:
    two = encoded(world.pictures.two)
    (every,) = entries(detect(world, two, multiface_policy=1))
    assert len(faces(every)) == 2
    (best,) = entries(detect(world, two, multiface_policy=2))
    largest = max(rects(every), key=lambda rect: rect["width"] * rect["height"])
    assert rects(best) == [largest]
    (refused,) = entries(detect(world, two, multiface_policy=0))
    failed(refused, 11038)
    (single,) = entries(detect(world, world.jpeg, multiface_policy=0))
    assert len(faces(single)) == 1


def test_a_warp_is_taken_for_a_sample_as_it_is(world: World) -> None:
    (entry,) = entries(detect(world, world.sample, warped_image=1))
    (face,) = faces(entry)
    stored = world.get(face["url"]).data
    decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in (world.sample, stored)]
    assert decoded[0] is not None
    assert decoded[1] is not None
    assert cv2.PSNR(decoded[0], decoded[1]) > 35
    (wrong,) = entries(detect(world, world.jpeg, warped_image=1))
    failed(wrong, 11030)


@pytest.mark.parametrize("mirrored", [False, True])
def test_angles_beyond_their_thresholds_are_left_out_and_told(world: World, mirrored: bool) -> None:
    image = np.asarray(np.flip(world.pictures.one, 1), np.uint8) if mirrored else world.pictures.one
    data = encoded(image)
    (plain,) = entries(detect(world, data, estimate_head_pose=1))
    (face,) = faces(plain)
    pose = face["detection"]["attributes"]["head_pose"]
    assert pose.keys() == {"pitch", "roll", "yaw"}
    for name, angle in pose.items():
        bound = f"{name}_threshold"
        (unlimited,) = entries(detect(world, data, **{bound: 180}))
        assert len(faces(unlimited)) == 1
        (kept,) = entries(detect(world, data, **{bound: math.ceil(abs(angle))}))
        assert len(faces(kept)) == 1
        for limit in {0, math.ceil(abs(angle)) - 1}:
            (none,) = entries(detect(world, data, **{bound: limit}))
            assert faces(none) == []
            (left_out,) = none["detections"]["filtered_detections"]["face_detections"]
            assert left_out["detection"]["rect"] == face["detection"]["rect"]
            (reason,) = left_out["filter_reasons"]
            assert (reason["type"], reason["threshold"]) == (bound, limit)
            assert reason["value"] == pytest.approx(angle, abs=1e-6)


def tagged(image: np.ndarray[Any, Any], orientation: int) -> bytes:
    """A JPEG with an EXIF orientation and the name of a maker."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = orientation, "A camera"
    out = io.BytesIO()
    Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def test_the_orientation_of_exif_is_followed_unless_told_otherwise(world: World) -> None:
    upright = world.pictures.one
    lying = tagged(np.rot90(upright, 1), 6)
    (straight,), (turned,) = entries(detect(world, tagged(upright, 1))), entries(detect(world, lying))
    for name in ("x", "y", "width", "height"):
        assert abs(rects(straight)[0][name] - rects(turned)[0][name]) <= 4
    (ignored,) = entries(detect(world, lying, use_exif_info=0))
    assert rects(ignored) != rects(turned)


def test_exif_is_extracted_where_it_is_asked_for(world: World) -> None:
    data = tagged(world.pictures.one, 1)
    (entry,) = entries(detect(world, data, extract_exif=1))
    assert entry["exif"]["Make"] == "A camera"
    (plain,) = entries(detect(world, data))
    assert "exif" not in plain
    (png,) = entries(detect(world, encoded(world.pictures.one, "png"), "image/png", extract_exif=1))
    assert not png.get("exif")


def test_what_is_estimated_is_what_was_asked_for(world: World) -> None:
    (bare,) = entries(detect(world, world.jpeg))
    (face,) = faces(bare)
    assert face["detection"]["attributes"] == {}
    assert "quality" not in face["detection"]
    (full,) = entries(detect(world, world.jpeg, estimate_head_pose=1, estimate_quality=1))
    detection = faces(full)[0]["detection"]
    assert detection["attributes"].keys() == {"head_pose"}
    assert all(0 <= value <= 1 for value in detection["quality"].values())


def test_samples_of_a_detection_are_stored_as_warps(world: World) -> None:
    (entry,) = entries(detect(world, world.jpeg))
    (face,) = faces(entry)
    assert face["url"] == f"/6/samples/faces/{face['sample_id']}"
    stored = world.get(face["url"])
    with Image.open(io.BytesIO(stored.data)) as image:
        assert (stored.headers["content-type"], image.format, image.size) == ("image/jpeg", "JPEG", (250, 250))


@pytest.mark.operation("save_sample")
@pytest.mark.parametrize("form", FORMS)
def test_a_sample_may_be_saved_in_every_form_and_comes_back_as_jpeg(world: World, form: str) -> None:
    array = cv2.imdecode(np.frombuffer(world.sample, np.uint8), cv2.IMREAD_COLOR)
    assert array is not None
    data = encoded(np.asarray(array, np.uint8), FORMS[form])
    path = {"samples_type": "faces"}
    made = world.rest.call(SAVE, Call(path, data=data, content_type=f"image/{form}", account=world.owner))
    assert made.status == 201, made.data
    assert world.get(made.text("url")).data.startswith(b"\xff\xd8\xff")


@pytest.mark.operation("save_sample")
def test_what_is_no_sample_is_refused(world: World) -> None:
    def save(kind: str, data: bytes, content_type: str = "image/jpeg") -> Answer:
        path = {"samples_type": kind}
        return world.rest.call(SAVE, Call(path, data=data, content_type=content_type, account=world.owner))

    body, multipart = parts(("image", "a.jpg", "image/jpeg", world.sample))
    for kind, data, content_type, code in (
        ("faces", world.jpeg, "image/jpeg", 11030), ("bodies", world.sample, "image/jpeg", 11030),
        ("faces", b"no image", "image/jpeg", 18002), ("faces", b"", "image/jpeg", 12030),
        ("faces", world.sample, "image/gif", 11028), ("faces", world.sample, "text/plain", 11028),
        ("faces", base64.b64encode(world.sample), "image/x-jpeg-base64", 11028), ("faces", body, multipart, 11028),
    ):  # fmt: skip
        answer = save(kind, data, content_type)
        assert (answer.status, answer.code) == (400, code), (content_type, answer.data)


def test_only_an_account_s_own_samples_can_be_looked_at(world: World) -> None:
    recipe = RECIPES["detect_faces"].call(world)
    call = Call(body={"samples": [world.sample_id]}, account=world.other)
    assert recipe.account is world.owner
    (entry,) = entries(world.rest.call(DETECT, call))
    failed(entry, 13003)
