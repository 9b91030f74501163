"""The root of the tree: what every error has, and how its parts follow from each other."""

from __future__ import annotations

import copyreg
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, Final

LINK = "/docs/dev/errors.html#{code}"
"""Where an error's page is, relative to the service's own address."""


class GrpcCode(Enum):
    """The status codes of gRPC that Luna uses, by number, so that this module needs no gRPC."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


GRPC_OF_HTTP: Final[Mapping[int, GrpcCode]] = MappingProxyType(
    {
        400: GrpcCode.INVALID_ARGUMENT,
        401: GrpcCode.UNAUTHENTICATED,
        403: GrpcCode.PERMISSION_DENIED,
        404: GrpcCode.NOT_FOUND,
        405: GrpcCode.UNIMPLEMENTED,
        406: GrpcCode.INVALID_ARGUMENT,
        409: GrpcCode.ALREADY_EXISTS,
        410: GrpcCode.FAILED_PRECONDITION,
        413: GrpcCode.RESOURCE_EXHAUSTED,
        422: GrpcCode.FAILED_PRECONDITION,
        429: GrpcCode.RESOURCE_EXHAUSTED,
        500: GrpcCode.INTERNAL,
        502: GrpcCode.UNAVAILABLE,
        504: GrpcCode.DEADLINE_EXCEEDED,
    }
)
"""The gRPC code of an error with this HTTP status.

One kind of error declares another: a part of the server that is off is 403 in LUNA, and FAILED_PRECONDITION here,
because no other account would be let in either.
"""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its dotted path, and a sentence with what was found and what is allowed."""

    field: str
    description: str


class LunaError(Exception):
    """Something went wrong."""

    code: ClassVar[int] = 1
    desc: ClassVar[str] = "Internal server error"
    status: ClassVar[int] = 500
    grpc: ClassVar[GrpcCode] = GrpcCode.INTERNAL
    template: ClassVar[str]
    reason: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.template = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        cls.reason = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()
        if "status" in vars(cls) and "grpc" not in vars(cls):
            cls.grpc = GRPC_OF_HTTP[cls.status]

    def __init__(self, *, violations: tuple[Violation, ...] = (), **values: object) -> None:
        self.values = {name: str(value) for name, value in values.items()}
        self.violations = violations
        self.detail = self.template.format_map(self.values)
        super().__init__(self.detail)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel between processes of the engine: made without the constructor, whose arguments have names."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    def body(self, base: str = "") -> dict[str, object]:
        """The error as LUNA writes it: `error_code`, `desc`, `detail`, `link`."""
        return {
            "error_code": self.code,
            "desc": self.desc,
            "detail": self.detail,
            "link": base + LINK.format(code=self.code),
        }


LunaError.template = "Something went wrong."
LunaError.reason = "LUNA_ERROR"


def catalogue() -> Iterator[type[LunaError]]:
    """Every error class, parents before children."""
    waiting: list[type[LunaError]] = [LunaError]
    while waiting:
        error = waiting.pop(0)
        yield error
        waiting[:0] = error.__subclasses__()
