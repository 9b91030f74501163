"""The edge: Envoy's configuration, rendered from settings and services into a folder.

envoy.yaml     listeners of REST and gRPC, routes, filters, clusters with one endpoint for each server process
response.lua   REST's status, HEAD, 204, request ids, errors of gRPC itself
lambda.lua     ids of calls that go to lambdas
grpc.lua       what Envoy answers by itself on the gRPC port
facade.pb      descriptors of the facade, by which Envoy transcodes
*.json         where certificates are, with TLS (`gateway/edge_secrets.py`)
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor import ServiceDescriptor
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from luna import options_pb2

from gateway import edge_secrets
from gateway.bounds import bounds
from gateway.facade import ENVELOPE_BYTES, facade_names, facade_set
from gateway.grpc_listener import listener, lua_replies
from gateway.templates import rules
from gateway.websocket import HEALTH
from server.errors import (
    Busy,
    DeadlineExceeded,
    GrpcCode,
    Internal,
    LunaError,
    MalformedRequest,
    PathNotFound,
    RequestTooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from server.rpc.admission import RETRY_AFTER, takes_images
from server.rpc.methods import streaming
from server.settings import BEHIND, Settings, reachable

WORKERS = 2
"""Threads of Envoy: one serves some thousand requests a second, more than a server process does."""


MOST_CALLS = 1024
"""Calls without images at a time that Envoy hands on; Envoy's own default."""

MOST_STREAMS = 16384
"""Streams at a time that Envoy hands on: they are open for hours and cost little."""

MOST_WATCHES = 1024
"""Streams at a time that everybody may have: health and reflection."""

LATE_SECONDS = 5.0
"""How much longer than a call of a lambda may take its host is waited for, which then says so in its own words."""

UNUSED_TIMEOUT = "300s"
"""How long a connection is kept on which no request is under way."""

HANDSHAKE_TIMEOUT = "10s"
"""How long TLS may take to be agreed upon."""

PLACEHOLDER = "REQUEST_ID"
"""What the script puts the id of the request in place of."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A rendered configuration. `admin` is the file that Envoy writes the address of its admin interface to."""

    folder: Path
    config: Path
    admin: Path
    arguments: tuple[str, ...]

    def argv(self, envoy: str) -> list[str]:
        """The command that starts Envoy, for the path of its program."""
        return [envoy, *self.arguments]


@dataclass(frozen=True, slots=True)
class Reply:
    """What stands for an answer that Envoy makes up itself with status `when`."""

    when: int
    status: int
    body: Mapping[str, object]


