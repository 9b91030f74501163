"""Path templates of `google.api.http`, as far as this API uses them.

/6/faces/{face_id}                  a variable takes one segment
/6/lambdas/{lambda_id}/proxy/{path=**}   or, as the last one, the rest of the path
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from google.api.http_pb2 import HttpRule

from server.errors import MalformedRequest

ONE = "*"
REST = "**"
_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)(?:=(\*\*?))?\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A path template. `shape` has `*` and `**` for variables, whose names are in `variables` by their position."""

    path: str
    shape: tuple[str, ...]
    variables: dict[int, str]

    @property
    def wildcard_path(self) -> str:
        """The template with wildcards for variables: /6/faces/*."""
        return "/" + "/".join(self.shape)

    def fits(self, segments: tuple[str, ...]) -> bool:
        """Tells whether a path, given by its segments, is one of this template."""
        if self.shape[-1] == REST:
            if len(segments) < len(self.shape):
                return False
        elif len(segments) != len(self.shape):
            return False
        for segment, part in zip(segments, self.shape, strict=False):
            if part == REST:
                return True
            if segment != part and (part != ONE or not segment):
                return False
        return True

    def values(self, segments: tuple[str, ...]) -> dict[str, str]:
        """The variables of a path that fits, percent-decoded.

        In a variable of several segments `%2F` stays as it is, as it does in Envoy, so that it remains told from `/`.

        Raises:
            MalformedRequest: a variable is no UTF-8.
        """
        found = {}
        for index, name in self.variables.items():
            if self.shape[index] == REST:
                raw = "/".join(segments[index:]).replace("%2F", "%252F").replace("%2f", "%252f")
            else:
                raw = segments[index]
            found[name] = _decoded(raw)
        return found

    def filled(self, values: dict[str, str]) -> str:
        """The path with these values, which are percent-encoded already, for its variables."""
        parts = [
            values.get(self.variables[index], "") if index in self.variables else part
            for index, part in enumerate(self.shape)
        ]
        return "/" + "/".join(parts)


def template(path: str) -> Template:
    """Read a template.

    Raises:
        ValueError: the template has what this API does not use: verbs, patterns inside variables, `**` in the middle.
    """
    shape, variables = [], {}
    for index, part in enumerate(path.removeprefix("/").split("/")):
        match = _VARIABLE.fullmatch(part)
        if match:
            variables[index] = match[1]
            shape.append(match[2] or ONE)
        elif re.fullmatch(r"[A-Za-z0-9_.\-]*", part):
            shape.append(part)
        else:
            message = f"{part} of {path} is no segment that routes understand"
            raise ValueError(message)
    if not path.startswith("/") or REST in shape[:-1]:
        message = f"{path} is no template that routes understand"
        raise ValueError(message)
    return Template(path, tuple(shape), variables)


def split(path: str) -> tuple[str, ...]:
    """The segments of a path as it was sent; one slash at its end is left out."""
    segments = path.removeprefix("/").split("/")
    return tuple(segments[:-1] if len(segments) > 1 and not segments[-1] else segments)


def rules(rule: HttpRule) -> list[tuple[str, str]]:
    """Verb and path of a rule and of its additional bindings."""
    found = []
    for one in (rule, *rule.additional_bindings):
        match one.WhichOneof("pattern"):
            case None:
                continue
            case "custom":
                found.append((one.custom.kind, one.custom.path))
            case verb:
                found.append((verb.upper(), str(getattr(one, verb))))
    return found


def _decoded(raw: str) -> str:
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError as error:
        raise MalformedRequest(message="the path is not UTF-8") from error
