"""The same calls by gRPC, and whether a message and an answer of REST say the same.

The comparison reads messages by protobuf's own JSON mapping and knows the few differences of REST by itself: it uses
nothing of the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from server.application import SERVICES
from tests.contract.schema import TIME
from tests.service import Account

VERSIONS = {
    "LUNA PLATFORM": "platform",
    "luna-api": "api",
    "luna-image-store-faces-samples": "faces_samples",
    "luna-image-store-bodies-samples": "bodies_samples",
    "luna-image-store-images": "images",
    "luna-matcher-proxy": "matcher",
    "luna-remote-sdk": "sdk",
    "luna-lambda": "lambdas",
}
"""Names of parts that differ in more than the prefix luna-."""
NUMBERS = {
    "GENDER_FEMALE": 0,
    "GENDER_MALE": 1,
    "ETHNICITY_AFRICAN_AMERICAN": 1,
    "ETHNICITY_INDIAN": 2,
    "ETHNICITY_ASIAN": 3,
    "ETHNICITY_CAUCASIAN": 4,
    **{f"LIVENESS_STATE_{word}": number for number, word in enumerate(("SPOOF", "REAL", "UNKNOWN"))},
    **{f"MULTIFACE_POLICY_{word}": number for number, word in enumerate(("NOT_ALLOWED", "ALLOWED", "BEST"))},
    **{f"MASK_STATE_{word}": number for number, word in enumerate(("MISSING", "MEDICAL_MASK", "OCCLUDED"), start=1)},
    **{f"HANDLER_TYPE_{word}": number for number, word in enumerate(("STATIC", "DYNAMIC", "LAMBDA"))},
    **{f"BODY_GENDER_{word}": number for number, word in enumerate(("FEMALE", "MALE", "UNKNOWN"))},
    **{
        f"TASK_TYPE_{word}": number
        for number, word in enumerate(
            (
                *("LINKER", "CLUSTERING", "REPORTER", "GC", "ADDITIONAL_EXTRACT"),
                *("CROSS_MATCH", "ROC", "EXPORTER", "ESTIMATOR"),
            ),
            start=1,
        )
    },
    **{
        f"TASK_STATUS_{word}": number
        for number, word in enumerate(("WAITING", "IN_PROGRESS", "CANCELLED", "FAILED", "COLLECTING", "DONE"))
    },
    **{f"PRESENCE_{word}": number for number, word in enumerate(("ABSENT", "PRESENT", "UNKNOWN"))},
}
"""Values of enums that REST writes as numbers."""

NATIVE_ONLY = frozenset({"targets", "descriptor_version", "url"})
"""Fields of messages that REST does not have, or not always: what was asked for, told once more, and addresses."""


@dataclass(frozen=True)
class Refused:
    """An error of gRPC: its status, LUNA's code, the reason and the sentence."""

    status: grpc.StatusCode
    code: int
    reason: str
    detail: str


class Native:
    """Calls the methods of `luna.v6` by their names: "Faces/GetFace"."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(
        self, rpc: str, request: Message, account: Account | None, metadata: Mapping[str, str] | None = None
    ) -> Message:
        """Call a method.

        Raises:
            grpc.RpcError: the call failed.
        """
        method = descriptor(rpc)
        call: grpc.UnaryUnaryMultiCallable[Message, Message] = self._channel.unary_unary(
            f"/luna.v6.{rpc}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        given = (*(account.metadata if account is not None else ()), *(metadata or {}).items())
        return call(request, metadata=given, timeout=60)

    def outcome(
        self, rpc: str, request: Message, account: Account | None, metadata: Mapping[str, str] | None = None
    ) -> Message | Refused:
        """Call a method, and tell what it answers or how it fails."""
        try:
            return self.call(rpc, request, account, metadata)
        except grpc.RpcError as error:
            return _refused(cast("grpc.Call", error))

    def refused(
        self, rpc: str, request: Message, account: Account | None, metadata: Mapping[str, str] | None = None
    ) -> Refused:
        """Call a method that must fail, and tell how."""
        found = self.outcome(rpc, request, account, metadata)
        assert isinstance(found, Refused), f"{rpc} answered {found}"
        return found


def descriptor(rpc: str) -> MethodDescriptor:
    """The method that a name stands for."""
    service, method = rpc.split("/")
    return SERVICES[service].methods_by_name[method]


def _refused(error: grpc.Call) -> Refused:
    status = rpc_status.from_call(error)
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info), status
    return Refused(error.code(), int(info.metadata["error_code"]), info.reason, status.message)


def differences(rest: object, message: Message, part: str = "", fresh: frozenset[str] = frozenset()) -> list[str]:
    """Where an answer of REST and a message differ; `part` is the field that REST answers with alone.

    Members named in `fresh` are made anew by each call: only their presence is compared.
    """
    value: object = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if part and isinstance(value, dict):
        value = value[part]
    return list(_differences(rest, value, "", fresh))


def _differences(rest: object, native: object, path: str, fresh: frozenset[str]) -> list[str]:
    if isinstance(rest, dict) and isinstance(native, dict):
        return _of_objects(rest, native, path, fresh)
    if isinstance(rest, list) and isinstance(native, dict) and native.keys() == {"x", "y"}:
        native = [native["x"], native["y"]]
    if isinstance(rest, list) and isinstance(native, list):
        if len(rest) != len(native):
            return [f"{path}: {len(rest)} items and {len(native)}"]
        pairs = enumerate(zip(rest, native, strict=True))
        return [one for place, (a, b) in pairs for one in _differences(a, b, f"{path}.{place}", fresh)]
    return [] if _same(rest, native) else [f"{path}: {rest!r} and {native!r}"]


def _of_objects(rest: Mapping[str, object], native: dict[str, object], path: str, fresh: frozenset[str]) -> list[str]:
    found: list[str] = []
    left = dict(native)
    for name, value in rest.items():
        if name == "origin" and name not in native:
            continue
        union = name in {"filters", "candidates"} and isinstance(value, dict) and "origin" in value
        key = str(cast("Mapping[str, object]", value)["origin"]) if union else _native_name(name, native)
        other = left.pop(key, None)
        if name in fresh and not isinstance(value, dict):
            if (value is None) != (other is None or other == ""):
                found.append(f"{path}.{name}: {value!r} and {other!r}")
        elif value is None:
            found += [f"{path}.{name}: null and {other!r}"] if other else []
        else:
            found += _differences(value, other, f"{path}.{name}", fresh)
    for name, value in left.items():
        spoken = value and not str(value).endswith("_UNSPECIFIED") and name not in NATIVE_ONLY
        found += [f"{path}.{name}: nothing and {value!r}"] if spoken else []
    return found


def _native_name(name: str, native: Mapping[str, object]) -> str:
    if name in native:
        return name
    if name in VERSIONS or name.startswith("luna-"):
        return VERSIONS.get(name, name.removeprefix("luna-"))
    return re.sub(r"__(lt|lte|gte|eq)$", r"_\1", name)


def _same(rest: object, native: object) -> bool:
    if isinstance(native, str) and isinstance(rest, str):
        if TIME.fullmatch(rest) and TIME.fullmatch(native):
            return datetime.fromisoformat(rest) == datetime.fromisoformat(native)
        return rest == native or native.lower().endswith(f"_{rest}")
    if isinstance(native, str) and isinstance(rest, int):
        return NUMBERS.get(native) == rest or native == str(rest)
    return rest == native
