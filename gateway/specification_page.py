"""The OpenAPI description as a page for people: operations by tag, aliases with what they are aliases of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from markupsafe import Markup

from gateway import markup
from gateway.schemas import COMPONENTS

Object = Mapping[str, object]

_LIMITS = {
    "minimum": Markup("≥ {}"),
    "maximum": Markup("≤ {}"),
    "minLength": Markup("at least {} characters"),
    "maxLength": Markup("at most {} characters"),
    "minItems": Markup("at least {} items"),
    "maxItems": Markup("at most {} items"),
    "default": Markup("default <code>{}</code>"),
}
_UUID = re.compile(r"^\^?\(?\[0-9a-f\]\{8\}")
_CODE = re.compile(r"<code>(\d+)</code>")


@dataclass(frozen=True, slots=True)
class Member:
    """A parameter, a header or a member of an object."""

    name: str
    type: Markup
    text: Markup
    needed: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """A schema: a line about the whole, its members, and what it may be instead."""

    type: Markup
    members: tuple[Member, ...] = ()
    choices: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """A body, and the media types that it may have."""

    media: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Response:
    """One status that an operation is answered with."""

    status: str
    good: bool
    text: Markup
    headers: tuple[Member, ...]
    bodies: tuple[Body, ...]


@dataclass(frozen=True, slots=True)
class Alias:
    """Another verb or path of an operation."""

    verb: str
    path: str
    note: str


@dataclass(frozen=True, slots=True)
class Section:
    """An operation. `words` is what a search looks at."""

    id: str
    verb: str
    path: str
    summary: str
    text: Markup
    others: tuple[Alias, ...]
    authorization: str
    grpc: str
    parameters: tuple[Member, ...]
    bodies: tuple[Body, ...]
    body_optional: bool
    answers: tuple[Response, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of a tag."""

    name: str
    text: Markup
    operations: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A schema with a name."""

    name: str
    text: Markup
    shape: Shape
    words: str


def page_of(document: Object) -> bytes:
    """The page of a description that `gateway.openapi.specification` made."""
    page = _Page(document)
    info = _object(document["info"])
    return markup.page(
        "specification.html.j2",
        title=info["title"],
        version=info["version"],
        about=markup.markdown(str(info["description"])),
        schemes=tuple(page.schemes()),
        groups=tuple(page.groups()),
        schemas=tuple(page.schemas()),
    )


class _Page:
    def __init__(self, document: Object) -> None:
        self._document = document
        self._components = _object(document["components"])

    def schemes(self) -> Iterator[Member]:
        for name, one in _object(self._components["securitySchemes"]).items():
            scheme = _object(one)
            kind = scheme.get("scheme") or f"header {scheme.get('name')}"
            yield Member(name, Markup("{}").format(kind), _text(scheme))

    def groups(self) -> Iterator[Group]:
        for tag in _objects(self._document["tags"]):
            sections = tuple(self._sections(str(tag["name"])))
            yield Group(str(tag["name"]), _text(tag), sections)

    def schemas(self) -> Iterator[Named]:
        for name, one in _object(self._components["schemas"]).items():
            schema = _object(one)
            yield Named(name, _text(schema), self._shape(schema), name.lower())

    def _sections(self, tag: str) -> Iterator[Section]:
        """The operations of a tag; those of one gRPC method are one section."""
        methods: dict[object, list[tuple[str, str, Object]]] = {}
        for path, item in _object(self._document["paths"]).items():
            for verb, one in _object(item).items():
                operation = _object(one)
                if tag in cast("list[str]", operation["tags"]) and "x-grpc" in operation:
                    methods.setdefault(operation["x-grpc"], []).append((verb, path, operation))
        for (verb, path, operation), *others in methods.values():
            yield self._section(verb, path, operation, tuple(_alias(*one) for one in others))

    def _section(self, verb: str, path: str, operation: Object, others: tuple[Alias, ...]) -> Section:
        name, summary = str(operation["operationId"]), str(operation.get("summary", path))
        request = _object(operation.get("requestBody", {}))
        parameters = [self._resolved(one) for one in _objects(operation["parameters"])]
        return Section(
            id=name,
            verb=verb,
            path=path,
            summary=summary,
            text=_text(operation),
            others=others,
            authorization=_authorization(_objects(operation["security"])),
            grpc=str(operation["x-grpc"]),
            parameters=tuple(self._parameter(one) for one in parameters if not str(one["name"]).startswith("Luna-")),
            bodies=tuple(self._bodies(_object(request.get("content", {})))),
            body_optional=not request.get("required"),
            answers=tuple(self._response(status, one) for status, one in _object(operation["responses"]).items()),
            words=" ".join((verb, path, name, summary, *(one.path for one in others))).lower(),
        )

    def _parameter(self, one: Object) -> Member:
        schema = _object(one["schema"])
        text = _text(one)
        if "description" in schema:
            text += _text(schema)
        kind = self._type(schema) + (Markup(", with commas") if one.get("explode") is False else Markup(""))
        return Member(str(one["name"]), kind, text, bool(one.get("required")), str(one["in"]))

    def _response(self, status: str, one: object) -> Response:
        response = self._resolved(_object(one))
        text = _linked(_text(response))
        good = status == "default" or int(status) < 400
        headers = tuple(
            Member(name, Markup(""), _text(_object(header)))
            for name, header in _object(response.get("headers", {})).items()
        )
        return Response(
            status=status,
            good=good,
            text=text,
            headers=headers,
            bodies=tuple(self._bodies(_object(response.get("content", {})))) if good else (),
        )

    def _bodies(self, content: Object) -> Iterator[Body]:
        """Media types with one schema are one body."""
        left = {media: _object(_object(one)["schema"]) for media, one in content.items()}
        while left:
            schema = next(iter(left.values()))
            media = tuple(name for name, other in left.items() if other == schema)
            for name in media:
                del left[name]
            yield Body(media, self._shape(schema))

    def _shape(self, schema: Object, *, inside: bool = False) -> Shape:
        if "$ref" in schema and not inside:
            named = self._shape(self._resolved(schema), inside=True)
            return Shape(self._type(schema) + (Markup(": ") + named.type if named.type else Markup("")), *_parts(named))
        for word in ("oneOf", "anyOf"):
            choices = _objects(schema.get(word, []))
            if len(choices) > 1 and schema.get("type") is None and {"type": "null"} not in choices:
                return Shape(Markup("One of:"), (), tuple(self._shape(choice, inside=True) for choice in choices))
        if schema.get("type") == "object" and "properties" in schema:
            return Shape(Markup(""), tuple(self._members(schema)))
        items = _object(schema.get("items", {}))
        if schema.get("type") == "array" and "properties" in items:
            return Shape(Markup("array of objects"), tuple(self._members(items)))
        return Shape(self._type(schema))

    def _members(self, schema: Object) -> Iterator[Member]:
        needed = cast("list[str]", schema.get("required", []))
        for name, one in _object(schema["properties"]).items():
            member = _object(one)
            text = _text(member)
            inner = member if "properties" in member else _object(member.get("items", {}))
            if "properties" in inner:
                text += self._nested(inner)
            for choice in _objects(member.get("oneOf", [])):
                if "properties" in choice:
                    text += self._nested(choice)
            yield Member(name, self._type(member), text, name in needed)

    def _nested(self, schema: Object) -> Markup:
        rows = Markup("").join(
            Markup("<p><code>{}</code>{} <span class='type'>{}</span> {}</p>").format(
                one.name, Markup(" <span class='needed'>required</span>") if one.needed else "", one.type, one.text
            )
            for one in self._members(schema)
        )
        return Markup("<div class='choice'>{}</div>").format(rows)

    def _type(self, schema: Object) -> Markup:
        """The type of a value in words, with links to named schemas."""
        if "$ref" in schema:
            name = str(schema["$ref"]).removeprefix(COMPONENTS)
            return Markup('<a href="#schema-{0}">{0}</a>').format(name)
        if "const" in schema:
            return Markup("<code>{}</code>").format(schema["const"])
        for word in ("oneOf", "anyOf"):
            choices = _objects(schema.get(word, []))
            if choices and "type" not in schema:
                return Markup(" or ").join(self._type(choice) for choice in choices)
        parts = [self._kind(schema)]
        if "enum" in schema:
            values = cast("list[object]", schema["enum"])
            parts.append(Markup(" ").join(Markup("<code>{}</code>").format(value) for value in values))
        for word, phrase in _LIMITS.items():
            if word in schema:
                parts.append(phrase.format(schema[word]))
        pattern = str(schema.get("pattern", ""))
        if pattern and not _UUID.match(pattern):
            parts.append(Markup("<code>{}</code>").format(pattern))
        return Markup(", ").join(part for part in parts if part)

    def _kind(self, schema: Object) -> Markup:
        kind = schema.get("type", "any value")
        if isinstance(kind, list):
            return Markup(" or ").join(self._kind({**schema, "type": one}) for one in kind)
        if kind == "array":
            inner = _objects(schema.get("prefixItems", []))
            if inner:
                return Markup("[{}]").format(Markup(", ").join(self._kind(one) for one in inner))
            items = _object(schema.get("items", {}))
            return Markup("array of {}").format(Markup("objects") if "properties" in items else self._type(items))
        if kind == "null":
            return Markup("null")
        name = {"binary": "bytes", "uuid": "UUID", "date-time": "date and time", "int64": "64-bit integer"}
        if schema.get("contentEncoding") == "base64":
            return Markup("bytes as Base64")
        return Markup("{}").format(name.get(str(schema.get("format")), kind))

    def _resolved(self, one: Object) -> Object:
        if "$ref" not in one:
            return one
        found: object = self._document
        for step in str(one["$ref"]).removeprefix("#/").split("/"):
            found = _object(found)[step]
        return _object(found)


def _alias(verb: str, path: str, operation: Object) -> Alias:
    answers = _object(operation["responses"])
    return Alias(verb, path, str(operation["description"]) if "302" in answers else "")


def _parts(shape: Shape) -> tuple[tuple[Member, ...], tuple[Shape, ...]]:
    return shape.members, shape.choices


def _authorization(security: Iterable[Object]) -> str:
    names = [name for one in security for name in one]
    return f"Authorization: {', '.join(names)}" if names else "No authorization"


def _text(one: Object) -> Markup:
    return markup.markdown(str(one["description"])) if "description" in one else Markup("")


def _linked(text: Markup) -> Markup:
    made = _CODE.sub(r'<a href="/docs/dev/errors.html#\1"><code>\1</code></a>', text)
    return Markup(made)  # noqa: S704 it was markup


def _object(value: object) -> Object:
    return cast("Object", value)


def _objects(value: object) -> list[Object]:
    return cast("list[Object]", value)
