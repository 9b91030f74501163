"""What a method asks of a token, read from the protos; a permission may depend on a field of the request."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from luna import options_pb2
from luna.v6 import events_pb2, faces_pb2, samples_pb2

from server.application import SERVICES
from server.domain.access import Principal, TokenGrant
from server.domain.accounts import AccountType
from server.domain.permissions import ACTIONS, RESOURCES, EmitEvents, Permissions
from server.errors import (
    BadBody,
    EventsNotAllowed,
    Forbidden,
    HandlerNotAllowed,
    MissingField,
    MissingPermission,
    MissingResource,
)
from server.rpc.authorization import permit
from server.rpc.methods import Method
from server.rpc.validation import validate

METHODS = [method for service in SERVICES.values() for method in service.methods]
FACES, BODIES = samples_pb2.SAMPLE_TYPE_FACES, samples_pb2.SAMPLE_TYPE_BODIES


async def nobody(request: object, context: object) -> Message:
    raise AssertionError


def access_of(name: str) -> options_pb2.Access:
    """The access rule of a method of `luna.v6.Samples`."""
    access = Method(SERVICES["Samples"].methods_by_name[name], nobody).access
    assert access is not None
    return access


def holding(*grants: tuple[str, str], resources: frozenset[str] = frozenset()) -> Principal:
    """A caller whose token allows just this."""
    grant = TokenGrant(uuid4(), Permissions(frozenset(grants), resources), reads_all=True)
    return Principal(uuid4(), AccountType.ADMIN, grant)


@pytest.mark.parametrize(
    ("method", "kind", "action"),
    [
        ("CreateSample", samples_pb2.CreateSampleRequest, "creation"),
        ("GetSample", samples_pb2.GetSampleRequest, "view"),
        ("DeleteSample", samples_pb2.DeleteSampleRequest, "deletion"),
    ],
)
def test_samples_of_faces_and_of_bodies_are_permitted_apart(method: str, kind: type[Message], action: str) -> None:
    access = access_of(method)
    faces, bodies = holding(("face_sample", action)), holding(("body_sample", action))
    of_faces, of_bodies, absent = kind(samples_type=FACES), kind(samples_type=BODIES), kind()
    for request in (of_faces, absent):
        permit(faces, access, request)
        with pytest.raises(MissingPermission, match=f"'{action}' for 'face_sample'"):
            permit(bodies, access, request)
    permit(bodies, access, of_bodies)
    with pytest.raises(MissingPermission, match=f"'{action}' for 'body_sample'"):
        permit(faces, access, of_bodies)


@pytest.mark.parametrize("number", [3, 99, -1, 2**31 - 1])
def test_a_type_that_is_not_known_needs_a_permission_too(number: int) -> None:
    """It is refused when the request is validated; until then nobody gains by it."""
    with pytest.raises(MissingPermission):
        permit(holding(), access_of("GetSample"), samples_pb2.GetSampleRequest(samples_type=number))


def test_every_permission_without_a_condition_is_needed() -> None:
    access = options_pb2.Access(
        permissions=[
            options_pb2.Permission(object="face", action="view"),
            options_pb2.Permission(object="list", action="view"),
        ]
    )
    both = (("face", "view"), ("list", "view"))
    permit(holding(*both), access, faces_pb2.GetFaceRequest())
    for one in both:
        with pytest.raises(MissingPermission):
            permit(holding(one), access, faces_pb2.GetFaceRequest())


def test_a_resource_is_needed_beside_the_permissions() -> None:
    access = options_pb2.Access(resource="sdk", permissions=[options_pb2.Permission(object="face", action="view")])
    permit(holding(("face", "view"), resources=frozenset({"sdk"})), access, faces_pb2.GetFaceRequest())
    with pytest.raises(MissingResource):
        permit(holding(("face", "view")), access, faces_pb2.GetFaceRequest())
    with pytest.raises(MissingPermission):
        permit(holding(resources=frozenset({"sdk"})), access, faces_pb2.GetFaceRequest())


HANDLER, OTHER = UUID(int=5), UUID(int=6)
EMIT = options_pb2.Access(changes=True, emit_events=True)


def emitting(emit: EmitEvents) -> Principal:
    """A caller whose token has nothing but its emit_events."""
    return Principal(uuid4(), AccountType.USER, TokenGrant(uuid4(), Permissions(emit_events=emit), reads_all=False))


@pytest.mark.parametrize(
    ("emit", "error"),
    [
        (EmitEvents(allowed=True), None),
        (EmitEvents(allowed=True, white_list=frozenset({HANDLER, OTHER})), None),
        (EmitEvents(allowed=True, black_list=frozenset({OTHER})), None),
        (EmitEvents(allowed=True, white_list=frozenset({OTHER})), HandlerNotAllowed),
        (EmitEvents(allowed=True, black_list=frozenset({HANDLER})), HandlerNotAllowed),
        (EmitEvents(), EventsNotAllowed),
        (EmitEvents(white_list=frozenset({HANDLER})), EventsNotAllowed),
        (EmitEvents(black_list=frozenset({OTHER})), EventsNotAllowed),
    ],
)
def test_a_token_makes_events_with_the_handlers_that_it_names(emit: EmitEvents, error: type[Forbidden] | None) -> None:
    request = events_pb2.GenerateEventsRequest(handler_id=str(HANDLER))
    assert emit.permits(HANDLER) is (error is None)
    if error is None:
        permit(emitting(emit), EMIT, request)
        return
    with pytest.raises(error) as caught:
        permit(emitting(emit), EMIT, request)
    assert caught.value.code == {HandlerNotAllowed: 11067, EventsNotAllowed: 11068}[error]


@pytest.mark.parametrize("text", ["", "x", str(UUID(int=0xABC)).upper()])
def test_what_is_no_id_of_a_handler_is_left_to_validation(text: str) -> None:
    request = events_pb2.GenerateEventsRequest(handler_id=text)
    permit(emitting(EmitEvents(allowed=True, white_list=frozenset({HANDLER}))), EMIT, request)
    with pytest.raises(EventsNotAllowed):
        permit(emitting(EmitEvents()), EMIT, request)
    with pytest.raises((BadBody, MissingField)):
        validate(request, None)


def test_an_account_by_itself_makes_events_with_every_handler() -> None:
    request = events_pb2.GenerateEventsRequest(handler_id=str(HANDLER))
    permit(Principal(uuid4(), AccountType.USER), EMIT, request)


@pytest.mark.parametrize("method", ["GenerateEvents", "GenerateStreamEvents"])
def test_what_makes_events_asks_for_emit_events(method: str) -> None:
    (service,) = [one for one in events_pb2.DESCRIPTOR.services_by_name.values() if method in one.methods_by_name]
    access = Method(service.methods_by_name[method], nobody).access
    assert access is not None
    assert access.emit_events


@pytest.mark.parametrize("descriptor", METHODS, ids=lambda method: method.full_name)
def test_every_rule_names_what_a_token_can_hold_and_a_token_without_it_is_refused(descriptor: object) -> None:
    method = Method(descriptor, nobody)  # type: ignore[arg-type] # pytest's parameters have no type
    access = method.access
    assert access is not None
    request = method.request_type()
    account = Principal(uuid4(), AccountType.USER)
    permit(account, access, request)
    for permission in access.permissions:
        assert permission.action in ACTIONS[permission.object]
        if permission.field:
            words = {
                value.GetOptions().Extensions[options_pb2.value].word
                for value in method.input.fields_by_name[permission.field].enum_type.values
            }
            assert permission.word in words
    assert not access.resource or access.resource in RESOURCES
    if access.open or access.no_token:
        assert not access.permissions
    elif access.permissions or access.resource or access.emit_events:
        with pytest.raises((MissingPermission, MissingResource, EventsNotAllowed)):
            permit(holding(), access, request)


def test_what_changes_data_is_closed_to_a_token_without_permissions() -> None:
    """A method that is neither open nor closed to tokens, and asks for nothing, may only read."""
    free = [
        method.full_name
        for method in METHODS
        if (access := Method(method, nobody).access) is not None
        and access.changes
        and not (access.open or access.no_token or access.permissions or access.resource or access.emit_events)
    ]
    assert free == []
