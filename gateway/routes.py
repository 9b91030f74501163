"""From an HTTP method and a path to the method of a service that serves it.

The most specific template that a path fits decides: /6/faces/count is not /6/faces/{face_id}, whatever the verb.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from luna import options_pb2

from gateway.templates import ONE, REST, Template, rules, split
from gateway.templates import template as read_template
from server.errors import MethodNotAllowed, PathNotFound
from server.rpc.methods import Method


@dataclass(frozen=True, slots=True)
class Binding:
    """One verb on one template. `redirect` is the template that the caller is sent to instead."""

    verb: str
    template: Template
    redirect: Template | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A binding and the method behind it."""

    binding: Binding
    method: Method


@dataclass(frozen=True, slots=True)
class Found:
    """What serves a request: a method with its path variables, or the path to be sent to."""

    method: Method
    variables: dict[str, str] = field(default_factory=dict)
    location: str = ""


class Routes:
    """All routes of some methods.

    Raises:
        ValueError: two methods serve the same verb and path.
    """

    def __init__(self, methods: Iterable[Method]) -> None:
        shapes: dict[tuple[str, ...], dict[str, Route]] = {}
        for method in methods:
            for binding in bindings_of(method.descriptor):
                verbs = shapes.setdefault(binding.template.shape, {})
                if binding.verb in verbs:
                    message = f"{verbs[binding.verb].method.name} and {method.name} both serve {binding.template.path}"
                    raise ValueError(message)
                verbs[binding.verb] = Route(binding, method)
        self._literal = {shape: verbs for shape, verbs in shapes.items() if not {ONE, REST} & set(shape)}
        patterns = [(shape, verbs) for shape, verbs in shapes.items() if shape not in self._literal]
        self._patterns = [verbs for _, verbs in sorted(patterns, key=lambda pattern: _generality(pattern[0]))]

    def find(self, verb: str, path: str) -> Found:
        """What serves a verb on a path, which is given as it was sent, without query.

        Raises:
            PathNotFound: no template fits the path.
            MethodNotAllowed: the path does not serve the verb.
            MalformedRequest: the path is not UTF-8.
        """
        segments, verbs = self._verbs(path)
        route = verbs.get(verb)
        if route is None:
            raise MethodNotAllowed(path=path, method=verb, allowed=", ".join(self.allowed(path)))
        if route.binding.redirect is not None:
            return Found(route.method, location=_target(route, segments))
        return Found(route.method, route.binding.template.values(segments))

    def allowed(self, path: str) -> tuple[str, ...]:
        """The verbs that a path serves, OPTIONS among them.

        Raises:
            PathNotFound: no template fits the path.
        """
        return tuple(sorted({*self._verbs(path)[1], "OPTIONS"}))

    def _verbs(self, path: str) -> tuple[tuple[str, ...], dict[str, Route]]:
        segments = split(path)
        if path.startswith("/"):
            if segments in self._literal:
                return segments, self._literal[segments]
            for verbs in self._patterns:
                if next(iter(verbs.values())).binding.template.fits(segments):
                    return segments, verbs
        raise PathNotFound(path=path)


def bindings_of(descriptor: MethodDescriptor) -> list[Binding]:
    """The bindings of one method: its HTTP rule, its redirects, and HEAD where the method has it.

    Raises:
        ValueError: a redirect is not among the bindings, or a template is not understood.
    """
    options = descriptor.GetOptions()
    rest = options.Extensions[options_pb2.rest]
    pairs = rules(options.Extensions[annotations_pb2.http])
    unknown = set(rest.redirects) - {path for _, path in pairs}
    if unknown:
        message = f"{descriptor.full_name} redirects {', '.join(sorted(unknown))}, which it does not bind"
        raise ValueError(message)
    found = []
    for verb, path in pairs:
        target = read_template(pairs[0][1]) if path in rest.redirects else None
        found.append(Binding(verb, read_template(path), target))
        if verb == "GET" and rest.head:
            found.append(Binding("HEAD", read_template(path), target))
    return found


def _target(route: Route, segments: tuple[str, ...]) -> str:
    redirect, template = route.binding.redirect, route.binding.template
    raw = {name: segments[index] for index, name in template.variables.items()}
    return redirect.filled(raw) if redirect is not None else ""


def _generality(shape: tuple[str, ...]) -> tuple[bool, int, list[int]]:
    return shape[-1] == REST, -len(shape), [(part == ONE) + 2 * (part == REST) for part in shape]
