"""The OpenAPI 3.1 description of the REST form of some services, made from their descriptors and comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from luna import options_pb2

from gateway.comments import comment, prose
from gateway.contents import request_body, response_content
from gateway.endpoints import ACCEPTED, NO_CONTENT
from gateway.failures import ERROR, components, failures_of, responses
from gateway.forms import RestField, rest_field, rest_message
from gateway.places import META, Places, places_of
from gateway.proxied import PROXIED_VERBS, body_and_answers
from gateway.query import NULL
from gateway.routes import Binding, bindings_of
from gateway.schemas import Direction, Schema, Schemas, default_of, described, enumerated, list_limits, scalar
from gateway.templates import REST
from server.errors import DeadlineExceeded, Internal, MalformedRequest, Unavailable
from server.rpc.methods import streaming, unary
from server.version import VERSION

MEDIA_TYPE = "application/x-yaml"
CREATED = 201

_ABOUT = """\
The LUNA PLATFORM 5 API as Luna serves it. It is made from the protos of its gRPC services; each operation names the
method that it is.

- Every answer has the header `Luna-Request-Id`: what the request had, or a new one.
- Errors have the body `Error`. Another path is answered with 404 and code 12013, another verb with 405, code 12021 and
  the header `Allow`.
- Every path answers OPTIONS without authorization: `{}`, and the verbs of the path in `Allow`.
- A query may have unknown parameters; the body of a request may not have unknown members.
- Accept-Encoding is not looked at: nothing is compressed.
"""
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HEADER = re.compile(r"In REST the header ([A-Za-z-]+)")
"""How the comment of a field tells that a header gives it."""
_ID = "#/components/parameters/Luna-Request-Id"
_ACCOUNT = "#/components/parameters/Luna-Account-Id"
_PATTERN = r"^[\x21-\x7e]{1,47}$"


@dataclass(frozen=True, slots=True)
class Operation:
    """A verb on a path, and the object that describes it."""

    path: str
    verb: str
    description: Schema


def specification(services: Iterable[ServiceDescriptor]) -> Schema:
    """The description of some services; tags, paths and operations are in the order of services and methods.

    Raises:
        ValueError: two methods serve the same verb and path.
    """
    services = tuple(services)
    methods = [(service, method) for service in services for method in unary(service)]
    schemas = Schemas((method.input_type for _, method in methods), (method.output_type for _, method in methods))
    proxied = [(service, method) for service in services for method in streaming(service)]
    paths: dict[str, dict[str, Schema]] = {}
    for service, method in (*methods, *proxied):
        for operation in _operations(service, method, schemas):
            item = paths.setdefault(operation.path, {})
            if operation.verb in item:
                message = f"{operation.verb} {operation.path} is described twice"
                raise ValueError(message)
            item[operation.verb] = operation.description
    for path, item in paths.items():
        item["options"] = _options(path, item)
    tags = {service.full_name: service for service, method in methods if bindings_of(method)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Luna", "version": ".".join(str(part) for part in VERSION), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [described({"name": _tag(service)}, comment(service)) for service in tags.values()],
        "paths": paths,
        "components": {
            "securitySchemes": _SCHEMES,
            "parameters": _PARAMETERS,
            "responses": {**components(), "Options": _OPTIONS},
            "schemas": {**schemas.components, "Error": ERROR},
        },
    }


def as_yaml(document: Mapping[str, object]) -> bytes:
    """A description as YAML; the same bytes for the same description."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False
    ).encode()


def _operations(service: ServiceDescriptor, method: MethodDescriptor, schemas: Schemas) -> Iterator[Operation]:
    if method.server_streaming:
        yield from _proxied(service, method)
        return
    bindings = bindings_of(method)
    paths = list(dict.fromkeys(binding.template.path for binding in bindings))
    for binding in bindings:
        position = paths.index(binding.template.path)
        name = _WORDS.sub("_", method.name).lower()
        name = f"head_{name.removeprefix('get_')}" if binding.verb == "HEAD" else name
        described_as: Schema = {
            "tags": [_tag(service)],
            "operationId": name if position == 0 else f"{name}_{position + 1}",
            "x-grpc": f"{service.full_name}/{method.name}",
            **_operation(method, binding, schemas),
        }
        if position > 0 and binding.redirect is None:
            described_as["description"] = f"The same as {paths[0]}. {described_as.get('description', '')}".strip()
        yield Operation(_path(binding), binding.verb.lower(), described_as)


def _proxied(service: ServiceDescriptor, method: MethodDescriptor) -> Iterator[Operation]:
    """The operations of a path that another process serves on every verb; none where the method has none."""
    if not method.GetOptions().Extensions[options_pb2.rest].proxied:
        return
    template = bindings_of(method)[0].template
    name, text = _WORDS.sub("_", method.name).lower(), _with_permissions(method)
    for verb in PROXIED_VERBS:
        binding = Binding(verb, template)
        yield Operation(
            _path(binding),
            verb.lower(),
            {
                "tags": [_tag(service)],
                "operationId": name if verb == PROXIED_VERBS[0] else f"{name}_{verb.lower()}",
                "x-grpc": f"{service.full_name}/{method.name}",
                **described({"summary": _summary(text)}, text),
                "security": _security(method.GetOptions().Extensions[options_pb2.access]),
                "parameters": [*_proxied_parameters(method, binding), {"$ref": _ID}, {"$ref": _ACCOUNT}],
                **body_and_answers(method, verb),
            },
        )


