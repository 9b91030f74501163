"""The tree of errors, held to the protos and to the public catalogue of LUNA's codes."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from luna.v6 import errors_pb2

from server import errors
from server.errors import BadBody, GrpcCode, LunaError, Violation, catalogue

SHARED = Path(__file__).resolve().parent.parent.parent.parent / "shared"
PREFIX = "ERROR_REASON_"

EXCEPTIONS = {
    "RequestTooLarge": "the catalogue has one code for every malformed HTTP request; too large a body is 413 in HTTP",
    "NotFound": "12013 is the code of an unknown path; a missing object without a code of its own has its desc",
    "Busy": "LUNA has no code for a full queue: code 1 with the status that tells a client to try again",
}
"""Errors that differ from the catalogue on purpose."""

HTTP_OF_GRPC = {
    GrpcCode.INVALID_ARGUMENT: {400, 406},
    GrpcCode.DEADLINE_EXCEEDED: {504},
    GrpcCode.NOT_FOUND: {404},
    GrpcCode.ALREADY_EXISTS: {409},
    GrpcCode.PERMISSION_DENIED: {403},
    GrpcCode.RESOURCE_EXHAUSTED: {413, 429},
    GrpcCode.FAILED_PRECONDITION: {403},
    GrpcCode.UNIMPLEMENTED: {405},
    GrpcCode.INTERNAL: {500},
    GrpcCode.UNAVAILABLE: {502},
    GrpcCode.UNAUTHENTICATED: {401},
}
"""What each gRPC code is in HTTP (google/rpc/code.proto), with the statuses that LUNA has instead."""

ALL = list(catalogue())
BY_NAME = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def public() -> dict[int, list[dict[str, Any]]]:
    """The public catalogue by code."""
    file = SHARED / "api" / "errors.yaml"
    if not file.is_file():
        pytest.skip("the shared catalogue of codes is not there")
    found: dict[int, list[dict[str, Any]]] = {}
    for one in yaml.safe_load(file.read_text())["errors"]:
        found.setdefault(one["code"], []).append(one)
    return found


def test_the_protos_name_every_error_and_no_other() -> None:
    named = {name.removeprefix(PREFIX) for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118 - an enum, not a dict
    assert named - {"UNSPECIFIED"} == {kind.reason for kind in ALL} - {LunaError.reason}


def test_reasons_are_class_names_and_each_is_there_once() -> None:
    reasons = [kind.reason for kind in ALL]
    assert len(set(reasons)) == len(reasons)
    for kind in ALL:
        assert kind.reason.replace("_", "").lower() == kind.__name__.lower()
        assert re.fullmatch(r"[A-Z0-9]+(_[A-Z0-9]+)*", kind.reason)


@BY_NAME
def test_code_desc_and_status_are_those_of_the_public_catalogue(
    kind: type[LunaError], public: dict[int, list[dict[str, Any]]]
) -> None:
    entries = public.get(kind.code)
    assert entries, f"{kind.code} is not in the catalogue"
    agrees = any((one["desc"], one["http_status"]) == (kind.desc, kind.status) for one in entries)
    assert agrees is (kind.__name__ not in EXCEPTIONS), entries


def test_only_errors_that_are_there_are_excepted() -> None:
    assert set(EXCEPTIONS) <= {kind.__name__ for kind in ALL}


@BY_NAME
def test_the_http_status_is_the_one_of_the_grpc_code(kind: type[LunaError]) -> None:
    assert kind.status in HTTP_OF_GRPC[kind.grpc]


@BY_NAME
def test_a_message_is_made_of_its_template_and_nothing_is_left_open(kind: type[LunaError]) -> None:
    names = [name for _, name, _, _ in string.Formatter().parse(kind.template) if name]
    error = kind(violations=(), **dict.fromkeys(names, "<value>"))
    assert error.detail == str(error)
    assert error.detail.count("<value>") == len(names)
    assert "{" not in error.detail
    assert error.body("http://host") == {
        "error_code": kind.code,
        "desc": kind.desc,
        "detail": error.detail,
        "link": f"http://host/docs/errors#{kind.code}",
    }
    for name in names:
        with pytest.raises(KeyError):
            kind(violations=(), **dict.fromkeys(set(names) - {name}, "x"))


def test_values_that_look_like_templates_are_not_filled_in() -> None:
    error = BadBody(field="{message.__class__}", message="{field!r:>100}", violations=(Violation("a", "{b}"),))
    assert "{message.__class__}" in error.detail
    assert "{field!r:>100}" in error.detail


def test_the_tree_in_the_docstring_names_only_errors_that_are_there() -> None:
    names = set(re.findall(r"\b[A-Z][A-Za-z]+(?=[,. ])", errors.__doc__ or ""))
    drawn = {name for name in names if hasattr(errors, name)}
    assert {"InvalidInput", "NotFound", "Conflict", "Busy", "Internal", "FeatureOff"} <= drawn
    assert {"BadQuery", "NotAnImage", "WrongDescriptorLength"} <= drawn
