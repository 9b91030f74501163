"""Every method, by gRPC and at each of its addresses in REST, against everything that a caller may lack.

The rows come from the descriptors, and what a row needs from `luna.access`: a new method without a recipe, or one that
asks nothing of a token and is not known for it, fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from tests.contract.cases import RECIPES
from tests.contract.contract import contract
from tests.contract.forging import Parts, secret_of
from tests.contract.grants import EMIT, MORE, PAGES, Grants, Row, access_of, addresses, methods, needs, rows
from tests.contract.native import Native, Refused
from tests.contract.operations import LACKING as NOT_HERE
from tests.contract.rest import Answer, Call
from tests.contract.test_paths import NOT_FOUND
from tests.contract.world import World, nothing, unknown
from tests.service import Account

CONTRACT = contract()
ROWS = list(rows(CONTRACT))
CLOSED = [one for one in ROWS if not one.access.open]
WITH_TOKEN = [one for one in CLOSED if not one.access.no_token]
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
STATUSES = {401: UNAUTHENTICATED, 403: DENIED, 404: grpc.StatusCode.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class Denial:
    """How a call is refused: status of REST, LUNA's code, the reason in gRPC."""

    status: int
    code: int
    reason: str


UNKNOWN = Denial(401, 11065, "UNAUTHENTICATED")
NO_TOKENS_HERE = Denial(403, 11064, "TOKEN_NOT_USABLE")
LACKING = Denial(403, 11059, "MISSING_PERMISSION")
LACKING_OF = {
    "resources": Denial(403, 11060, "MISSING_RESOURCE"),
    "emit_events": Denial(403, 11068, "EVENTS_NOT_ALLOWED"),
}
DENIALS: Mapping[str, Denial] = {
    "nobody": UNKNOWN,
    "expired": UNKNOWN,
    "algorithm_none": UNKNOWN,
    "algorithm_hs512": UNKNOWN,
    "algorithm_rs256": UNKNOWN,
    "deleted": UNKNOWN,
    "replaced": UNKNOWN,
    "other_key": UNKNOWN,
    "unknown_key": UNKNOWN,
    "no_key": UNKNOWN,
    "other_account": UNKNOWN,
    "downgraded": Denial(403, 11062, "TOKEN_REFUSED"),
}
"""Credentials that open nothing."""


def over(chosen: list[Row], check: str) -> pytest.MarkDecorator:
    """Parametrise a test over rows."""
    return pytest.mark.parametrize("row", [pytest.param(one, id=f"{one.id}-{check}") for one in chosen])


def everything() -> dict[str, Any]:
    """All that the contract lets a token do."""
    body = CONTRACT.operations["create_token"].body
    assert body is not None
    found: dict[str, Any] = {}
    for name, schema in body.fields["permissions"].fields.items():
        if schema.items is not None:
            found[name] = list(schema.items.enum)
    return {**found, "emit_events": {"allowed": 1}}


def allowing(grants: Grants) -> dict[str, Any]:
    """Permissions for these needs and nothing else."""
    found: dict[str, list[str]] = {}
    for kind, action in sorted(grants - {EMIT}):
        found.setdefault(kind, []).append(action)
    return {**found, **({"emit_events": {"allowed": 1}} if EMIT in grants else {})}


def all_but(kind: str, action: str) -> dict[str, Any]:
    """All permissions without one."""
    whole = everything()
    if (kind, action) == EMIT:
        return {**whole, kind: {"allowed": 0}}
    return {**whole, kind: [one for one in whole[kind] if one != action]}


class Caller:
    """Makes the calls of rows with given credentials, by both protocols."""

    def __init__(self, world: World, native: Native) -> None:
        self.world, self._native = world, native
        self._tokens: dict[tuple[str, str], str] = {}
        self._calls: dict[str, Call] = {}

    def prepared(self, row: Row) -> Call:
        """The call of a row, made once: for calls that are refused, and use nothing up."""
        if row.id not in self._calls:
            self._calls[row.id] = row.recipe.call(self.world)
        return self._calls[row.id]

    def token(self, permissions: Mapping[str, Any], account: Account | None = None, area: str = "account") -> str:
        """A JWT with permissions, made once."""
        account = account or self.world.owner
        key = account.login, f"{area} {sorted(permissions.items())}"
        if key not in self._tokens:
            body = {"expiration_time": None, "permissions": permissions, "visibility_area": area}
            self._tokens[key] = self.world.make("/6/tokens", body, account).text("token")
        return self._tokens[key]

    def rest(self, row: Row, call: Call, credentials: Mapping[str, str]) -> Answer:
        """Call by REST."""
        headers = {**call.headers, **credentials}
        path = row.operation.path
        for variable, value in PAGES.items():
            path = path.replace(variable, value)
        return self.world.rest.call(replace(row.operation, path=path), replace(call, account=None, headers=headers))

    def native(self, row: Row, call: Call, credentials: Mapping[str, str]) -> Message | Refused:
        """Call by gRPC."""
        return self._native.outcome(row.rpc, row.recipe.native(call), None, credentials)

    def denied(self, row: Row, call: Call, credentials: Mapping[str, str], denial: Denial) -> str:
        """The call must be refused by both protocols in the same way. The sentence."""
        answer = self.rest(row, call, credentials)
        assert answer.status == denial.status, answer.data
        refused = self.native(row, call, credentials)
        assert isinstance(refused, Refused), refused
        assert (refused.status, refused.code, refused.reason) == (STATUSES[denial.status], denial.code, denial.reason)
        if row.operation.method == "HEAD":
            assert answer.data == b""
        else:
            assert (answer.code, answer.detail) == (denial.code, refused.detail)
        if denial.status == 401:
            scheme = "Bearer" if "Bearer" in credentials.get("authorization", "") else "Basic"
            assert answer.headers["www-authenticate"].startswith(scheme)
        return refused.detail


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def basic(account: Account) -> dict[str, str]:
    return dict(account.metadata)


