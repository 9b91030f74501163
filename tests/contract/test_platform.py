"""What the service tells of itself: its settings without its secrets, and what it can do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.contract import contract
from tests.contract.rest import Answer, Call, Rest
from tests.contract.world import World
from tests.documents import read_yaml

CONTRACT = contract()
CONFIG = CONTRACT.operations["get_config"]
SWITCHES = {
    "head_pose": "estimate_head_pose", "quality": "estimate_quality", "landmarks68": "detect_landmarks68",
    "eyes_attributes": "estimate_eyes_attributes", "mouth_attributes": "estimate_mouth_attributes",
    "emotions": "estimate_emotions", "mask": "estimate_mask", "gaze": "estimate_gaze",
    "face_quality": "estimate_face_quality",
}  # fmt: skip
"""Estimations that the detector makes, and the switches that ask for them."""

PARTS = {
    "events": "/6/events", "tasks": "/6/tasks", "handlers": "/6/handlers", "lambda": "/6/lambdas",
    "image_store": "/6/images", "index_module": "/6/matcher/faces",
}  # fmt: skip
"""Parts of the service, and an address that each of them has."""


def config(rest: Rest, accept: str) -> Answer:
    return rest.call(CONFIG, Call(headers={"accept": accept}))


@pytest.mark.operation("get_config")
def test_settings_as_text_are_the_settings_as_json(rest: Rest) -> None:
    settings, text = config(rest, "application/json"), config(rest, "text/plain")
    assert (settings.headers["content-type"], text.headers["content-type"]) == (
        "application/json",
        "text/plain; charset=utf-8",
    )
    groups: Mapping[str, Any] = settings.members
    assert groups.keys() >= {"REST", "GRPC", "DATABASE", "ENGINE", "ACCESS"}
    lines = dict(line.split(" = ", 1) for line in text.data.decode().splitlines())
    named = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
    assert {name for name, value in named.items() if not isinstance(value, dict)} <= lines.keys()
    for name, value in named.items():
        if isinstance(value, int | float):
            assert json.loads(lines[name]) == value
    assert groups["REST"]["port"] == rest.service.rest_port


@pytest.mark.operation("get_config")
@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
def test_settings_tell_no_secret(rest: Rest, accept: str) -> None:
    told = config(rest, accept).data.decode()
    admin = rest.service.admin
    for secret in (admin.password, admin.login, str(rest.service.data), "postgresql://", "unix://"):
        assert secret not in told


@pytest.mark.operation("get_config")
def test_another_form_of_the_settings_is_not_acceptable(rest: Rest) -> None:
    answer = config(rest, "text/html")
    assert (answer.status, answer.code) == (406, 12023)


@pytest.mark.operation("get_features")
def test_the_features_are_what_the_detector_really_does(world: World) -> None:
    told: Any = world.rest.call(CONTRACT.operations["get_features"], Call()).members
    assert told["license"] is True
    for name, switch in SWITCHES.items():
        call = Call(query=((switch, "1"),), data=world.jpeg, content_type="image/jpeg", account=world.owner)
        answer = world.rest.call(CONTRACT.operations["detect_faces"], call)
        assert (answer.status == 201) == told["estimations"][name], name
        assert answer.status == 201 or answer.code == 11055
    assert any(told["estimations"].values())


@pytest.mark.operation("get_features")
def test_the_features_are_what_the_other_operations_on_images_really_do(world: World) -> None:
    told: Any = world.rest.call(CONTRACT.operations["get_features"], Call()).members["estimations"]
    for name, path in (
        ("iso", "/6/iso"),
        ("liveness", "/6/liveness"),
        ("people_count", "/6/sdk?estimate_people_count=1"),
        ("glasses", "/6/sdk?detect_face=1&estimate_glasses=1"),
        ("basic_attributes", "/6/sdk?detect_face=1&estimate_basic_attributes=1"),
        ("body_attributes", "/6/sdk?image_type=2&estimate_body_descriptor=0&estimate_upper_body=1"),
    ):
        answer = world.rest.send("POST", path, world.jpeg, {"content-type": "image/jpeg"}, world.owner)
        assert (answer.status == 200) == told[name], (name, answer.data)
        assert answer.status == 200 or answer.code in {11054, 11055}


@pytest.mark.operation("get_features")
def test_parts_that_are_there_are_served_and_those_that_are_not_are_not(world: World) -> None:
    told: Any = world.rest.call(CONTRACT.operations["get_features"], Call()).members["components"]
    for name, path in PARTS.items():
        assert (world.rest.send("OPTIONS", path).status == 200) == told[name], name


@pytest.mark.operation("get_openapi")
def test_the_description_is_told_in_the_form_that_is_asked_for(rest: Rest) -> None:
    operation = CONTRACT.operations["get_openapi"]
    for accept, content_type in (
        ("application/x-yaml", "application/x-yaml"), ("text/html", "text/html; charset=utf-8"),
        ("text/html;q=0.5, application/x-yaml;q=0.4", "text/html; charset=utf-8"), ("*/*", "application/x-yaml"),
    ):  # fmt: skip
        answer = rest.call(operation, Call(headers={"accept": accept}))
        assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    refused = rest.call(operation, Call(headers={"accept": "application/json"}))
    assert (refused.status, refused.code) == (406, 12023)
    assert 12023 in operation.codes(406)


@pytest.mark.operation("get_openapi")
def test_the_description_names_every_operation_of_the_contract(rest: Rest) -> None:
    operation = CONTRACT.operations["get_openapi"]
    described = read_yaml(rest.call(operation, Call(headers={"accept": "application/x-yaml"})).data)["paths"]
    told = {(verb.upper(), shape(path)) for path, verbs in described.items() for verb in verbs}
    assert {(one.method, shape(one.path)) for one in CONTRACT} <= told


def shape(path: str) -> str:
    """A path without the names of its variables."""
    return re.sub(r"\{.*?\}", "{}", path)


@pytest.mark.operation("get_development_manual")
def test_the_manual_is_where_the_redirect_leads_to(rest: Rest) -> None:
    answer = rest.call(CONTRACT.operations["get_development_manual"], Call())
    assert (answer.status, answer.headers["location"]) == (302, "/docs/dev/index.html")
    page = rest.send("GET", answer.headers["location"])
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<html" in page.data
    nothing = rest.send("GET", "/docs/dev/nobody.html")
    assert (nothing.status, nothing.code) == (404, 12013)