def render(
    settings: Settings,
    services: Iterable[ServiceDescriptor],
    ports: Sequence[int],
    folder: Path,
    *,
    images: int,
    sockets: Sequence[int] = (),
    proxied: str = "",
    upstream: str = BEHIND,
    workers: int = WORKERS,
) -> Edge:
    """Write the edge's files to a folder, which is made where it is not there.

    Args:
        settings: addresses, timeout, largest message, and the key that the servers know Envoy by.
        services: the services of `luna.v6` that the servers have.
        ports: one for each server process.
        folder: where the files go.
        sockets: the ports of WebSockets, one for each server process; without them there are none.
        proxied: host:port of the process that takes what the services do not serve by themselves (`proxied`); without
            it such calls go to the servers, which refuse them.
        images: calls with images that all servers together take at a time; Envoy refuses further ones as busy.
        upstream: host of the servers.
        workers: Envoy's threads.

    Raises:
        ValueError: there is no port, or a template of a path is not understood.
    """
    if not ports:
        message = "the edge needs at least one server"
        raise ValueError(message)
    services = tuple(services)
    facade = facade_set(services)
    folder.mkdir(parents=True, exist_ok=True)
    names = ("envoy.yaml", "response.lua", "lambda.lua", "grpc.lua", "facade.pb", "admin.address")
    files = {name: folder / name for name in names}
    files["facade.pb"].write_bytes(facade.SerializeToString(deterministic=True))
    templates = _templates()
    largest = settings.grpc.max_message_bytes - ENVELOPE_BYTES
    script = templates.get_template("response.lua").render(grpc_errors=_lua(_grpc_errors(largest)))
    files["response.lua"].write_text(script, encoding="utf-8")
    files["lambda.lua"].write_text(templates.get_template("lambda.lua").render(), encoding="utf-8")
    script = templates.get_template("grpc.lua").render(replies=lua_replies(settings.grpc.max_message_bytes))
    files["grpc.lua"].write_text(script, encoding="utf-8")
    timeout = settings.rest.timeout_seconds
    proxied_host, _, proxied_port = proxied.rpartition(":")
    config = templates.get_template("envoy.yaml.j2").render(
        admin_port=settings.rest.admin_port,
        host=_address(settings.rest.host),
        port=settings.rest.port,
        timeout=f"{timeout:.3f}s",
        idle_timeout=f"{timeout + 60:.3f}s",
        unused_timeout=UNUSED_TIMEOUT,
        handshake_timeout=HANDSHAKE_TIMEOUT,
        key=settings.rest.key.get_secret_value() if settings.rest.key is not None else "",
        grpc_timeout=f"{int(timeout * 1000)}m",
        replies=_replies(largest),
        busy=Busy(message="too many calls are in progress", retry_after=RETRY_AFTER),
        bounds=bounds(settings, len(ports)),
        other_reply=Internal(request_id="%REQ(luna-request-id)%").body(),
        script=str(files["response.lua"].resolve()),
        descriptors=str(files["facade.pb"].resolve()),
        services=facade_names(facade),
        max_body_bytes=largest,
        tls=edge_secrets.write(settings.tls, folder),
        max_response_bytes=settings.grpc.max_message_bytes,
        image_paths=_image_paths(services),
        most_images=images,
        most_calls=MOST_CALLS,
        most_streams=MOST_STREAMS,
        most_watches=MOST_WATCHES,
        grpc=listener(settings, services, _address(settings.grpc.host), str(files["grpc.lua"].resolve())),
        discovery="STATIC" if _is_address(upstream) else "STRICT_DNS",
        upstream=upstream,
        ports=list(ports),
        socket_paths=sorted(socket_paths(services)) if sockets else [],
        socket_ports=list(sockets),
        socket_upstream=_address(reachable(settings.websocket.host)),
        socket_health=HEALTH,
        proxied_paths=_proxied_paths(services) if proxied else [],
        lambda_script=str(files["lambda.lua"].resolve()),
        lambda_timeout=f"{settings.lambdas.call_seconds + LATE_SECONDS:.3f}s",
        lambda_health=HEALTH,
        lambda_discovery="STATIC" if _is_address(_address(reachable(proxied_host))) else "STRICT_DNS",
        lambda_host=_address(reachable(proxied_host)),
        lambda_port=proxied_port,
        lambda_ca=str(settings.lambdas.ca or ""),
        lambda_name=settings.lambdas.expected,
        lambda_name_type="IP_ADDRESS" if _is_address(settings.lambdas.expected) else "DNS",
    )
    files["envoy.yaml"].touch()
    files["envoy.yaml"].chmod(0o600)  # it holds the key
    files["envoy.yaml"].write_text(config, encoding="utf-8")
    arguments = (
        *("--config-path", str(files["envoy.yaml"])),
        *("--admin-address-path", str(files["admin.address"])),
        *("--concurrency", str(workers)),
        *("--log-level", "warning"),
        "--disable-hot-restart",
    )
    return Edge(folder, files["envoy.yaml"], files["admin.address"], arguments)


def socket_paths(services: Iterable[ServiceDescriptor]) -> set[str]:
    """The paths of the WebSockets of some services."""
    rests = (method.GetOptions().Extensions[options_pb2.rest] for service in services for method in streaming(service))
    return {rest.websocket for rest in rests if rest.websocket}


