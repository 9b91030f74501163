"""The facade that Envoy transcodes REST to: the methods of the services, each with raw bytes in and out.

`google.api.HttpBody` on both sides leaves statuses, nulls, forms of bodies and errors to the gateway. Path variables
become wildcards, because the gateway takes path and query as they were sent: bound by Envoy, a query parameter could
overwrite them.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.api import annotations_pb2, httpbody_pb2
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto

from gateway.routes import bindings_of
from server.rpc.methods import unary

PACKAGE = "luna.facade"
FILE = "luna/facade/facade.proto"
FALLBACK = "Fallback"
"""Service that is sent everything that no other one takes: unknown paths, other verbs, OPTIONS."""
FALLBACK_METHOD = "Any"
BODY = ".google.api.HttpBody"
ENVELOPE_BYTES = 4096
"""Room that a body leaves in a gRPC message for its content type and field tags."""
_VERBS = frozenset({"get", "put", "post", "delete", "patch"})


def facade_set(services: Iterable[ServiceDescriptor]) -> FileDescriptorSet:
    """The descriptors of the facade of some services, with all that they depend on, dependencies first.

    Raises:
        ValueError: two services have the same name, or a service is called like the fallback.
    """
    proto = FileDescriptorProto(
        name=FILE,
        package=PACKAGE,
        syntax="proto3",
        dependency=[annotations_pb2.DESCRIPTOR.name, httpbody_pb2.DESCRIPTOR.name],
    )
    names = {FALLBACK}
    for service in sorted(services, key=lambda one: one.full_name):
        if service.name in names:
            message = f"the facade has a service {service.name} already"
            raise ValueError(message)
        names.add(service.name)
        made = proto.service.add(name=service.name)
        for method in unary(service):
            bound = [(one.verb, one.template.wildcard_path) for one in bindings_of(method)]
            if bound:
                _add(made, method.name, bound)
    _add(proto.service.add(name=FALLBACK), FALLBACK_METHOD, [("*", "/**")])
    files: dict[str, FileDescriptorProto] = {}
    for file in (annotations_pb2.DESCRIPTOR, httpbody_pb2.DESCRIPTOR):
        _collect(file, files)
    return FileDescriptorSet(file=[*files.values(), proto])


def facade_bytes(services: Iterable[ServiceDescriptor]) -> bytes:
    """The descriptor set as Envoy reads it; the same bytes for the same services."""
    return facade_set(services).SerializeToString(deterministic=True)


def facade_names(facade: FileDescriptorSet) -> list[str]:
    """Full names of the facade's services: those that Envoy transcodes to."""
    return [f"{PACKAGE}.{service.name}" for file in facade.file if file.name == FILE for service in file.service]


def _add(service: ServiceDescriptorProto, name: str, bound: list[tuple[str, str]]) -> None:
    method = service.method.add(name=name, input_type=BODY, output_type=BODY)
    rule = method.options.Extensions[annotations_pb2.http]
    for position, (verb, path) in enumerate(bound):
        one = rule if position == 0 else rule.additional_bindings.add()
        if verb.lower() in _VERBS:
            setattr(one, verb.lower(), path)
        else:
            one.custom.kind, one.custom.path = verb, path
        one.body = "*"


def _collect(file: FileDescriptor, files: dict[str, FileDescriptorProto]) -> None:
    for dependency in file.dependencies:
        _collect(dependency, files)
    if file.name not in files:
        files[file.name] = FileDescriptorProto()
        file.CopyToProto(files[file.name])