def _proxied_parameters(method: MethodDescriptor, binding: Binding) -> Iterator[Schema]:
    """The parameters in the path. The query is the other process's own."""
    fields = method.input_type.fields_by_name
    for name in binding.template.variables.values():
        if name in fields:
            yield _path_parameter(rest_field(fields[name]))
        else:
            made: Schema = {"name": name, "in": "path", "required": True}
            yield {**described(made, "Any path, with slashes."), "schema": {"type": "string"}}


def _with_permissions(method: MethodDescriptor) -> str:
    """What a method is for, and what a token needs for it."""
    access = method.GetOptions().Extensions[options_pb2.access]
    permissions = [f"`{one.object}: {one.action}`" for one in access.permissions]
    return f"{prose(method)}\n\nA token needs {' and '.join(permissions)}." if permissions else prose(method)


def _operation(method: MethodDescriptor, binding: Binding, schemas: Schemas) -> Schema:
    options, places = method.GetOptions(), places_of(method)
    access = options.Extensions[options_pb2.access]
    if binding.redirect is not None:
        errors = {error.status: (error,) for error in (MalformedRequest, Internal, Unavailable, DeadlineExceeded)}
        return {
            "description": f"Sends to {binding.redirect.path}, the query kept.",
            "security": [],
            "parameters": list(_parameters(method, binding, places)),
            "responses": {"302": _redirected(), **responses(errors, body=binding.verb != "HEAD")},
        }
    text = _with_permissions(method)
    made = described({"summary": _summary(text)}, text)
    made["security"] = [] if access.open else _security(access)
    made["parameters"] = list(_parameters(method, binding, places))
    body = request_body(method, places, schemas)
    if body is not None:
        made["requestBody"] = body
    made["responses"] = {
        **_success(method, schemas, head=binding.verb == "HEAD"),
        **responses(failures_of(method), body=binding.verb != "HEAD"),
    }
    return made


def _parameters(method: MethodDescriptor, binding: Binding, places: Places) -> Iterator[Schema]:
    options = method.GetOptions()
    access, rest = options.Extensions[options_pb2.access], options.Extensions[options_pb2.rest]
    fields = method.input_type.fields_by_name
    in_path = list(binding.template.variables.values())
    yield from (_path_parameter(rest_field(fields[name])) for name in in_path)
    for field in method.input_type.fields:
        known = rest_field(field)
        if field.name in places.query and not known.rules.hidden:
            yield from _query_parameters(known)
        elif header := _HEADER.search(comment(field)) if known.rules.hidden else None:
            made: Schema = {"name": header[1], "in": "header"}
            yield {**described(made, comment(field)), "schema": _scalar(known)}
    yield {"$ref": _ID}
    if binding.redirect is None and (not access.open or access.changes):
        yield {"$ref": _ACCOUNT}
    if META in places.headers:
        yield {
            "name": f"{rest.header_prefix.title()}Name",
            "in": "header",
            "description": f"{comment(fields[META])} `Name` stands for any name.",
            "schema": {"type": "string", "maxLength": 1024, "pattern": r"^[\x20-\x7e]*$"},
            "x-prefix": rest.header_prefix,
        }


def _path_parameter(known: RestField) -> Schema:
    schema = _scalar(known)
    made: Schema = {"name": known.name, "in": "path", "required": True}
    return {**described(made, comment(known.descriptor)), "schema": schema}


def _query_parameters(known: RestField) -> Iterator[Schema]:
    """The parameters that a field is: one, one for each field of a message that is inline, none for other messages."""
    if known.rules.prefix:
        made: Schema = {"name": f"{known.rules.prefix}name", "in": "query"}
        text = f"{comment(known.descriptor)} `name` stands for any name."
        yield {**described(made, text), "schema": {"type": "string"}, "x-prefix": known.rules.prefix}
    elif known.rules.inline and known.message is not None:
        for inner in rest_message(known.message).fields:
            yield from _query_parameters(inner)
    elif _asked(known):
        yield _query_parameter(known, known.name)
        for alias in known.rules.aliases:
            yield {**_query_parameter(known, alias), "description": f"Another name of `{known.name}`."}


def _query_parameter(known: RestField, name: str) -> Schema:
    made: Schema = {"name": name, "in": "query"}
    if known.rules.required and not known.rules.aliases:
        made["required"] = True
    made = described(made, comment(known.descriptor))
    schema = _scalar(known)
    if known.null is not None:
        schema = {"anyOf": [schema, {"const": NULL}]}
    if known.repeated:
        made |= {"style": "form", "explode": not known.rules.csv}
        schema = {"type": "array", "items": schema, **list_limits(known)}
    default = default_of(known)
    return {**made, "schema": schema if default is None else {**schema, "default": _as_flag(default)}}