def proxied_templates(services: Iterable[ServiceDescriptor]) -> list[str]:
    """The templates of the paths that another process serves."""
    options = (method.GetOptions() for service in services for method in streaming(service))
    proxied = (one.Extensions[annotations_pb2.http] for one in options if one.Extensions[options_pb2.rest].proxied)
    return sorted({path for rule in proxied for _, path in rules(rule)})


def path_pattern(template: str) -> str:
    """A regular expression (RE2, and Python's) for the paths of a template: {name} is a segment, {name=**} any rest."""
    parts = re.split(r"(\{[^}]*\})", template)
    return "".join(_variable(part) if part.startswith("{") else re.escape(part) for part in parts)


def _variable(part: str) -> str:
    return ".*" if part.endswith("=**}") else "[^/]+"


def _proxied_paths(services: Iterable[ServiceDescriptor]) -> list[str]:
    return [path_pattern(template) for template in proxied_templates(services)]


def _image_paths(services: Iterable[ServiceDescriptor]) -> list[str]:
    """Regular expressions (RE2) for the paths of all methods that take images by POST.

    One for each: Envoy bounds the size of an expression.
    """
    paths = []
    for method in (method for service in services for method in service.methods if takes_images(method.input_type)):
        path = method.GetOptions().Extensions[annotations_pb2.http].post
        if path:
            paths.append(re.sub(r"\{[^}]*\}", "[^/]+", path))
    return sorted(paths)


def _templates() -> Environment:
    """The templates: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    loader = FileSystemLoader([package / "envoy", package.parent / "envoy"])
    return Environment(loader=loader, undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701 no HTML


def _replies(largest: int) -> list[Reply]:
    """Errors for the statuses that Envoy answers with by itself."""
    malformed = MalformedRequest(message="%RESPONSE_CODE_DETAILS%")
    native = _native()
    errors: dict[int, tuple[int, LunaError]] = {
        400: (400, malformed),
        404: (404, PathNotFound(path="%REQ(:path)%")),
        408: (408, DeadlineExceeded()),
        413: (413, RequestTooLarge(limit=largest)),
        415: (native.status, native),
        426: (426, malformed),
        431: (malformed.status, malformed),
        502: (502, Unavailable(component="the server")),
        503: (502, Unavailable(component="the server")),
        504: (504, DeadlineExceeded()),
    }
    return [Reply(when, status, error.body()) for when, (status, error) in errors.items()]


def _grpc_errors(largest: int) -> Mapping[str, LunaError]:
    """Errors for the failures of gRPC itself, by the number of their status."""
    unavailable = Unavailable(component="the server")
    return {
        "1": unavailable,
        str(GrpcCode.DEADLINE_EXCEEDED.value): DeadlineExceeded(),
        # the message is larger than the server takes; the servers set no limit on calls at a time
        str(GrpcCode.RESOURCE_EXHAUSTED.value): RequestTooLarge(limit=largest),
        str(GrpcCode.UNAVAILABLE.value): unavailable,
        "native": _native(),
        # what takes WebSockets refuses longer lines by itself, in words of its own
        "socket": MalformedRequest(message="the request line or a header exceeds 8192 bytes"),
        "default": Internal(request_id=PLACEHOLDER),
    }


def _native() -> LunaError:
    """A native call, which is refused on this port: it would pass the facade by."""
    return UnsupportedMediaType(content_type="application/grpc", allowed="those of REST; gRPC has its own port")


def _lua(errors: Mapping[str, LunaError]) -> str:
    """A table of Lua: {["4"]={status="504", body="..."}, ...}. Strings of JSON are strings of Lua here."""
    rows = [
        f"[{json.dumps(key)}]={{status={json.dumps(str(error.status))}, body={json.dumps(json.dumps(error.body()))}}}"
        for key, error in errors.items()
    ]
    return "{" + ", ".join(rows) + "}"


def _address(host: str) -> str:
    """Envoy binds to addresses, not to names."""
    return "127.0.0.1" if host == "localhost" else host.strip("[]")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
