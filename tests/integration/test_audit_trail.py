"""The audit trail of a running service: what was changed is in it once, and nothing else is."""

from __future__ import annotations

import http.client
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import grpc
import pytest
import pytest_asyncio
import requests
from google.api.httpbody_pb2 import HttpBody
from luna.v6 import faces_pb2, faces_pb2_grpc, lists_pb2, lists_pb2_grpc
from pydantic import SecretStr

from server import settings
from server.domain.audit import AuditEntry
from storage.audit import PostgresAuditTrail
from storage.database import Database
from storage.embedded.postgres import EmbeddedPostgres
from tests.service import Account, Service

LOOPBACK = "127.0.0.1"
FORGED = "203.0.113.66"
NOBODY = str(UUID(int=1 << 100))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trail(service: Service) -> AsyncIterator[PostgresAuditTrail]:
    """The trail as it is in the service's database."""
    database = Database(SecretStr(EmbeddedPostgres(service.data).url), settings.Database(pool_size=1))
    yield PostgresAuditTrail(database)
    await database.close()


@pytest.fixture
def marked() -> str:
    """A request id that no other request has."""
    return f"1536751345,{uuid.uuid4()}"


async def of(trail: PostgresAuditTrail, account: Account) -> list[AuditEntry]:
    """Everything that was done with an account."""
    return await trail.newest(UUID(account.account_id), 1000)


async def with_id(trail: PostgresAuditTrail, request_id: str) -> list[AuditEntry]:
    """Everything that a request did, whoever made it."""
    return [entry for entry in await trail.newest(None, 1000) if entry.request_id == request_id]


def ask(
    service: Service, verb: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, **how: object
) -> requests.Response:
    return requests.request(verb, f"{service.rest}{path}", json=body, headers=headers, timeout=30, **how)  # type: ignore[arg-type]


def new_list(service: Service, account: Account) -> str:
    answer = ask(service, "POST", "/6/lists", {"user_data": "x"}, auth=account.auth)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["list_id"])


