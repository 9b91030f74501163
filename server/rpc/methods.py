"""The methods of `luna.v6`: their descriptors, options and the functions that serve them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from luna import options_pb2

Behaviour = Callable[[Any, Any], Awaitable[Message]]
"""A servicer's method: (request, context) -> response. Generated code types each one; here they are all alike."""


Streaming = Callable[[Any, Any], Awaitable[AsyncGenerator[Message, None]]]
"""A servicer's method that answers with a stream. What it is awaited for has been accepted, and will be told."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """What the protos say of one method."""

    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        """Full name: luna.v6.Faces.GetFace."""
        return self.descriptor.full_name

    @property
    def path(self) -> str:
        """Path of the gRPC call: /luna.v6.Faces/GetFace."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def input(self) -> Descriptor:
        """Descriptor of the request."""
        return self.descriptor.input_type

    @property
    def output(self) -> Descriptor:
        """Descriptor of the response."""
        return self.descriptor.output_type

    @property
    def request_type(self) -> type[Message]:
        """Class of the request."""
        return GetMessageClass(self.descriptor.input_type)

    @property
    def rest(self) -> options_pb2.Rest:
        """The REST form."""
        return self.descriptor.GetOptions().Extensions[options_pb2.rest]

    @property
    def http(self) -> http_pb2.HttpRule:
        """The HTTP rule; without a pattern where the method has no REST form."""
        return self.descriptor.GetOptions().Extensions[annotations_pb2.http]

    @property
    def access(self) -> options_pb2.Access | None:
        """Who may call; None where the protos forget to say, and then nobody may."""
        options = self.descriptor.GetOptions()
        return options.Extensions[options_pb2.access] if options.HasExtension(options_pb2.access) else None


@dataclass(frozen=True, slots=True)
class Method(Rpc):
    """One unary method, and who serves it."""

    behaviour: Behaviour


@dataclass(frozen=True, slots=True)
class StreamMethod(Rpc):
    """One method that is asked once and answers with a stream, and who serves it."""

    behaviour: Streaming


def collect(servicers: Mapping[ServiceDescriptor, object]) -> dict[str, Method]:
    """The unary methods of some services, by full name.

    Raises:
        TypeError: a servicer lacks a method of its service.
    """
    return {
        descriptor.full_name: Method(descriptor, _behaviour(servicer, descriptor))
        for service, servicer in servicers.items()
        for descriptor in unary(service)
    }


def collect_streams(servicers: Mapping[ServiceDescriptor, object]) -> dict[str, StreamMethod]:
    """The methods of some services that answer with a stream, by full name.

    Raises:
        TypeError: a servicer lacks a method of its service.
    """
    return {
        descriptor.full_name: StreamMethod(descriptor, _behaviour(servicer, descriptor))
        for service, servicer in servicers.items()
        for descriptor in streaming(service)
    }


def unary(service: ServiceDescriptor) -> Iterable[MethodDescriptor]:
    """The methods of a service that take one message and answer with one."""
    return [m for m in service.methods if not m.client_streaming and not m.server_streaming]


def streaming(service: ServiceDescriptor) -> Iterable[MethodDescriptor]:
    """The methods of a service that take one message and answer with a stream."""
    return [m for m in service.methods if m.server_streaming and not m.client_streaming]


def _behaviour(servicer: object, descriptor: MethodDescriptor) -> Any:
    behaviour = getattr(servicer, descriptor.name, None)
    if behaviour is None:
        message = f"{type(servicer).__name__} lacks {descriptor.full_name}"
        raise TypeError(message)
    return behaviour
