"""The tree of errors, held to the protos and to the public catalogue of LUNA's codes."""

from __future__ import annotations

import pickle
import re
import string
from pathlib import Path
from typing import Any

import pytest
from luna.v6 import errors_pb2

from server import errors
from server.errors import GRPC_OF_HTTP, BadBody, GrpcCode, LunaError, Violation, catalogue, reference
from tests.documents import read_yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / "shared"
PREFIX = "ERROR_REASON_"

EXCEPTIONS = {
    "RequestTooLarge": "the catalogue has one code for every malformed HTTP request; too large a body is 413 in HTTP",
    "NotFound": "12013 is the code of an unknown path; a missing object without a code of its own has its desc",
    "ScheduleNotFound": "as NotFound: the code of a missing schedule is not known",
    "Busy": "LUNA has no code for a full queue: code 1 with the status that tells a client to try again",
    "MissingContentType": "the code of content types; a body without one is a bad request, and 406 is about answers",
}
"""Errors that differ from the catalogue on purpose."""

ELSEWHERE = {
    11058: {"desc": "Object not found", "http_status": 404},
    **{code: {"desc": "Bad/incomplete input data", "http_status": 400} for code in (28010, 28015, 28016, 28022, 42005)},
    42001: {"desc": "Object not found", "http_status": 404},
    42003: {"desc": "Unique constraint error", "http_status": 409},
    **{code: {"desc": "Internal server error", "http_status": 500} for code in (42004, 42006)},
    42012: {"desc": "Object not found", "http_status": 410},
}
"""Codes that the catalogue lacks and the workflows name, with the desc and the status of their like."""

NO_ERRORS = {0: "success", **dict.fromkeys((10015, 10016, 10017, 10018), "the catalogue has not seen their texts")}
"""Codes of the catalogue without an error, and why."""

OFF = {
    "FeatureOff",
    "NoMatcher",
    "FunctionOff",
    "EventsOff",
    "TasksOff",
    "SenderOff",
    "LivenessOff",
    "ImageStoreOff",
} | {"HandlersOff", "LambdaOff", "MatcherOff", "RemoteSdkOff", "AccountsOff", "NoIsolation"}
"""Errors of parts that are switched off or not installed."""

HTTP_OF_GRPC = {
    GrpcCode.INVALID_ARGUMENT: {400, 406},
    GrpcCode.DEADLINE_EXCEEDED: {504},
    GrpcCode.NOT_FOUND: {404},
    GrpcCode.ALREADY_EXISTS: {409},
    GrpcCode.PERMISSION_DENIED: {403},
    GrpcCode.RESOURCE_EXHAUSTED: {413, 429},
    GrpcCode.FAILED_PRECONDITION: {403, 410, 422},
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
    for one in read_yaml(file.read_text())["errors"]:
        found.setdefault(one["code"], []).append(one)
    for code, one in ELSEWHERE.items():
        assert code not in found
        found[code] = [{"code": code, **one}]
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


def test_every_code_of_the_public_catalogue_with_a_known_text_has_an_error(
    public: dict[int, list[dict[str, Any]]],
) -> None:
    ours = {(kind.code, kind.desc, kind.status) for kind in ALL}
    theirs = {(one["code"], one["desc"], one["http_status"]) for entries in public.values() for one in entries}
    assert {code for code, _, _ in theirs - ours} == set(NO_ERRORS)
    assert not {kind.code for kind in ALL} & set(NO_ERRORS)


def test_codes_whose_text_nobody_has_seen_are_not_invented() -> None:
    file = SHARED / "api" / "errors.yaml"
    if not file.is_file():
        pytest.skip("the shared catalogue of codes is not there")
    unseen = set(read_yaml(file.read_text())["known_but_text_not_seen"]["codes"])
    assert unseen
    assert not unseen & {kind.code for kind in ALL}


def test_only_errors_that_are_there_are_excepted() -> None:
    assert set(EXCEPTIONS) <= {kind.__name__ for kind in ALL}


@BY_NAME
def test_the_http_status_is_the_one_of_the_grpc_code(kind: type[LunaError]) -> None:
    assert kind.status in HTTP_OF_GRPC[kind.grpc]


def test_of_all_403_those_of_parts_that_are_off_are_failed_preconditions() -> None:
    assert {kind.__name__ for kind in ALL if (kind.status, kind.grpc) == (403, GrpcCode.FAILED_PRECONDITION)} == OFF
    assert {kind.status for kind in ALL if kind.grpc is GrpcCode.PERMISSION_DENIED} == {403}
    for kind in ALL:
        if kind.status != 403:
            assert kind.grpc is GRPC_OF_HTTP[kind.status]


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
        "link": f"http://host/docs/dev/errors.html#{kind.code}",
    }
    for name in names:
        with pytest.raises(KeyError):
            kind(violations=(), **dict.fromkeys(set(names) - {name}, "x"))


