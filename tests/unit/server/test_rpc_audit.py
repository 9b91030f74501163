"""Entries of the audit trail: which ids of a call they hold, and that they hold nothing else of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import cast
from uuid import UUID, uuid4

import pytest
from domain_stores import MemoryAccounts, MemoryFailures, MemoryTokens, MemoryTrail
from google.protobuf.message import Message
from luna.v6 import (
    accounts_pb2,
    attributes_pb2,
    blobs_pb2,
    events_pb2,
    faces_pb2,
    images_pb2,
    lists_pb2,
    samples_pb2,
    tokens_pb2,
)

from server.application import SERVICES
from server.domain.access import Principal, TokenGrant
from server.domain.accounts import AccountType
from server.domain.audit import AuditEntry, Change, announced, in_progress
from server.domain.passwords import Passwords
from server.domain.permissions import Permissions
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.errors import DeadlineExceeded, Unavailable
from server.rpc.audit import change_of, made_by
from server.rpc.authorization import Authorizer
from server.rpc.calls import Context
from server.rpc.dispatcher import Dispatcher
from server.rpc.methods import Behaviour, Method

ACCOUNT = Principal(UUID(int=1), AccountType.USER)
MOST = 1000


def ids(*numbers: int) -> list[str]:
    return [str(UUID(int=number)) for number in numbers]


async def nobody(request: object, context: object) -> Message:
    raise AssertionError


def entry(
    name: str, request: Message, response: Message, caller: Principal | None = ACCOUNT, address: str = "192.0.2.7"
) -> AuditEntry:
    service, _, method = name.partition(".")
    return whole(Method(SERVICES[service].methods_by_name[method], nobody), request, response, caller, address)


def whole(
    method: Method, request: Message, response: Message, caller: Principal | None = ACCOUNT, address: str = "192.0.2.7"
) -> AuditEntry:
    """The entry of a call as it is in the end."""
    change = change_of(method, request, caller, address, "1,request")
    missing = made_by(change, response)
    return dataclasses.replace(change.entry, objects=change.entry.objects + missing)


def objects(one: AuditEntry) -> list[int]:
    return [each.int for each in one.objects]


def test_an_entry_tells_who_what_when_and_from_where() -> None:
    before = datetime.now(UTC)
    request, response = faces_pb2.DeleteFaceRequest(face_id=ids(7)[0]), faces_pb2.DeleteFaceResponse()
    one = entry("Faces.DeleteFace", request, response)
    assert before <= one.time <= datetime.now(UTC)
    assert dataclasses.replace(one, time=before) == AuditEntry(
        before, ACCOUNT.account_id, None, "luna.v6.Faces.DeleteFace", (UUID(int=7),), "192.0.2.7", "1,request"
    )


def test_a_call_with_a_token_tells_the_token_and_an_open_one_nobody() -> None:
    request, response = lists_pb2.CreateListRequest(), lists_pb2.CreateListResponse(list_id=ids(3)[0])
    grant = TokenGrant(uuid4(), Permissions(), reads_all=True)
    with_token = entry("Lists.CreateList", request, response, dataclasses.replace(ACCOUNT, token=grant))
    assert (with_token.account_id, with_token.token_id) == (ACCOUNT.account_id, grant.token_id)
    made = accounts_pb2.CreateAccountResponse(account_id=ids(5)[0])
    by_nobody = entry("Accounts.CreateAccount", accounts_pb2.CreateAccountRequest(login="a@b.cd"), made, None)
    assert (by_nobody.account_id, by_nobody.token_id, objects(by_nobody)) == (None, None, [5])


@pytest.mark.parametrize(
    ("name", "request_", "response", "expected"),
    [
        (
            "Faces.CreateFace",
            faces_pb2.CreateFaceRequest(
                lists=ids(2, 3),
                event_id=ids(4)[0],
                attribute=faces_pb2.FaceAttributeInput(attribute_id=ids(5)[0]),
            ),
            faces_pb2.CreateFaceResponse(face_id=ids(6)[0]),
            [5, 2, 3, 4, 6],
        ),
        ("Faces.DeleteFaces", faces_pb2.DeleteFacesRequest(face_ids=ids(3, 2, 3)), None, [3, 2]),
        ("Lists.UpdateListFaces", lists_pb2.UpdateListFacesRequest(list_id=ids(9)[0], face_ids=ids(8)), None, [9, 8]),
        (
            "Samples.DetectFaces",
            samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(sample_id=one) for one in ids(2, 3)]),
            None,
            [2, 3],
        ),
        (
            "Tokens.ReplaceToken",
            tokens_pb2.ReplaceTokenRequest(token_id=ids(4)[0]),
            tokens_pb2.ReplaceTokenResponse(token="eyJ", token_id=ids(4)[0], url=f"/6/tokens/{ids(4)[0]}"),
            [4],
        ),
        ("Images.DeleteImage", blobs_pb2.DeleteImageRequest(image_id=ids(4)[0]), None, [4]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_ids_of_request_and_response_are_taken_once_and_in_order(
    name: str, request_: Message, response: Message | None, expected: list[int]
) -> None:
    answer = Method(SERVICES[name.partition(".")[0]].methods_by_name[name.partition(".")[2]], nobody).output
    made = response if response is not None else answer._concrete_class()
    assert objects(entry(name, request_, made)) == expected


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        (
            "Faces.CreateFace",
            faces_pb2.CreateFaceRequest(user_data=ids(9)[0], avatar=ids(9)[0], external_id=ids(9)[0]),
        ),
        ("Faces.DeleteFaces", faces_pb2.DeleteFacesRequest(face_ids=["", "x", ids(0xABC)[0].upper()])),
        ("Accounts.CreateAccount", accounts_pb2.CreateAccountRequest(login=ids(9)[0], password=ids(9)[0])),
        ("Images.CreateImage", blobs_pb2.CreateImageRequest(data=ids(9)[0].encode(), meta={"camera_id": ids(9)[0]})),
        ("Tokens.CreateToken", tokens_pb2.CreateTokenRequest(description=ids(9)[0])),
        (
            "Attributes.CreateAttribute",
            attributes_pb2.CreateAttributeRequest(
                face_descriptors=[attributes_pb2.DescriptorInput(descriptor=ids(9)[0].encode())]
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_texts_and_bytes_are_never_taken_even_where_they_look_like_ids(name: str, request_: Message) -> None:
    method = Method(SERVICES[name.partition(".")[0]].methods_by_name[name.partition(".")[2]], nobody)
    one = whole(method, request_, method.output._concrete_class())
    assert one.objects == ()


def texts_of(one: AuditEntry) -> Iterable[str]:
    return (str(getattr(one, field.name)) for field in dataclasses.fields(one))


def test_nothing_of_what_was_changed_is_in_an_entry() -> None:
    secret = "Jane Doe"
    request = faces_pb2.CreateFaceRequest(user_data=secret, external_id=secret, avatar=secret, lists=ids(2))
    response = faces_pb2.CreateFaceResponse(face_id=ids(6)[0], url=secret, external_id=secret)
    assert not any(secret in text for text in texts_of(entry("Faces.CreateFace", request, response)))


def test_an_entry_holds_a_bounded_number_of_ids_and_those_of_the_request_first() -> None:
    request = lists_pb2.UpdateListFacesRequest(list_id=ids(7)[0], face_ids=ids(*range(10_000, 10_000 + 3 * MOST)))
    found = objects(entry("Lists.UpdateListFaces", request, lists_pb2.UpdateListFacesResponse()))
    assert found == [7, *range(10_000, 10_000 + MOST - 1)]


def test_the_ids_of_every_method_that_changes_data_can_be_taken() -> None:
    """Filled in by descriptor: each field of each kind, so that no message makes an entry impossible."""
    changing = [
        Method(descriptor, nobody)
        for service in SERVICES.values()
        for descriptor in service.methods
        if (access := Method(descriptor, nobody).access) is not None and access.changes
    ]
    assert len(changing) >= 20
    for method in changing:
        request, response = method.request_type(), method.output._concrete_class()
        for message in (request, response):
            fill(message)
        assert len(whole(method, request, response).objects) <= 1


def fill(message: Message, depth: int = 3) -> None:
    """Give a value to every field of a text, and to messages within."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry:
                continue
            if depth:
                fill(value.add() if field.is_repeated else value, depth - 1)
                if not field.is_repeated:
                    value.SetInParent()
        elif field.cpp_type == field.CPPTYPE_STRING and field.type == field.TYPE_STRING:
            if field.is_repeated:
                value.append(ids(3)[0])
            else:
                setattr(message, field.name, ids(3)[0])


