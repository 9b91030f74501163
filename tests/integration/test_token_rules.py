"""Tokens over two servers: what they may give, what is signed, and that an end is an end at once and everywhere."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import requests
from luna.v6 import faces_pb2, tokens_pb2
from pydantic import SecretStr

from server.domain.tokens import TokenRegistry
from server.settings import Database as Options
from storage.accounts import PostgresAccountStore
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.tokens import PostgresTokenStore
from tests.contract.native import Native, Refused
from tests.service import Account, Service, running

ROUNDS = 20
HANDLER = "5a3f1f0e-6c1b-4a54-8f43-0a4f5d1f6f10"

Body = Mapping[str, Any]


@pytest.fixture(scope="module")
def pair() -> Iterator[Service]:
    """A service with two servers."""
    with running(servers=2) as one:
        yield one


@pytest.fixture(scope="module")
def servers(pair: Service) -> Iterator[tuple[Native, Native]]:
    """A client of each server."""
    with ExitStack() as stack:
        first, second = (Native(stack.enter_context(pair.channel(number))) for number in (0, 1))
        yield first, second


class Desk:
    """Where an account, or a token, asks for tokens. REST goes to either server."""

    def __init__(self, service: Service, account: Account, token: str = "") -> None:
        self.service, self.account = service, account
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def with_token(self, token: str) -> Desk:
        """The same desk for somebody who comes with a token."""
        return Desk(self.service, self.account, token)

    def ask(self, verb: str, path: str, body: Body | None = None) -> requests.Response:
        auth = None if self._headers else self.account.auth
        address = self.service.rest + path
        return requests.request(verb, address, json=body, auth=auth, headers=self._headers, timeout=30)

    def create(self, permissions: Body, **changes: object) -> requests.Response:
        return self.ask("POST", "/6/tokens", {"expiration_time": None, "permissions": permissions, **changes})

    def replace(self, token_id: str, permissions: Body, **changes: object) -> requests.Response:
        body = {"expiration_time": None, "permissions": permissions, **changes}
        return self.ask("PUT", f"/6/tokens/{token_id}", body)

    def made(self, permissions: Body, **changes: object) -> Any:
        """The answer to a creation that must succeed."""
        answer = self.create(permissions, **changes)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def told(self, token_id: str) -> Any:
        """A token as it is told."""
        answer = self.ask("GET", f"/6/tokens/{token_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def desk(pair: Service) -> Desk:
    return Desk(pair, pair.account())


@pytest.fixture
def wide(pair: Service) -> Desk:
    """The desk of an account that reads everybody's data."""
    return Desk(pair, pair.account("advanced_user"))


def refused(answer: requests.Response, status: int, code: int) -> str:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


def part(token: str, number: int) -> Any:
    """Header (0) or claims (1) of a JWT."""
    text = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


OWN = {
    "face": ["view", "creation"],
    "token": ["view", "modification", "deletion"],
    "resources": ["iso"],
    "emit_events": {"allowed": 1, "white_list": [HANDLER], "black_list": []},
}
MORE: Mapping[str, tuple[Body, str]] = {
    "another action": ({"face": ["view", "deletion"]}, "face: deletion"),
    "another kind": ({"list": ["view"]}, "list: view"),
    "a resource": ({"resources": ["iso", "sdk"]}, "resources: sdk"),
    "every handler": ({"emit_events": {"allowed": 1}}, "emit_events"),
    "all but one handler": ({"emit_events": {"allowed": 1, "black_list": [HANDLER]}}, "emit_events"),
}


@pytest.mark.parametrize("case", MORE)
def test_a_token_cannot_give_what_it_has_not(desk: Desk, case: str) -> None:
    permissions, named = MORE[case]
    own = desk.made(OWN)
    by_token = desk.with_token(own["token"])
    assert f"'{named}'" in refused(by_token.create(permissions), 403, 12033)
    for token_id in (own["token_id"], desk.made({})["token_id"]):
        before = desk.told(token_id)
        assert f"'{named}'" in refused(by_token.replace(token_id, permissions), 403, 12033)
        assert desk.told(token_id) == before
    # the account itself may
    assert desk.create(permissions).status_code == 201


def test_a_token_gives_what_it_has_or_less(desk: Desk) -> None:
    by_token = desk.with_token(desk.made(OWN)["token"])
    for permissions in (OWN, {}, {"face": ["view"]}, {"emit_events": {"allowed": 0, "white_list": [HANDLER]}}):
        given = by_token.made(permissions)
        assert desk.told(given["token_id"])["account_id"] == desk.account.account_id
        assert by_token.replace(given["token_id"], permissions).status_code == 200


def test_a_token_for_all_handlers_gives_tokens_for_some(desk: Desk) -> None:
    by_token = desk.with_token(desk.made({"token": ["modification"], "emit_events": {"allowed": 1}})["token"])
    for lists in ({"white_list": [HANDLER]}, {"black_list": [HANDLER]}, {}):
        by_token.made({"emit_events": {"allowed": 1, **lists}})