def test_values_that_look_like_templates_are_not_filled_in() -> None:
    error = BadBody(field="{message.__class__}", message="{field!r:>100}", violations=(Violation("a", "{b}"),))
    assert "{message.__class__}" in error.detail
    assert "{field!r:>100}" in error.detail


def test_the_protos_say_message_code_and_status_of_every_reason() -> None:
    text = (ROOT / "protos" / "luna" / "v6" / "errors.proto").read_text()
    said = {reason: comment for comment, reason in re.findall(r"// (.*)\n +ERROR_REASON_(\w+) = \d+;", text)}
    assert said == {
        kind.reason: f"{kind.template}. LUNA code {kind.code}, HTTP {kind.status}."
        for kind in ALL
        if kind is not LunaError
    }


def test_every_error_is_exported_by_the_package() -> None:
    for kind in ALL:
        assert getattr(errors, kind.__name__) is kind


def test_the_tree_in_the_docstring_draws_every_error_under_its_family() -> None:
    drawing = (errors.__doc__ or "").split("\n\n")[1]
    path: list[str] = []
    drawn: dict[str, list[str]] = {}
    for line in drawing.splitlines():
        names = re.findall(r"\b(?:[A-Z][a-z]\w+[a-z0-9]|LunaError)\b", line)
        if branch := re.search(r"[├└]── ([\w ,.]+?)  ", line + "  "):
            del path[(line.index(branch[1]) - 8) // 4 :]
            path.append(branch[1])
        for name in names:
            assert name not in drawn, f"{name} is drawn twice"
            drawn[name] = [one for one in path if one != name and hasattr(errors, one) and one[0].isupper()]
    assert set(drawn) == {kind.__name__ for kind in ALL}
    for name, families in drawn.items():
        kind: type[LunaError] = getattr(errors, name)
        above = [one.__name__ for one in kind.__mro__ if one.__name__ in drawn and one not in {kind, LunaError}]
        assert above[::-1] == families, name


def test_the_page_of_errors_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert page.endswith("\n\n" + reference())


def test_the_page_has_each_code_once_as_an_anchor_and_each_reason_once() -> None:
    page = reference()
    anchors = [int(code) for code in re.findall(r'<a id="(\d+)"></a>', page)]
    assert anchors == sorted({kind.code for kind in ALL})
    rows = [line.split(" | ") for line in page.splitlines() if "`" in line]
    assert sorted(row[3] for row in rows) == sorted(f"`{kind.reason}`" for kind in ALL if kind is not LunaError)
    by_reason = {f"`{kind.reason}`": kind for kind in ALL}
    for row in rows:
        kind = by_reason[row[3]]
        assert row[0].endswith(str(kind.code))
        assert row[1:3] + row[4:] == [str(kind.status), kind.grpc.name, kind.desc, f"{kind.template} |"]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_an_error_travels_between_processes_with_all_that_it_says(error: type[LunaError]) -> None:
    names = [name for _, name, _, _ in string.Formatter().parse(error.template) if name]
    sent = error(violations=(Violation("a.b", "is wrong"),), **{name: f"some {name}" for name in names}, more=1)
    sent.add_note("for a reader of logs")
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is error
    assert vars(received) == vars(sent)
    assert (received.args, str(received), received.body()) == (sent.args, str(sent), sent.body())