async def test_a_write_through_rest_leaves_one_entry(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    list_id = new_list(service, account)
    before = datetime.now(UTC)
    body = {"user_data": "Jane Doe", "external_id": NOBODY, "lists": [list_id]}
    answer = ask(service, "POST", "/6/faces", body, {"Luna-Request-Id": marked}, auth=account.auth)
    assert answer.status_code == 201, answer.text
    (entry,) = await with_id(trail, marked)
    assert before - timedelta(seconds=1) <= entry.time <= datetime.now(UTC) + timedelta(seconds=1)
    assert (entry.account_id, entry.token_id) == (UUID(account.account_id), None)
    assert (entry.method, entry.address) == ("luna.v6.Faces.CreateFace", LOOPBACK)
    assert entry.objects == (UUID(list_id), UUID(answer.json()["face_id"]))
    assert [one.method for one in await of(trail, account)] == [
        "luna.v6.Faces.CreateFace",
        "luna.v6.Lists.CreateList",
    ]


async def test_a_write_through_grpc_leaves_one_entry(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    metadata = (*account.metadata, ("luna-request-id", marked), ("luna-client-address", FORGED))
    with service.channel() as channel:
        made = lists_pb2_grpc.ListsStub(channel).CreateList(
            lists_pb2.CreateListRequest(user_data="Jane Doe"), metadata=metadata, timeout=30
        )
    (entry,) = await with_id(trail, marked)
    assert (entry.account_id, entry.token_id) == (UUID(account.account_id), None)
    assert (entry.method, entry.address) == ("luna.v6.Lists.CreateList", LOOPBACK)
    assert entry.objects == (UUID(made.list_id),)
    assert await of(trail, account) == [entry]


async def test_a_write_with_a_token_tells_which(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    wish = {"permissions": {"list": ["creation"]}, "visibility_area": "account"}
    token = ask(service, "POST", "/6/tokens", wish, auth=account.auth).json()
    bearer = {"Authorization": f"Bearer {token['token']}", "Luna-Request-Id": marked}
    assert ask(service, "POST", "/6/lists", {}, bearer).status_code == 201
    refused = ask(service, "POST", "/6/faces", {}, bearer)
    assert (refused.status_code, refused.json()["error_code"]) == (403, 11059)
    (entry,) = await with_id(trail, marked)
    assert (entry.account_id, entry.token_id) == (UUID(account.account_id), UUID(token["token_id"]))
    assert entry.method == "luna.v6.Lists.CreateList"
    first = (await of(trail, account))[-1]
    assert (first.method, first.token_id) == ("luna.v6.Tokens.CreateToken", None)
    assert first.objects == (UUID(token["token_id"]),)


async def test_a_new_account_is_an_object_of_its_entry(
    service: Service, trail: PostgresAuditTrail, marked: str
) -> None:
    body = {"login": f"trail-{uuid.uuid4()}@example.com", "password": "password", "account_type": "user"}
    answer = ask(service, "POST", "/6/accounts", body | {"description": ""}, {"Luna-Request-Id": marked})
    assert answer.status_code == 201, answer.text
    (entry,) = await with_id(trail, marked)
    assert entry.objects == (UUID(answer.json()["account_id"]),)
    assert (entry.method, entry.address) == ("luna.v6.Accounts.CreateAccount", LOOPBACK)


async def test_a_temporary_attribute_has_one_entry_that_is_done(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    named = {"Luna-Request-Id": marked}
    made = ask(service, "POST", "/6/attributes", {"basic_attributes": {"age": 30}}, named, auth=account.auth)
    assert made.status_code == 201, made.text
    attribute_id = made.json()["attribute_id"]
    assert ask(service, "DELETE", f"/6/attributes/{attribute_id}", None, named, auth=account.auth).status_code == 204
    missing = ask(service, "DELETE", f"/6/attributes/{attribute_id}", None, named, auth=account.auth)
    assert missing.status_code == 404
    entries = await with_id(trail, marked)
    assert [(one.method, one.objects, one.done) for one in entries] == [
        ("luna.v6.Attributes.DeleteAttribute", (UUID(attribute_id),), True),
        ("luna.v6.Attributes.CreateAttribute", (UUID(attribute_id),), True),
    ]


async def test_several_samples_of_one_call_share_an_entry(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str, photos: Path
) -> None:
    images = [photos / "biden.jpg", photos / "bald_guys.jpg"]
    files = [("image", (one.name, one.read_bytes(), "image/jpeg")) for one in images]
    headers = {"Luna-Request-Id": marked}
    answer = ask(service, "POST", "/6/detector", None, headers, auth=account.auth, files=files)
    assert answer.status_code == 201, answer.text
    found = [one for image in answer.json()["images"] for one in image["detections"]["samples"]]
    made = {UUID(one["face"]["sample_id"]) for one in found}
    assert len(made) > 1
    (entry,) = await with_id(trail, marked)
    assert (entry.method, set(entry.objects), entry.done) == ("luna.v6.Samples.DetectFaces", made, True)
    assert len(entry.objects) == len(made)


async def test_a_success_that_found_nothing_to_change_leaves_an_entry_too(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    body = {"face_ids": [NOBODY]}
    path = "/6/faces?ignore=1"
    answer = ask(service, "DELETE", path, body, {"Luna-Request-Id": marked}, auth=account.auth)
    assert answer.status_code == 204, answer.text
    (entry,) = await with_id(trail, marked)
    assert (entry.method, entry.objects, entry.done) == ("luna.v6.Faces.DeleteFaces", (UUID(NOBODY),), True)


async def test_a_write_that_fails_or_is_refused_leaves_nothing(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    named = {"Luna-Request-Id": marked}
    attempts = [
        ask(service, "POST", "/6/faces", {}, named),
        ask(service, "POST", "/6/faces", {}, named, auth=(account.login, "wrong password")),
        ask(service, "POST", "/6/faces", {}, {**named, "Authorization": "Bearer x.y.z"}),
        ask(service, "POST", "/6/faces", {"lists": "x"}, named, auth=account.auth),
        ask(service, "POST", "/6/faces", {"lists": [NOBODY]}, named, auth=account.auth),
        ask(service, "DELETE", f"/6/faces/{NOBODY}", None, named, auth=account.auth),
        ask(service, "PATCH", f"/6/lists/{NOBODY}", {"user_data": ""}, named, auth=account.auth),
        ask(service, "DELETE", f"/6/objects/{NOBODY}", None, named, auth=account.auth),
    ]
    assert all(400 <= answer.status_code < 500 for answer in attempts), [one.status_code for one in attempts]
    metadata = (*account.metadata, ("luna-request-id", marked))
    with service.channel() as channel:
        faces = faces_pb2_grpc.FacesStub(channel)
        for request in (faces_pb2.DeleteFaceRequest(face_id=NOBODY), faces_pb2.DeleteFaceRequest(face_id="x")):
            with pytest.raises(grpc.RpcError):
                faces.DeleteFace(request, metadata=metadata, timeout=30)
        with pytest.raises(grpc.RpcError):
            faces.CreateFace(faces_pb2.CreateFaceRequest(), metadata=metadata[1:], timeout=30)
    assert await with_id(trail, marked) == []
    assert await of(trail, account) == []


async def test_reading_leaves_nothing(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str
) -> None:
    list_id = new_list(service, account)
    before = await of(trail, account)
    named = {"Luna-Request-Id": marked}
    for verb, path in (
        ("GET", "/6/account"),
        ("GET", "/6/faces"),
        ("GET", "/6/faces/count"),
        ("GET", f"/6/lists/{list_id}"),
        ("HEAD", f"/6/lists/{list_id}"),
        ("GET", "/6/lists"),
        ("GET", "/6/tokens"),
        ("GET", "/6/healthcheck"),
        ("GET", "/version"),
        ("OPTIONS", "/6/faces"),
    ):
        answer = ask(service, verb, path, None, named, auth=account.auth)
        assert answer.status_code < 300, (verb, path, answer.text)
    body = {"login": account.login, "password": account.password}
    assert ask(service, "POST", "/6/credentials/verifier", body, named).status_code == 200
    assert await with_id(trail, marked) == []
    assert await of(trail, account) == before


def raw(service: Service, account: Account, marked: str, headers: list[tuple[str, str]]) -> int:
    """A write whose headers are sent as they are, twice the same name too."""
    connection = http.client.HTTPConnection("127.0.0.1", service.rest_port, timeout=30)
    try:
        connection.putrequest("POST", "/6/lists")
        own = [("Luna-Request-Id", marked), ("Authorization", account.metadata[0][1])]
        for name, value in (*own, ("Content-Type", "application/json"), ("Content-Length", "2"), *headers):
            connection.putheader(name, value)
        connection.endheaders(b"{}")
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-For", FORGED)],
        [("X-Forwarded-For", f"{FORGED}, {FORGED}")],
        [("X-Forwarded-For", FORGED), ("X-Forwarded-For", FORGED)],
        [("X-Forwarded-For", f"{FORGED},")],
        [("X-Forwarded-For", "")],
        [("x-forwarded-for", f"unknown, [::1]:80, {FORGED} ")],
        [("Forwarded", f"for={FORGED}"), ("X-Real-IP", FORGED), ("True-Client-IP", FORGED)],
        [("Luna-Client-Address", FORGED), ("luna-client-address", FORGED)],
        [("X-Envoy-External-Address", FORGED), ("X-Envoy-Original-Src-Host", FORGED)],
    ],
    ids=lambda headers: headers[0][0] + ": " + headers[0][1],
)
async def test_no_header_forges_the_address(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str, headers: list[tuple[str, str]]
) -> None:
    assert raw(service, account, marked, headers) == 201
    (entry,) = await with_id(trail, marked)
    assert entry.address == LOOPBACK


@pytest.mark.parametrize("key", [(), (("luna-edge-key", ""),), (("luna-edge-key", "0123456789abcdef"),)], ids=str)
async def test_a_native_call_of_the_facade_cannot_invent_its_address(
    service: Service, account: Account, trail: PostgresAuditTrail, marked: str, key: tuple[tuple[str, str], ...]
) -> None:
    said = (("x-envoy-original-method", "POST"), ("x-envoy-original-path", "/6/lists"), ("luna-client-address", FORGED))
    metadata = (*account.metadata, ("luna-request-id", marked), *said, *key)
    with service.channel(0) as channel:  # Envoy does not let anybody through to the facade
        call = channel.unary_unary("/luna.facade.Lists/CreateList")
        call(HttpBody(content_type="application/json", data=b"{}").SerializeToString(), metadata=metadata, timeout=30)
    (entry,) = await with_id(trail, marked)
    assert entry.address == LOOPBACK


async def test_a_request_id_that_may_not_be_echoed_is_not_kept_either(
    service: Service, account: Account, trail: PostgresAuditTrail
) -> None:
    answer = ask(service, "POST", "/6/lists", {}, {"Luna-Request-Id": "a b" * 40}, auth=account.auth)
    assert answer.status_code == 201
    (entry,) = await of(trail, account)
    assert entry.request_id == answer.headers["Luna-Request-Id"] != "a b" * 40


def audited(service: Service, *options: str) -> str:
    """What `luna audit` prints."""
    luna = Path(sys.executable).with_name("luna")
    done = subprocess.run(
        [luna, "audit", *options], env={**service.environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_shows_the_newest_entries_of_an_account(service: Service, marked: str) -> None:
    account, other = service.account(), service.account()
    lists = [new_list(service, account) for _ in range(3)]
    new_list(service, other)
    face = {"lists": lists, "user_data": "Jane Doe"}
    answer = ask(service, "POST", "/6/faces", face, {"Luna-Request-Id": marked}, auth=account.auth)
    text = audited(service, "--account", account.account_id, "--limit", "3")
    assert text.count(account.account_id) == 3
    assert other.account_id not in text
    assert "Faces.CreateFace" in text
    assert text.index("Faces.CreateFace") < text.index("Lists.CreateList")
    assert marked in text
    assert LOOPBACK in text
    assert "and 1 more" in text
    assert answer.json()["face_id"] not in text, "the fourth of its objects"
    assert "Jane" not in text
    assert account.account_id in audited(service)


def test_the_command_shows_what_a_client_sent_as_it_was(service: Service) -> None:
    """Markup in a request id is neither read as markup nor an error."""
    account = service.account()
    for marked in ("[red]x[/red]", "[/]", "[bold"):
        assert ask(service, "POST", "/6/lists", {}, {"Luna-Request-Id": marked}, auth=account.auth).status_code == 201
        assert marked in audited(service, "--account", account.account_id, "--limit", "1")


def test_without_a_database_the_command_says_what_is_missing(tmp_path: Path, service: Service) -> None:
    luna = Path(sys.executable).with_name("luna")
    environment = {**service.environment, "LUNA_DATA": str(tmp_path / "nothing")}
    done = subprocess.run([luna, "audit"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "PostgreSQL cannot be reached" in done.stderr
    assert "LUNA_DATABASE__URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "nothing").exists()