class SlowTrail(MemoryTrail):
    """A trail that takes its time."""

    async def complete(self, change: Change, objects: Iterable[UUID] = ()) -> None:
        await asyncio.sleep(0.1)
        await super().complete(change, objects)


@dataclasses.dataclass
class Remaining:
    """What the dispatcher asks of a call's context."""

    seconds: float | None = None

    def peer(self) -> str:
        return "ipv4:192.0.2.7:1"

    def time_remaining(self) -> float | None:
        return self.seconds


@dataclasses.dataclass
class Caller:
    """Calls one method of a dispatcher, which anyone may call and which changes data."""

    trail: MemoryTrail
    dispatcher: Dispatcher

    async def call(self, changes: Behaviour, seconds: float | None = None) -> Message:
        body = accounts_pb2.CreateAccountRequest(login="a@b.cd", password="password", account_type=1)
        method = Method(SERVICES["Accounts"].methods_by_name["CreateAccount"], changes)
        context = cast("Context", Remaining(seconds))
        return await self.dispatcher.call(method, body, context, headers={}, request_id="1")

    @property
    def entries(self) -> list[tuple[list[int], bool]]:
        """The ids of each entry, and whether it is done."""
        return [(objects(one), one.done) for one in self.trail.entries]


@pytest.fixture(params=[MemoryTrail])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    trail, accounts, passwords = request.param(), MemoryAccounts(), Passwords(0)
    registry = AccountRegistry(accounts, passwords, MemoryFailures(), open_registration=True)
    authorizer = Authorizer(registry, TokenRegistry(MemoryTokens(), accounts), account_header=False)
    yield Caller(trail, Dispatcher({}, authorizer, trail))
    passwords.close()