def test_a_token_is_not_told_the_jwt_of_one_that_may_more(desk: Desk) -> None:
    mighty, small = desk.made({"face": ["view", "deletion"], "token": ["view"]}), desk.made({"token": ["view"]})
    by_small, by_mighty = desk.with_token(small["token"]), desk.with_token(mighty["token"])
    told = by_small.told(mighty["token_id"])
    assert "token" not in told
    assert {**told, "token": mighty["token"]} == desk.told(mighty["token_id"])
    assert by_small.told(small["token_id"])["token"] == small["token"]
    assert by_mighty.told(small["token_id"])["token"] == small["token"]
    assert by_mighty.told(mighty["token_id"])["token"] == mighty["token"]


def test_a_token_is_not_told_the_jwt_of_one_that_sees_more(wide: Desk) -> None:
    far, near = (wide.made({"token": ["view"]}, visibility_area=area) for area in ("all", "account"))
    assert "token" not in wide.with_token(near["token"]).told(far["token_id"])
    assert wide.with_token(far["token"]).told(near["token_id"])["token"] == near["token"]


def test_a_token_sees_by_default_what_its_account_sees(desk: Desk, wide: Desk) -> None:
    for where, area in ((desk, "account"), (wide, "all")):
        made = where.made({})
        assert where.told(made["token_id"])["visibility_area"] == area
        where.replace(made["token_id"], {}, visibility_area="account").raise_for_status()
        assert where.told(made["token_id"])["visibility_area"] == "account"
        where.replace(made["token_id"], {}).raise_for_status()
        assert where.told(made["token_id"])["visibility_area"] == area


def test_nobody_gives_a_wider_view_than_his_own(desk: Desk, wide: Desk) -> None:
    near = wide.with_token(wide.made({"token": ["modification"]}, visibility_area="account")["token"])
    for where in (desk, near):
        refused(where.create({}, visibility_area="all"), 400, 41004)
        refused(where.replace(where.made({})["token_id"], {}, visibility_area="all"), 400, 41004)
    assert wide.told(near.made({})["token_id"])["visibility_area"] == "account"
    assert wide.create({}, visibility_area="all").status_code == 201


def test_a_white_list_and_a_black_list_exclude_each_other(desk: Desk) -> None:
    other = "0b2f3c7e-0000-4000-8000-000000000001"
    both = {"emit_events": {"allowed": 1, "white_list": [HANDLER], "black_list": [other]}}
    assert "permissions.emit_events" in refused(desk.create(both), 400, 12022)
    token_id = desk.made({})["token_id"]
    assert "permissions.emit_events" in refused(desk.replace(token_id, both), 400, 12022)


def test_actions_that_a_kind_of_object_does_not_have_are_refused(desk: Desk) -> None:
    for permissions, path in (
        ({"list": ["view", "matching"]}, "permissions.list.1"), ({"token": ["creation"]}, "permissions.token.0"),
        ({"image": ["modification"]}, "permissions.image.0"),
    ):  # fmt: skip
        assert path in refused(desk.create(permissions), 400, 12022)


def test_an_end_in_the_past_is_taken_and_the_token_never_works(desk: Desk) -> None:
    """A caller whose clock is ahead gets no error for it, but a token that is as good as none."""
    made = desk.made({"face": ["view"]}, expiration_time="2020-01-01T00:00:00Z")
    assert desk.told(made["token_id"])["expiration_time"].startswith("2020-01-01T00:00:00")
    refused(desk.with_token(made["token"]).ask("GET", "/6/faces"), 401, 11065)
    again = desk.replace(made["token_id"], {"face": ["view"]}).json()
    assert desk.with_token(again["token"]).ask("GET", "/6/faces").status_code == 200


def test_a_token_works_until_it_ends(desk: Desk) -> None:
    end = datetime.now(UTC) + timedelta(seconds=1.5)
    made = desk.made({"face": ["view"]}, expiration_time=end.isoformat())
    by_token = desk.with_token(made["token"])
    assert by_token.ask("GET", "/6/faces").status_code == 200
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    assert "expired" in refused(by_token.ask("GET", "/6/faces"), 401, 11065)


@pytest.mark.parametrize("end", [None, "2100-01-01T03:00:00.5+03:00"])
def test_a_jwt_says_what_the_reference_shows(desk: Desk, end: str | None) -> None:
    made = desk.made({"face": ["view"]}, expiration_time=end)
    header, claims = part(made["token"], 0), part(made["token"], 1)
    assert header.items() >= {"typ": "JWT", "alg": "HS256"}.items()
    assert (claims["tokenId"], claims["accountId"]) == (made["token_id"], desk.account.account_id)
    assert "exp" not in claims
    if end is None:
        assert claims["expirationTime"] is None
    else:
        assert datetime.fromisoformat(claims["expirationTime"]) == datetime.fromisoformat(end)


