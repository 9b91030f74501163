"""What each call needs of a token, read from the `luna.access` of its method; and tokens that allow just that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from luna import options_pb2
from luna.v6 import lists_pb2 as lists
from luna.v6 import matcher_pb2 as matcher
from luna.v6 import verifiers_pb2 as verifiers

from server.application import SERVICES
from server.rpc.methods import unary
from tests.contract.cases import RECIPES
from tests.contract.contract import Contract
from tests.contract.native import descriptor
from tests.contract.operations import Operation
from tests.contract.recipes import Recipe
from tests.contract.rest import Call
from tests.contract.task_cases import BEYOND
from tests.contract.valid import match_body
from tests.contract.world import World, token_body

Need = tuple[str, str]
"""Kind of object and action; for a part of the service "resources" and its name."""
Grants = frozenset[Need]
EMIT: Need = ("emit_events", "allowed")
"""That a token may make events."""
DIVERSIONS = frozenset({"Events/CallHandlerLambda"})
"""Methods that have no path of their own: what they ask of a token is asked by the methods that ask them."""
OWN_ONLY = frozenset({"Verifiers/VerifyRaw"})
"""Methods that change nothing, and yet work by what is the caller's own alone."""

_VERBS = {"get": "GET", "put": "PUT", "post": "POST", "delete": "DELETE", "patch": "PATCH"}


def access_of(rpc: str) -> options_pb2.Access:
    """Who may call a method."""
    access: options_pb2.Access = descriptor(rpc).GetOptions().Extensions[options_pb2.access]
    return access


def _declared(rpc: str, request: Message) -> Grants:
    """What `luna.access` asks of a token for a request."""
    access = access_of(rpc)
    found = {(one.object, one.action) for one in access.permissions if _applies(one, request)}
    found |= {("resources", access.resource)} if access.resource else set()
    return frozenset(found | ({EMIT} if access.emit_events else set()))


def _applies(permission: options_pb2.Permission, request: Message) -> bool:
    if not permission.field:
        return True
    chosen = MessageToDict(request, preserving_proto_field_name=True)[permission.field]
    return str(chosen).lower().endswith(f"_{permission.word}")


def _by_candidates(request: Message) -> Grants:
    assert isinstance(request, matcher.MatchFacesRequest)
    kinds = {str(one.WhichOneof("filters")).removesuffix("s") for one in request.candidates}
    names = {matcher.ReferenceType.Name(one.type).removeprefix("REFERENCE_TYPE_").lower() for one in request.references}
    asked = {name.split("_", maxsplit=1)[0] for name in names} & {"face", "attribute", "event"}
    return frozenset((kind, "matching") for kind in kinds or asked)


def _with_faces(request: Message) -> Grants:
    assert isinstance(request, lists.DeleteListRequest | lists.DeleteListsRequest)
    faces: Grants = frozenset({("face", "deletion")})
    return faces if request.with_faces else frozenset()


def _by_ids(request: Message) -> Grants:
    assert isinstance(request, verifiers.PerformVerificationRequest)
    given = {
        "face": [*request.face_ids, *request.external_ids],
        "event": request.event_ids,
        "attribute": request.attribute_ids,
    }
    return frozenset((kind, "matching") for kind, ids in given.items() if ids)


PAGES = {"{page=**}": "errors.html"}
"""Variables of paths that stand for the rest of it, and a value of each."""
MORE: Mapping[str, Callable[[Message], Grants]] = {
    "Matcher/MatchFaces": _by_candidates,
    "Matcher/MatchRaw": lambda _: frozenset(),
    "Lists/DeleteList": _with_faces,
    "Lists/DeleteLists": _with_faces,
    "Verifiers/PerformVerification": _by_ids,
}
"""What methods ask of a token beside their `luna.access`, by what is in the request."""


def needs(rpc: str, request: Message) -> Grants:
    """All that a token must allow for a call."""
    more = MORE.get(rpc)
    return _declared(rpc, request) | (more(request) if more is not None else frozenset())


@dataclass(frozen=True, slots=True)
class Row:
    """A way to call a method: by gRPC, and by one verb and path of REST. `variant` tells rows of one address apart."""

    rpc: str
    operation: Operation
    recipe: Recipe
    variant: str = ""

    @property
    def id(self) -> str:
        """For the names of tests; begins with the id of the operation."""
        return f"{self.operation.id}-{self.variant}" if self.variant else self.operation.id

    @property
    def access(self) -> options_pb2.Access:
        """Who may call."""
        return access_of(self.rpc)

    @property
    def reads(self) -> bool:
        """True where nothing is changed, and what others have is looked at."""
        return not self.access.changes and self.rpc not in OWN_ONLY