@pytest.fixture(scope="module")
def caller(world: World, native: Native) -> Caller:
    return Caller(world, native)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def no_good(world: World) -> Mapping[str, Mapping[str, str]]:
    """The credentials of each denial. But for what its name says, each is a token that may do everything."""
    whole: dict[str, Any] = {"expiration_time": None, "permissions": everything()}

    def token(account: Account | None = None, **changes: object) -> Answer:
        return world.make("/6/tokens", {**whole, **changes}, account)

    good = token()
    parts, secret = Parts.of(good.text("token")), await secret_of(world.service, good.text("token"))
    assert parts.by(secret) == good.text("token"), "what is forged here must be as good as what it is forged from"
    deleted, replaced = token(), token()
    assert world.rest.send("DELETE", deleted.text("url"), account=world.owner).status == 204
    put = Call({"token_id": replaced.text("token_id")}, body=whole, account=world.owner)
    assert world.rest.call(CONTRACT.operations["replace_token"], put).status == 200
    fallen = world.new_account("advanced_user")
    wide = token(fallen, visibility_area="all")
    down = Call(body={"account_type": "user"}, account=fallen)
    assert world.rest.call(CONTRACT.operations["patch_account"], down).status == 204
    other = Parts.of(token(world.other).text("token"))
    tokens = {
        "expired": token(expiration_time="2020-01-01T00:00:00Z").text("token"),
        "algorithm_none": parts.changed({"alg": "none"}).unsigned,
        "algorithm_hs512": parts.changed({"alg": "HS512"}).by(secret, "sha512"),
        "algorithm_rs256": parts.changed({"alg": "RS256"}).by(secret),
        "deleted": deleted.text("token"),
        "replaced": replaced.text("token"),
        "other_key": parts.by(b"\0" * len(secret)),
        "unknown_key": parts.changed({"kid": unknown()}).by(secret),
        "no_key": parts.changed({"kid": None}).by(b""),
        "other_account": parts.changed(claims={"tokenId": other.claims["tokenId"]}).by(secret),
        "downgraded": wide.text("token"),
    }
    return {"nobody": {}, **{name: bearer(text) for name, text in tokens.items()}}


def test_every_method_has_a_row_for_gRPC_and_for_each_of_its_addresses() -> None:  # noqa: N802
    assert {one.rpc for one in ROWS} == methods().keys()
    expected = {(rpc, *address) for rpc, method in methods().items() for address in addresses(method)}
    assert {(one.rpc, one.operation.method, one.operation.path) for one in ROWS} == expected


def test_a_method_says_what_it_needs_of_a_token_or_is_known_to_depend_on_the_request() -> None:
    for rpc in methods():
        access = access_of(rpc)
        says = access.open or access.no_token or access.permissions or access.resource or access.emit_events
        assert says or rpc in MORE, f"{rpc} lets every token in"
    assert MORE.keys() <= methods().keys()


def test_every_permission_that_is_needed_can_be_given() -> None:
    known = everything()
    for row in WITH_TOKEN:
        for permission in row.access.permissions:
            assert permission.action in known[permission.object]


@pytest.mark.parametrize("case", DENIALS)
@over(CLOSED, "denied")
def test_who_may_not_is_refused(caller: Caller, no_good: Mapping[str, Mapping[str, str]], row: Row, case: str) -> None:
    denial = NO_TOKENS_HERE if row.access.no_token and case != "nobody" else DENIALS[case]
    caller.denied(row, caller.prepared(row), no_good[case], denial)


@over(list({one.rpc: one for one in reversed(CLOSED) if not one.variant}.values()), "password")
def test_a_wrong_password_is_refused_by_grpc_too(caller: Caller, row: Row) -> None:
    wrong = Account("", caller.world.owner.login, "wrong")
    refused = caller.native(row, caller.prepared(row), basic(wrong))
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code, refused.reason) == (UNAUTHENTICATED, 11065, "UNAUTHENTICATED")