async def creates(request: object, context: object) -> Message:
    return accounts_pb2.CreateAccountResponse(account_id=ids(5)[0])


@pytest.mark.parametrize("caller", [SlowTrail], indirect=True)
@pytest.mark.parametrize("seconds", [0.02, None], ids=["deadline", "cancellation"])
async def test_an_entry_is_completed_though_nobody_waits_for_the_answer(caller: Caller, seconds: float | None) -> None:
    call = asyncio.create_task(caller.call(creates, seconds))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises((DeadlineExceeded, asyncio.CancelledError)):
        await call
    await asyncio.sleep(0.2)
    assert caller.entries == [([5], True)]


async def test_a_change_is_announced_while_it_is_made_to_every_task_and_not_longer(caller: Caller) -> None:
    seen: list[Change | None] = []

    async def looks() -> None:
        seen.append(in_progress())

    async def changes(request: object, context: object) -> Message:
        await looks()
        await asyncio.create_task(looks())
        return accounts_pb2.CreateAccountResponse(account_id=ids(5)[0])

    await caller.call(changes)
    await looks()
    assert seen[0] is not None
    assert seen == [seen[0], seen[0], None]


async def test_what_was_committed_with_its_entry_is_not_written_again(caller: Caller) -> None:
    async def commits(request: object, context: object) -> Message:
        change = in_progress()
        assert change is not None
        change.keep([UUID(int=5)])
        return accounts_pb2.CreateAccountResponse(account_id=ids(5)[0])

    await caller.call(commits)
    assert caller.entries == []


async def test_what_was_written_ahead_is_done_once_the_call_succeeds(caller: Caller) -> None:
    async def writes_ahead(request: object, context: object) -> Message:
        await caller.trail.begin([UUID(int=5)])
        assert caller.entries == [([5], False)]
        return accounts_pb2.CreateAccountResponse(account_id=ids(5)[0])

    await caller.call(writes_ahead)
    assert caller.entries == [([5], True)]


async def test_what_was_written_ahead_stays_unknown_where_the_call_fails(caller: Caller) -> None:
    async def fails(request: object, context: object) -> Message:
        await caller.trail.begin([UUID(int=5)])
        raise Unavailable(component="Redis")

    with pytest.raises(Unavailable):
        await caller.call(fails)
    assert caller.entries == [([5], False)]


async def test_a_call_that_fails_leaves_nothing(caller: Caller) -> None:
    async def fails(request: object, context: object) -> Message:
        raise Unavailable(component="PostgreSQL")

    with pytest.raises(Unavailable):
        await caller.call(fails)
    assert caller.entries == []


def test_a_change_knows_what_its_entry_lacks() -> None:
    first = [UUID(int=number) for number in range(1, 4)]
    entry = AuditEntry(datetime.now(UTC), None, None, "m", tuple(first), "", "")
    change = Change(entry)
    assert not change.safe
    assert change.missing([UUID(int=9), first[0], UUID(int=9)]) == (UUID(int=9),)
    change.keep([UUID(int=9)])
    assert change.safe
    assert change.missing([UUID(int=9), UUID(int=10)]) == (UUID(int=10),)
    assert len(change.missing(UUID(int=number) for number in range(100, 3000))) == MOST - 4


async def test_without_a_change_in_progress_nothing_is_announced() -> None:
    assert in_progress() is None
    change = Change(AuditEntry(datetime.now(UTC), None, None, "m", (), "", ""))
    with announced(change):
        assert in_progress() is change
    assert in_progress() is None


def test_who_was_found_by_an_event_and_whose_account_it_is_are_no_objects_of_it() -> None:
    answer = events_pb2.GenerateEventsResponse()
    made = answer.events.add(event_id=ids(10)[0])
    made.face.face_id, made.face.account_id, made.face.lists[:] = ids(11)[0], str(ACCOUNT.account_id), ids(12)
    made.matches.add(label="known").candidates.add().face.face_id = ids(13)[0]
    request = events_pb2.GenerateEventsRequest(handler_id=ids(9)[0])
    assert objects(entry("Events.GenerateEvents", request, answer)) == [9, 10, 11, 12]