def _bodies(one: Recipe, has_id: bool) -> Recipe:
    def call(world: World) -> Call:
        made = one.call(world)
        ids = {"sample_id": world.new_sample("bodies")} if has_id else {}
        data = b"" if has_id else world.body
        return replace(made, path={**made.path, **ids, "samples_type": "bodies"}, data=data)

    return replace(one, call=call)


def _candidates(kind: str) -> Recipe:
    """Candidates of one kind, or none; the references stay faces, attributes and descriptors."""

    def call(world: World) -> Call:
        body = match_body(world)
        blocks = [one for one in body["candidates"] if one["filters"]["origin"] == kind]
        return Call(body={**body, "candidates": blocks}, account=world.owner)

    return replace(RECIPES["match_faces"], call=call)


def _deleting_faces(name: str) -> Recipe:
    def call(world: World) -> Call:
        return replace(RECIPES[name].call(world), query=(("with_faces", "1"),))

    def native(made: Call) -> Message:
        request = RECIPES[name].native(made)
        assert isinstance(request, lists.DeleteListRequest | lists.DeleteListsRequest)
        request.with_faces = True
        return request

    return replace(RECIPES[name], call=call, native=native)


def _small(name: str) -> Recipe:
    """A token that may no more than one that manages tokens."""

    def call(world: World) -> Call:
        body = {**token_body(), "permissions": {"token": ["modification"]}}
        return replace(RECIPES[name].call(world), body=body)

    return replace(RECIPES[name], call=call)


INSTEAD: Mapping[str, Recipe] = {name: _small(name) for name in ("create_token", "replace_token")}
"""Recipes of operations whose own one needs more of a token than access."""
VARIANTS: Mapping[tuple[str, str], Recipe] = {
    **{
        (f"{verb}_sample", "bodies"): _bodies(RECIPES[f"{verb}_sample"], verb != "save")
        for verb in ("save", "get", "head", "delete")
    },
    ("match_faces", "of_faces"): _candidates("faces"),
    ("match_faces", "of_attributes"): _candidates("attributes"),
    ("match_faces", "of_nothing"): _candidates("nothing"),
    ("delete_list", "with_faces"): _deleting_faces("delete_list"),
    ("delete_lists", "with_faces"): _deleting_faces("delete_lists"),
}
"""Calls that need something else than the plain one of their operation."""


def methods() -> Mapping[str, MethodDescriptor]:
    """Every method that has a path, by its name: "Faces/GetFace"."""
    found = {f"{name}/{one.name}": one for name, service in SERVICES.items() for one in unary(service)}
    return {rpc: one for rpc, one in found.items() if rpc not in DIVERSIONS}


def addresses(method: MethodDescriptor) -> Iterator[tuple[str, str]]:
    """The verbs and paths of a method in REST."""
    options = method.GetOptions()
    rule, rest = options.Extensions[annotations_pb2.http], options.Extensions[options_pb2.rest]
    for one in (rule, *rule.additional_bindings):
        verb = str(one.WhichOneof("pattern"))
        path = str(getattr(one, verb))
        yield _VERBS[verb], path
        if rest.head:
            yield "HEAD", path


def rows(contract: Contract) -> Iterator[Row]:
    """A row for each address of each method, and one for each variant.

    Raises:
        LookupError: a method has no recipe.
    """
    for rpc, method in methods().items():
        if rpc in BEYOND:
            like, recipe = BEYOND[rpc]
            for verb, path in addresses(method):
                operation = replace(contract.operations[like], method=verb, path=path)
                yield Row(rpc, operation, recipe, f"{verb} {path}")
            continue
        known = [one for one in contract if RECIPES[one.id].rpc == rpc]
        if not known:
            raise LookupError(f"{rpc} has no recipe")
        for verb, path in addresses(method):
            exact = [one for one in known if (one.method, one.path) == (verb, path)]
            rest = method.GetOptions().Extensions[options_pb2.rest]
            status = 302 if path in rest.redirects else rest.status or 200
            operation = exact[0] if exact else replace(known[0], method=verb, path=path, status=status)
            recipe = INSTEAD.get(operation.id, RECIPES[operation.id])
            yield Row(rpc, operation, recipe, "" if exact else f"{verb} {path}")
            for (name, variant), other in VARIANTS.items():
                if exact and name == operation.id:
                    yield Row(rpc, operation, other, variant)
