"""Methods of paths: HEAD, OPTIONS, those that a path does not serve, and paths that are not known."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.operations import Operation
from tests.contract.rest import Rest
from tests.contract.world import EVENT, World

CONTRACT = contract()
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
WITH_PAGES = {"/docs/dev"}
"""Paths below which every path is a page."""


def _owner(path: str) -> str:
    """The operation that the table counts a path under."""
    return next(one.id for one in CONTRACT if one.path == path)


paths = pytest.mark.parametrize("path", [pytest.param(path, id=f"{_owner(path)}-path") for path in CONTRACT.paths])


def filled(path: str) -> str:
    """A path with values for its variables, which need not be there."""
    return re.sub(r"\{\w+\}", EVENT, path.replace("{samples_type}", "faces"))


@paths
def test_options_are_told_to_everybody(rest: Rest, path: str) -> None:
    answer = rest.send("OPTIONS", filled(path), headers={"luna-request-id": "mine"})
    assert answer.headers["luna-request-id"] == "mine"
    assert (answer.status, answer.json) == (200, {})
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.headers["allow"].split(", ")) == CONTRACT.verbs(path) | {"OPTIONS"}


@paths
def test_a_method_that_a_path_does_not_serve_is_405_with_those_that_it_does(rest: Rest, path: str) -> None:
    for verb in VERBS:
        if verb in CONTRACT.verbs(path):
            continue
        for target in (filled(path), f"{filled(path)}?x=1"):
            answer = rest.send(verb, target, b"{}" if verb == "POST" else b"")
            assert answer.status == 405, (verb, answer.data)
            assert set(answer.headers["allow"].split(", ")) == CONTRACT.verbs(path) | {"OPTIONS"}
            assert answer.data == b"" if verb == "HEAD" else answer.code == 12021


@paths
def test_what_lies_beyond_a_path_is_not_known(rest: Rest, path: str) -> None:
    below = "" if path in WITH_PAGES else filled(path)
    for target in (f"{below}/nothing/here", f"/x{filled(path)}", f"/7{filled(path)}"):
        for verb in (*VERBS, "OPTIONS"):
            answer = rest.send(verb, target)
            assert answer.status == 404, (verb, target)
            assert answer.data == b"" if verb == "HEAD" else answer.code == 12013


@pytest.mark.parametrize(
    "operation", [pytest.param(one, id=f"{one.id}-head") for one in CONTRACT if one.method == "HEAD"]
)
def test_head_is_get_without_its_body(world: World, operation: Operation) -> None:
    get = next(one for one in CONTRACT if one.path == operation.path and one.method == "GET")
    call = RECIPES[operation.id].call(world)
    nothing = replace(call, path={**call.path, operation.ids[-1]: EVENT})
    malformed = replace(call, path={**call.path, operation.ids[-1]: "x"})
    for one in (call, nothing, malformed, replace(call, account=None)):
        head, full = world.rest.call(operation, one), world.rest.call(get, one)
        assert (head.status, head.data) == (full.status, b"")
        for name in ("content-type", "content-length"):
            assert head.headers[name] == full.headers[name]


@contextmanager
def connection(rest: Rest) -> Iterator[http.client.HTTPConnection]:
    """One connection, kept for all that is sent."""
    made = http.client.HTTPConnection("127.0.0.1", rest.service.rest_port, timeout=30)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.operation("head_face")
def test_a_connection_stays_usable_after_head(world: World, rest: Rest) -> None:
    login, password = world.owner.auth
    from base64 import b64encode

    credentials = {"authorization": "Basic " + b64encode(f"{login}:{password}".encode()).decode()}
    with connection(rest) as line:
        line.connect()
        socket = line.sock
        for path in (f"/6/faces/{world.face_id}", f"/6/samples/faces/{world.sample_id}", f"/6/faces/{EVENT}", "/no"):
            line.request("HEAD", path, headers=credentials)
            head = line.getresponse()
            assert head.read() == b""
            line.request("GET", path, headers=credentials)
            full = line.getresponse()
            body = full.read()
            assert (head.status, head.headers["content-length"]) == (full.status, str(len(body)))
            assert line.sock is socket
