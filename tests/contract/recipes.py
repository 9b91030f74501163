"""What a recipe is: how a valid call of an operation is made, the same by gRPC, and how its effect is seen.

A recipe makes its call anew each time, with fresh objects where the call uses them up, so that it can be changed in
one place by a test and sent often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from tests.contract.rest import Answer, Call
from tests.contract.world import World

FRESH = frozenset(
    {
        "face_id", "attribute_id", "sample_id", "list_id", "account_id", "token_id", "image_id", "object_id", "url",
        "token", "execution_time", "handler_id", "verifier_id", "event_id",
    }
)  # fmt: skip
"""Members that two equal creations differ in."""
NOTHING: frozenset[str] = frozenset()
Made = Mapping[str, Any]
"""The answer of a creation, as an object of JSON."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to call one operation.

    `rpc` is its method in gRPC and `native` makes the request of it from the call. `part` is the field that REST
    answers with alone, `fresh` names what two equal calls answer differently. `effect` reads what a call has changed:
    from the call and its answer, or from nothing where REST answers nothing.
    """

    call: Callable[[World], Call]
    rpc: str
    native: Callable[[Call], Message]
    part: str = ""
    fresh: frozenset[str] = NOTHING
    effect: Callable[[World, Call, Made], Sequence[Answer]] | None = None


def query_of(call: Call, name: str) -> str:
    return dict(call.query).get(name, "")


def body_of(call: Call) -> Any:
    return call.body


def path_of(call: Call) -> Mapping[str, Any]:
    return call.path


def new(name: str, make: Callable[[World], str]) -> Callable[[World], Call]:
    """A call on a fresh object."""
    return lambda world: Call({name: make(world)}, account=world.owner)