def _scalar(known: RestField) -> Schema:
    if known.descriptor.enum_type is not None:
        return enumerated(known.descriptor.enum_type, Direction.REQUEST, words=known.rules.word)
    if known.message is not None:
        return Schemas((), ()).message(known.message, Direction.REQUEST)
    return scalar(known, Direction.REQUEST, query=True)


def _asked(known: RestField) -> bool:
    """Tells whether a query can hold the field: it holds times, but no other message."""
    return known.message is None or (known.message.full_name == "google.protobuf.Timestamp" and not known.repeated)


def _as_flag(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


def _success(method: MethodDescriptor, schemas: Schemas, *, head: bool) -> Schema:
    rest = method.GetOptions().Extensions[options_pb2.rest]
    status = rest.status or 200
    text = comment(method.output_type)
    if not text or text.startswith("Response of "):
        text = "Created." if status == CREATED else "Done."
    made: Schema = {"description": text}
    headers: Schema = {}
    if rest.location:
        headers["Location"] = {"description": "Address of what was made.", "schema": {"type": "string"}}
    if "filename" in method.output_type.fields_by_name and rest.content:
        headers["Content-Disposition"] = {"description": "Name to keep it under.", "schema": {"type": "string"}}
    if rest.header_prefix and META in method.output_type.fields_by_name:
        text = comment(method.output_type.fields_by_name[META])
        headers[f"{rest.header_prefix.title()}Name"] = {"description": text, "schema": {"type": "string"}}
    if headers:
        made["headers"] = headers
    if status != NO_CONTENT and not head:
        made["content"] = response_content(method, schemas)
    found: Schema = {str(status): made}
    if rest.accepted:
        found[str(ACCEPTED)] = {**{name: part for name, part in made.items() if name != "headers"}, **_LATER}
    return found


def _redirected() -> Schema:
    return {
        "description": "The other path.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }


def _security(access: options_pb2.Access) -> list[Schema]:
    names = ("basic", "account") if access.no_token else ("basic", "bearer", "account")
    return [{name: []} for name in names]


def _options(path: str, item: Mapping[str, Schema]) -> Schema:
    """OPTIONS of a path: what its other verbs are."""
    first = next(iter(item.values()))
    names = re.findall(r"\{\w+\}", path)
    parameters = first["parameters"] if isinstance(first["parameters"], list) else []
    kept = [one for one in parameters if one.get("in") == "path" and f"{{{one['name']}}}" in names]
    errors = {error.status: (error,) for error in (MalformedRequest, Internal, Unavailable, DeadlineExceeded)}
    return {
        "tags": first["tags"],
        "operationId": "options" + re.sub(r"\W+", "_", path).rstrip("_"),
        "summary": "The verbs of this path",
        "security": [],
        # whatever stands in the path, OPTIONS looks at its form alone
        "parameters": [*({**one, "schema": {"type": "string", "minLength": 1}} for one in kept), {"$ref": _ID}],
        "responses": {"200": {"$ref": "#/components/responses/Options"}, **responses(errors)},
    }


def _path(binding: Binding) -> str:
    """The path as OpenAPI writes it, which has no way to say that a variable takes several segments."""
    return binding.template.path.replace(f"={REST}}}", "}")


def _tag(service: ServiceDescriptor) -> str:
    return str(service.name)


def _summary(text: str) -> str:
    return re.split(r"(?<=[^.])\.(?:\s|$)|[;:] ", text, maxsplit=1)[0]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and what comes twice twice."""

    def ignore_aliases(self, _data: object) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.text)

_SCHEMES: Schema = {
    "basic": {"type": "http", "scheme": "basic", "description": "Login and password of an account."},
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of `create_token`."},
    "account": {
        "type": "apiKey",
        "in": "header",
        "name": "Luna-Account-Id",
        "description": "Names an account, proves nothing: off unless LUNA_ACCESS__ACCOUNT_HEADER is set. Deprecated.",
    },
}
_PARAMETERS: Schema = {
    "Luna-Request-Id": {
        "name": "Luna-Request-Id",
        "in": "header",
        "description": "Id of the request; what is not of this form is replaced. LUNA has Unix seconds, `,`, a UUID.",
        "schema": {"type": "string", "pattern": _PATTERN},
        "example": "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a",
    },
    "Luna-Account-Id": {
        "name": "Luna-Account-Id",
        "in": "header",
        "deprecated": True,
        "description": "See the security scheme `account`. `Authorization` wins where both are sent.",
        "schema": {"type": "string", "format": "uuid"},
    },
}
_LATER: Schema = {"description": "Taken, and not done yet."}
_OPTIONS: Schema = {
    "description": "An empty object.",
    "headers": {"Allow": {"description": "The verbs, with commas.", "schema": {"type": "string"}}},
    "content": {"application/json": {"schema": {"type": "object", "maxProperties": 0}}},
}
