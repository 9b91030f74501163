"""Where the fields of a method's request stand in HTTP: in its path, its query, its headers or its body."""

from __future__ import annotations

from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from luna import options_pb2

from gateway.forms import RestField, rest_field, rules_of
from gateway.templates import rules, template

META = "meta"
"""The map that headers with the method's prefix are, of a request and of a response."""
CONTENT_TYPE = "content_type"
"""The field that the type of a body of bytes goes to."""


@dataclass(frozen=True, slots=True)
class Places:
    """The fields of a request by where they stand, under their names in the proto."""

    path: frozenset[str]
    query: frozenset[str]
    headers: frozenset[str]
    body: frozenset[str]

    @property
    def outside(self) -> frozenset[str]:
        """Those in the path or the query."""
        return self.path | self.query


def places_of(method: MethodDescriptor) -> Places:
    """Where the fields of a method's request stand.

    A field that is in the path of one binding and not in that of another is in the path.
    """
    options = method.GetOptions()
    http, rest = options.Extensions[annotations_pb2.http], options.Extensions[options_pb2.rest]
    names = {field.name for field in method.input_type.fields}
    path = {name for _, one in rules(http) for name in template(one).variables.values()}
    headers = {META} & names if rest.header_prefix else set()
    if options_pb2.BODY_FORM_BYTES in rest.forms:
        headers |= {CONTENT_TYPE} & names
    left = names - path - headers
    if http.body == "*":
        query = {field.name for field in method.input_type.fields if rules_of(field).query} & left
    else:
        query = left - {http.body} - _parts(method, rest)
    return Places(frozenset(path), frozenset(query), frozenset(headers), frozenset(left - query))


def _parts(method: MethodDescriptor, rest: options_pb2.Rest) -> set[str]:
    """Fields that parts of a body of sources give: the messages, but for times and for those that a query has."""
    if options_pb2.BODY_FORM_SOURCES not in rest.forms:
        return set()
    fields = [known for field in method.input_type.fields if (known := rest_field(field)).message is not None]
    return {known.key for known in fields if not known.rules.hidden and not known.rules.inline and not _is_time(known)}


def _is_time(known: RestField) -> bool:
    return known.message is not None and known.message.full_name == Timestamp.DESCRIPTOR.full_name
