"""Functions of a lambda by verb and path. A lambda without them answers everything in `main`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = r"\{([A-Za-z_][A-Za-z0-9_]*)\}"
"""A variable of a path."""
VERBS = ("get", "post", "put", "patch", "delete")
"""Verbs that have a method of their own."""

Handler = Callable[[Any], Awaitable[object]]
"""Takes a request and returns what is answered."""


@dataclass(frozen=True, slots=True)
class Route:
    """A verb, a path with variables in braces, and what answers."""

    method: str
    path: str
    handler: Handler
    pattern: re.Pattern[str]


class Routes:
    """The table of a lambda's routes: an instance of it in lambda_main.py is found under whatever name.

        routes = Routes()

        @routes.get("people/{name}")
        async def person(request): ...

    A variable is one segment of the path, and is in `request.variables`. What no route takes comes to `main`.
    """

    def __init__(self) -> None:
        self.table: list[Route] = []

    def route(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Let a function answer a verb on a path below the lambda's root."""

        def add(handler: Handler) -> Handler:
            self.table.append(Route(method.upper(), path, handler, _pattern(path)))
            return handler

        return add

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """GET and HEAD."""
        return self.route("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """POST."""
        return self.route("POST", path)

    def put(self, path: str) -> Callable[[Handler], Handler]:
        """PUT."""
        return self.route("PUT", path)

    def patch(self, path: str) -> Callable[[Handler], Handler]:
        """PATCH."""
        return self.route("PATCH", path)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        """DELETE."""
        return self.route("DELETE", path)

    def find(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]] | None:
        """What answers, and the variables of the path; None where no route has the path.

        Raises:
            WrongVerb: routes have the path, and none of them the verb.
        """
        allowed = set()
        for route in self.table:
            found = route.pattern.fullmatch(path.strip("/"))
            if found is None:
                continue
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                return route.handler, found.groupdict()
            allowed |= {route.method, "HEAD"} if route.method == "GET" else {route.method}
        if allowed:
            raise WrongVerb(tuple(sorted(allowed)))
        return None


class WrongVerb(Exception):
    """A path does not have a verb."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = allowed


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(VARIABLE, path.strip("/"))
    return re.compile(
        "".join(f"(?P<{piece}>[^/]+)" if number % 2 else re.escape(piece) for number, piece in enumerate(pieces))
    )
