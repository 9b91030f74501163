"""A client of the REST side that sends exactly what a test says, on connections that are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import requests

from tests.contract.operations import Operation
from tests.service import Account, Service

JSON = "application/json"
MSGPACK = "application/msgpack"


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an operation. `account` None sends no authorization, `body` None sends `data` as it is."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: tuple[tuple[str, str], ...] = ()
    body: object = None
    data: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        return self.data if self.body is None else json.dumps(self.body).encode()

    @property
    def sent_headers(self) -> dict[str, str]:
        """All headers but the authorization."""
        kind = self.content_type or (JSON if self.body is not None else "")
        return {**({"content-type": kind} if kind else {}), **self.headers}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> object:
        """The body of JSON; None where there is none."""
        return json.loads(self.data) if self.data else None

    @property
    def members(self) -> Mapping[str, object]:
        """The body, which must be an object of JSON."""
        value = self.json
        assert isinstance(value, dict), value
        return value

    @property
    def code(self) -> object:
        """The error code of the body."""
        return self.members["error_code"]

    @property
    def detail(self) -> str:
        """The sentence of the error."""
        return str(self.members["detail"])

    def text(self, name: str) -> str:
        """A member of the body that is a text."""
        value = self.members[name]
        assert isinstance(value, str), value
        return value


class Rest:
    """Sends calls to a running service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(self, operation: Operation, call: Call) -> Answer:
        """Send a call of an operation."""
        path = operation.path
        for name, value in call.path.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        target = f"{path}?{urlencode(call.query)}" if call.query else path
        return self.send(operation.method, target, call.content, call.sent_headers, call.account)

    def send(
        self,
        verb: str,
        target: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> Answer:
        """Send a request as it is written here."""
        response = self._session.request(
            verb,
            self.service.rest + target,
            data=data or None,
            headers=dict(headers or {}),
            auth=account.auth if account is not None else None,
            allow_redirects=False,
            timeout=60,
        )
        return Answer(
            response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content
        )
