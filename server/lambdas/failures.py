"""Errors of the lambda host on their way to a server: the same class with the same values comes out there."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from server.errors import LunaError, Unavailable, Violation, catalogue

COMPONENT = "The process of lambdas"


def written(error: LunaError) -> bytes:
    """An error as JSON."""
    violations = [[one.field, one.description] for one in error.violations]
    return orjson.dumps({"reason": error.reason, "values": error.values, "violations": violations})


def read(data: bytes) -> LunaError:
    """The error that such JSON stands for."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return unreachable()
    match said:
        case {"reason": str(reason), "values": Mapping() as values, "violations": list(violations)}:
            kind = {one.reason: one for one in catalogue()}.get(reason)
            if kind is not None:
                found = tuple(Violation(str(field), str(description)) for field, description in violations)
                return kind(violations=found, **dict(values))
    return unreachable()


def unreachable() -> Unavailable:
    """The error where that process does not answer, or answers what nobody understands."""
    return Unavailable(component=COMPONENT)
