"""What a lambda's process is told by the service, and where it listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .request import Identity

DEFAULT_REQUEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables LUNA_LAMBDA_....

    Attributes:
        code: the folder with lambda_main.py.
        fd: an inherited socket that listens; None listens on `port` of all addresses.
        platform: target of the service's gRPC.
        token: a JWT that acts for the account of the lambda.
        request_bytes: largest body of a call.
    """

    code: Path
    identity: Identity
    platform: str
    token: str = field(repr=False)
    fd: int | None
    port: int
    request_bytes: int

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Environment:
        """What the process was started with.

        Raises:
            KeyError: LUNA_LAMBDA_CODE is missing, or both of LUNA_LAMBDA_FD and LUNA_LAMBDA_PORT.
            ValueError: a number is none.
        """
        fd = variables.get("LUNA_LAMBDA_FD")
        return cls(
            code=Path(variables["LUNA_LAMBDA_CODE"]),
            identity=Identity(
                lambda_id=variables.get("LUNA_LAMBDA_ID", ""),
                version=int(variables.get("LUNA_LAMBDA_VERSION", "1")),
                type=variables.get("LUNA_LAMBDA_TYPE", "standalone"),
                account_id=variables.get("LUNA_LAMBDA_ACCOUNT", ""),
            ),
            platform=variables.get("LUNA_LAMBDA_PLATFORM", ""),
            token=variables.get("LUNA_LAMBDA_TOKEN", ""),
            fd=None if fd is None else int(fd),
            port=0 if fd is not None else int(variables["LUNA_LAMBDA_PORT"]),
            request_bytes=int(variables.get("LUNA_LAMBDA_REQUEST_BYTES", DEFAULT_REQUEST_BYTES)),
        )

    def listener(self) -> socket.socket:
        """The socket that calls come on."""
        if self.fd is not None:
            return socket.socket(fileno=self.fd)
        return socket.create_server(("", self.port))