@over([one for one in CLOSED if one.access.no_token], "no_token")
def test_what_is_closed_to_tokens_is_closed_to_every_one(caller: Caller, row: Row) -> None:
    caller.denied(row, caller.prepared(row), bearer(caller.token(everything())), NO_TOKENS_HERE)


@over([one for one in ROWS if one.access.open], "open")
def test_what_is_open_looks_at_no_credentials(
    caller: Caller, no_good: Mapping[str, Mapping[str, str]], row: Row
) -> None:
    for case in ("nobody", "expired", "other_key"):
        credentials = no_good[case]
        assert caller.rest(row, row.recipe.call(caller.world), credentials).status == row.operation.status
        answer = caller.native(row, row.recipe.call(caller.world), credentials)
        assert isinstance(answer, Message), answer


@over(WITH_TOKEN, "lacking")
def test_a_token_that_may_all_but_what_is_needed_is_refused_by_name(caller: Caller, row: Row) -> None:
    call = caller.prepared(row)
    for kind, action in needs(row.rpc, row.recipe.native(call)):
        denial = LACKING_OF.get(kind, LACKING)
        said = caller.denied(row, call, bearer(caller.token(all_but(kind, action))), denial)
        if kind == "emit_events":
            continue
        assert action in said
        assert kind == "resources" or kind in said


@over(WITH_TOKEN, "exactly")
def test_a_token_that_may_just_what_is_needed_does_it(caller: Caller, row: Row) -> None:
    first, second = row.recipe.call(caller.world), row.recipe.call(caller.world)
    exactly = bearer(caller.token(allowing(needs(row.rpc, row.recipe.native(first)))))
    answer = caller.rest(row, first, exactly)
    assert answer.status == row.operation.here, answer.data
    done = caller.native(row, second, exactly)
    if row.operation.id in NOT_HERE:
        # it is let in, and then told what is not installed
        assert isinstance(done, Refused)
        assert answer.code == done.code == NOT_HERE[row.operation.id]
    else:
        assert isinstance(done, Message), done


WITH_ID = [one for one in WITH_TOKEN if one.operation.ids]


@over(WITH_ID, "foreign")
def test_what_another_account_has_is_to_a_token_as_if_it_were_not_there(caller: Caller, row: Row) -> None:
    (name,) = row.operation.ids
    call = caller.prepared(row)
    denial = Denial(404, NOT_FOUND[name], "")
    token = bearer(caller.token(everything(), caller.world.other))
    there, nowhere = call.path[name], nothing(row.operation, name)
    missing = replace(call, path={**call.path, name: nowhere})
    said = _missing(caller, row, call, token, denial)
    assert said.replace(f"'{there}'", f"'{nowhere}'") == _missing(caller, row, missing, token, denial)


def _missing(caller: Caller, row: Row, call: Call, credentials: Mapping[str, str], denial: Denial) -> str:
    """The call must not find its object, by either protocol. The sentence."""
    answer, refused = caller.rest(row, call, credentials), caller.native(row, call, credentials)
    assert isinstance(refused, Refused), refused
    assert (answer.status, refused.status, refused.code) == (404, STATUSES[404], denial.code)
    assert row.operation.method == "HEAD" or (answer.code, answer.detail) == (denial.code, refused.detail)
    return refused.detail


@pytest.mark.parametrize("area", ["account", "all"])
@over([one for one in WITH_TOKEN if one.reads or one.operation.ids], "visibility")
def test_a_token_sees_as_far_as_its_visibility_area(caller: Caller, row: Row, area: str) -> None:
    """A narrow token of an account that sees everything sees what an account without objects sees; a wide one all."""
    world = caller.world
    token = bearer(caller.token(everything(), world.advanced, area))
    like = basic(world.advanced if area == "all" else world.other)
    call = caller.prepared(row)
    assert seen(caller, row, call, token) == seen(caller, row, call, like)
    if row.operation.ids:
        found = area == "all" and row.reads
        assert (caller.rest(row, call, token).status == row.operation.status) == found


def seen(caller: Caller, row: Row, call: Call, credentials: Mapping[str, str]) -> tuple[object, object]:
    """What both protocols answer."""
    return caller.world.scrubbed(caller.rest(row, call, credentials)), caller.native(row, call, credentials)


@over([one for one in CLOSED if one.operation.ids], "kept")
def test_after_all_that_was_refused_everything_is_still_there(caller: Caller, row: Row) -> None:
    """Runs after the tests above; alone it tells nothing."""
    call = caller.prepared(row)
    answer = caller.rest(row, call, basic(caller.world.owner))
    assert answer.status == row.operation.status, answer.data


def test_recipes_are_used_as_they_are_where_nothing_else_is_said() -> None:
    plain = [one for one in ROWS if not one.variant]
    assert {one.operation.id for one in plain} == RECIPES.keys()