def test_the_jwt_is_told_again_and_only_to_who_asks_for_that_token(desk: Desk) -> None:
    first, second = (desk.made({"face": ["view"]}) for _ in range(2))
    for made in (first, second):
        assert [desk.told(made["token_id"])["token"] for _ in range(4)] == [made["token"]] * 4
    listed = desk.ask("GET", "/6/tokens").json()["tokens"]
    assert [one["token_id"] for one in listed] == [second["token_id"], first["token_id"]]
    for one in listed:
        told = desk.told(one["token_id"])
        del told["token"]
        assert one == told
    for secret in (first["token"], second["token"]):
        assert secret not in desk.ask("GET", "/6/tokens").text
    replaced = desk.replace(first["token_id"], {"list": ["view"]}).json()
    assert replaced["token"] != first["token"]
    assert desk.told(first["token_id"])["token"] == replaced["token"]


def test_a_deleted_token_is_refused_at_once_by_the_other_server(desk: Desk, servers: tuple[Native, Native]) -> None:
    for number in range(ROUNDS):
        made = desk.made({"face": ["view"], "token": ["deletion"]})
        writer, reader = servers[number % 2], servers[1 - number % 2]
        assert works(reader, made["token"])
        _delete(writer, made)
        assert not works(reader, made["token"])
        assert not works(writer, made["token"])
    assert desk.ask("GET", "/6/tokens").json()["tokens"] == []


def test_a_replaced_token_is_another_one_at_once_on_the_other_server(
    desk: Desk, servers: tuple[Native, Native]
) -> None:
    made = desk.made({"face": ["view"]})
    old = [made["token"]]
    for number in range(ROUNDS):
        assert works(servers[number % 2], old[-1])
        answer = desk.replace(made["token_id"], {"face": ["view"]}, description=str(number))
        assert answer.status_code == 200
        new = answer.json()["token"]
        for server in servers:
            assert works(server, new)
            assert not works(server, old[-1])
        old.append(new)
    assert len(set(old)) == ROUNDS + 1
    answer = desk.replace(made["token_id"], {"list": ["view"]})
    narrow = bearer(answer.json()["token"])
    narrowed = servers[0].outcome("Faces/CountFaces", faces_pb2.CountFacesRequest(), None, narrow)
    assert isinstance(narrowed, Refused)
    assert (narrowed.status, narrowed.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MISSING_PERMISSION")


async def test_a_new_key_signs_new_tokens_and_old_ones_stay_good(desk: Desk, servers: tuple[Native, Native]) -> None:
    before = desk.made({"face": ["view"]})
    assert all(works(server, before["token"]) for server in servers)
    database = Database(SecretStr(EmbeddedPostgres(desk.service.data).url), Options(), application_name="luna-test")
    try:
        await TokenRegistry(PostgresTokenStore(database), PostgresAccountStore(database)).rotate(timedelta(0))
    finally:
        await database.close()
    after = desk.made({"face": ["view"]})
    assert part(before["token"], 0)["kid"] != part(after["token"], 0)["kid"]
    for made in (before, after):
        assert all(works(server, made["token"]) for server in servers)
        assert desk.told(made["token_id"])["token"] == made["token"]
    # whoever replaces an old token gets it under the new key
    again = desk.replace(before["token_id"], {"face": ["view"]}).json()
    assert part(again["token"], 0)["kid"] == part(after["token"], 0)["kid"]


def test_tokens_are_listed_in_pages_newest_first(desk: Desk) -> None:
    made = [desk.made({}, description=str(number))["token_id"] for number in range(5)]
    pages = [desk.ask("GET", f"/6/tokens?page={page}&page_size=2").json()["tokens"] for page in (1, 2, 3, 4)]
    assert [[one["token_id"] for one in page] for page in pages] == [
        [made[4], made[3]],
        [made[2], made[1]],
        [made[0]],
        [],
    ]
    moment = desk.told(made[2])["create_time"]
    for name, found in (("create_time__gte", made[:1:-1]), ("create_time__lt", made[1::-1])):
        listed = requests.get(
            f"{desk.service.rest}/6/tokens", params={name: moment}, auth=desk.account.auth, timeout=30
        ).json()
        assert [one["token_id"] for one in listed["tokens"]] == found


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def works(server: Native, token: str) -> bool:
    """True where a server lets a token count faces; otherwise it must say that the token is no good."""
    found = server.outcome("Faces/CountFaces", faces_pb2.CountFacesRequest(), None, bearer(token))
    if isinstance(found, Refused):
        assert (found.status, found.code) == (grpc.StatusCode.UNAUTHENTICATED, 11065), found
        return False
    return True


def _delete(server: Native, made: Any) -> None:
    """A token deletes itself."""
    request = tokens_pb2.DeleteTokenRequest(token_id=made["token_id"])
    found = server.outcome("Tokens/DeleteToken", request, None, bearer(made["token"]))
    assert not isinstance(found, Refused), found
