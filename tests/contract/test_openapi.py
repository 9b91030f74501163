"""The service's own description: it is valid, says what the contract says, and leaves out nothing that is served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import pytest
from luna import options_pb2
from luna.v6 import documents_pb2
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.edge import proxied_templates
from gateway.media import XPK_FILES
from gateway.openapi import as_yaml, specification
from gateway.routes import bindings_of
from server.application import SERVICES
from server.lambdas.calls import METHODS
from server.rpc.methods import unary
from tests.contract.contract import contract
from tests.contract.operations import Operation, Parameter
from tests.contract.schema import Schema
from tests.contract.workflows import PREFIX
from tests.documents import read_yaml

Object = Mapping[str, object]

SERVED = tuple({**SERVICES, "Documents": documents_pb2.DESCRIPTOR.services_by_name["Documents"]}.values())
DOCUMENT: Object = specification(SERVED)
OPERATIONS = list(contract())
OTHERWISE = {
    ("descriptor_version", "enum"): "the server's own descriptor versions; the numbers of LUNA mean other networks",
    ("longitude_delta", "default"): "it is one of a position, and there may be none",
    ("latitude_delta", "default"): "as for the other one",
    ("descriptor_version", "default"): "the pack's version, which the description does not know",
    ("task_type", "enum"): "one enum for tasks and schedules: 0, unknown, is a value of it in both filters",
    ("task_type", "minimum"): "as for the enum",
}
"""What the contract says of a parameter, and the description on purpose does not."""
FURTHER = {"get_task_result": ("format", "offset", "length")}
"""Parameters of operations that the contract does not have: other forms of a result, and parts of a large one."""


def resolved(one: object) -> Object:
    """An object, or what it refers to."""
    found = cast("Object", one)
    while "$ref" in found:
        reference: object = DOCUMENT
        for step in str(found["$ref"]).removeprefix("#/").split("/"):
            reference = cast("Object", reference)[step]
        found = cast("Object", reference)
    return found


def described(operation: Operation) -> Object:
    item = resolved(DOCUMENT["paths"]).get(operation.path)
    assert item is not None, operation.path
    found = resolved(item).get(operation.method.lower())
    assert found is not None, operation.method
    return cast("Object", found)


def parameters(operation: Operation) -> dict[tuple[str, str], Object]:
    found = map(resolved, cast("list[object]", described(operation)["parameters"]))
    return {(str(one["in"]), str(one["name"])): one for one in found}


def facts(schema: Schema) -> Iterator[tuple[str, object]]:
    """What the contract says of a value, in the words of JSON Schema."""
    if schema.kind == "array" and schema.items is not None:
        yield from facts(schema.items)
    if schema.enum:
        yield "enum", set(schema.enum)
    if schema.minimum is not None:
        yield "minimum", schema.minimum
    if schema.maximum is not None:
        yield "maximum", schema.maximum


def test_the_description_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(dict(DOCUMENT)).validate()


def test_the_yaml_is_the_description_and_always_the_same() -> None:
    text = as_yaml(DOCUMENT)
    assert read_yaml(text) == DOCUMENT
    assert as_yaml(specification(SERVED)) == text


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.id)
def test_an_operation_of_the_contract_is_described(operation: Operation) -> None:
    answers = resolved(described(operation)["responses"])
    success = resolved(answers[str(operation.status)])
    assert ("Location" in resolved(success.get("headers", {}))) == (operation.location or operation.status == 302)
    assert ("content" in success) == (operation.method != "HEAD" and operation.status not in {204, 302})
    if operation.content_type.count("/") == 1:
        content = resolved(success["content"])
        assert operation.content_type in content or "*/*" in content
    schemes = {name for one in cast("list[Object]", described(operation)["security"]) for name in one}
    assert schemes == {"account" if name == "account_id" else name for name in operation.auth}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.id)
def test_the_parameters_of_an_operation_are_those_of_the_contract(operation: Operation) -> None:
    found = parameters(operation)
    wanted = {(one.place, one.name): one for one in operation.parameters}
    for key, parameter in wanted.items():
        if parameter.place == "header":
            _same_header(operation, parameter)
        elif parameter.place == PREFIX:
            prefix = parameter.name.partition("<")[0]
            assert any(one.get("x-prefix") == prefix for one in found.values())
        else:
            assert key in found
            _same(parameter, found[key])
    own = {key for key, one in found.items() if key[0] != "header" and "x-prefix" not in one}
    assert own <= wanted.keys() | {("query", name) for name in FURTHER.get(operation.id, ())}


def _same(wanted: Parameter, found: Object) -> None:
    schema = resolved(found["schema"])
    inner = _not_null(resolved(schema["items"]) if wanted.schema.kind == "array" else schema)
    assert (schema.get("type") == "array") == (wanted.schema.kind == "array")
    for name, value in facts(wanted.schema):
        if (wanted.name, name) not in OTHERWISE:
            assert _fact(inner, name) == value, (wanted.name, name)
    if (wanted.name, "default") not in OTHERWISE:
        assert schema.get("default") == wanted.default, wanted.name
    assert bool(found.get("required")) == wanted.required, wanted.name


def _not_null(schema: Object) -> Object:
    """The alternative that is not the word null, which stands last."""
    return resolved(cast("list[object]", schema["anyOf"])[0]) if "anyOf" in schema else schema


def _fact(schema: Object, name: str) -> object:
    """What a schema says; of an enum also the smallest and the largest value."""
    numbers = cast("list[int]", schema.get("enum", []))
    if name == "enum":
        return set(numbers)
    return schema.get(name, min(numbers, default=None) if name == "minimum" else max(numbers, default=None))


def _same_header(operation: Operation, wanted: Parameter) -> None:
    """OpenAPI tells of Accept and Content-Type by the content of answers and requests."""
    if wanted.name == "Accept":
        success = resolved(resolved(described(operation)["responses"])[str(operation.status)])
        assert set(wanted.schema.enum) == resolved(success["content"]).keys()
    elif wanted.name == "Content-Type":
        assert resolved(resolved(described(operation)["requestBody"])["content"])
    elif wanted.name.endswith("-<key>"):
        prefix = wanted.name.removesuffix("<key>").lower()
        assert any(one.get("x-prefix") == prefix for one in parameters(operation).values())
    else:
        assert ("header", wanted.name) in parameters(operation)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.content_types], ids=lambda one: one.id)
def test_every_form_of_a_body_is_described(operation: Operation) -> None:
    body = resolved(described(operation)["requestBody"])
    wanted = set(operation.content_types)
    # where the reference itself writes it right, its wrong spelling is taken too
    misspelt = {XPK_FILES[-1]} if XPK_FILES[0] in wanted else set()
    assert resolved(body["content"]).keys() == wanted | misspelt
    assert bool(body.get("required")) != operation.body_optional


def test_all_that_is_served_is_described_and_nothing_else() -> None:
    served: set[tuple[str, str]] = set()
    for method in (method for service in SERVED for method in unary(service)):
        for binding in bindings_of(method):
            path = binding.template.path.replace("=**}", "}")
            served |= {(binding.verb.lower(), path), ("options", path)}
    proxied = {template.replace("=**}", "}") for template in proxied_templates(SERVED)}
    served |= {(verb.lower(), path) for path in proxied for verb in METHODS}
    paths = resolved(DOCUMENT["paths"])
    assert {(verb, path) for path, item in paths.items() for verb in resolved(item)} == served


def test_every_operation_has_a_name_of_its_own() -> None:
    items = [resolved(one) for item in resolved(DOCUMENT["paths"]).values() for one in resolved(item).values()]
    names = [one["operationId"] for one in items]
    assert len(set(names)) == len(names)


def test_what_may_be_refused_is_described() -> None:
    """Statuses that follow from the options of a method."""
    for method in (method for service in SERVED for method in unary(service)):
        access = method.GetOptions().Extensions[options_pb2.access]
        for binding in bindings_of(method):
            if binding.redirect is None:
                item = resolved(resolved(DOCUMENT["paths"])[binding.template.path.replace("=**}", "}")])
                statuses = resolved(resolved(item[binding.verb.lower()])["responses"]).keys()
                assert {"400", "500", "502", "504"} <= statuses
                # the verifier is open, and its subject are credentials that are refused
                judges = method.name == "VerifyCredentials"
                assert ({"401", "403", "429"} <= statuses) == (judges or not access.open), method.full_name
