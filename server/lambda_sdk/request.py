"""What a lambda is asked."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from multidict import CIMultiDictProxy, MultiMapping

from .errors import BadRequest, Refused
from .forms import Part, parts_of

if TYPE_CHECKING:
    from .platform import Platform
    from .sources import EventSources

TOO_LARGE, TOO_LARGE_CODE = 413, 12046
"""Status and code of LUNA for a body that is too large."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a lambda is.

    Attributes:
        type: standalone or handlers.
        account_id: whom it belongs to, and acts for.
        version: grows with everything that builds it anew.
    """

    lambda_id: str
    version: int
    type: str
    account_id: str


class Request:
    """One call of the lambda.

    Attributes:
        method: the verb in upper case.
        path: percent-decoded, with a slash at the front: /main.
        query: parameters of the query; one may come several times, and `query["name"]` is the first.
        headers: whatever their case. What the caller authorized itself with is not among them.
        variables: the parts of the path that the matching route names.
        log: what is written here, or printed, is in the lambda's log.
        user_ctx, userCtx: the instance of the lambda's class `UserCtx`; None without one.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        identity: Identity,
        most_bytes: int,
        platform: Callable[[], Platform],
        user_ctx: Any = None,
    ) -> None:
        self.method = request.method
        self.path = request.path
        self.query: MultiMapping[str] = request.query
        self.headers: CIMultiDictProxy[str] = request.headers
        self.variables: Mapping[str, str] = {}
        self.user_ctx = user_ctx
        self.log = logging.getLogger("lambda")
        self._request = request
        self._identity = identity
        self._most_bytes = most_bytes
        self._platform = platform
        self._body: bytes | None = None

    @property
    def userCtx(self) -> Any:  # noqa: N802 - LUNA's name
        """The same under LUNA's name."""
        return self.user_ctx

    @property
    def platform(self) -> Platform:
        """The service that the lambda runs beside."""
        return self._platform()

    @property
    def content_type(self) -> str:
        """MIME type of the body in lower case, without parameters; empty where none is given."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def account_id(self) -> str:
        """The account that the lambda belongs to, and acts for; a UUID."""
        return self._identity.account_id

    @property
    def lambda_id(self) -> str:
        """The lambda; a UUID."""
        return self._identity.lambda_id

    @property
    def version(self) -> int:
        """Version of the lambda."""
        return self._identity.version

    @property
    def type(self) -> str:
        """What the lambda is for: standalone or handlers."""
        return self._identity.type

    @property
    def request_id(self) -> str:
        """Id of the call, as in the header Luna-Request-Id."""
        return self.headers.get("Luna-Request-Id", "")

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they arrive. After it there is nothing left for the methods below.

        Raises:
            Refused: it is larger than calls may be.
        """
        size = 0
        async for piece in self._request.content.iter_any():
            size += len(piece)
            if size > self._most_bytes:
                detail = f"Request body is larger than {self._most_bytes} bytes"
                raise Refused(TOO_LARGE, detail, error_code=TOO_LARGE_CODE, desc="Bad request")
            yield piece

    async def body(self) -> bytes:
        """The whole body. It can be asked for several times.

        Raises:
            Refused: it is larger than calls may be.
        """
        if self._body is None:
            self._body = b"".join([piece async for piece in self.stream()])
        return self._body

    async def text(self) -> str:
        """The body as text in UTF-8.

        Raises:
            BadRequest: it is none.
        """
        try:
            return (await self.body()).decode()
        except UnicodeDecodeError:
            raise BadRequest("The body is no text in UTF-8") from None

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadRequest: it is none.
        """
        text = await self.text()
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"Failed to validate input json. Path: '', message: '{error}'") from None

    async def form(self) -> list[Part]:
        """The entries of a body that is a form: multipart/form-data or application/x-www-form-urlencoded.

        Raises:
            BadRequest: it is none.
        """
        return parts_of(await self.body(), self.headers.get("Content-Type", ""))

    async def sources(self) -> EventSources:
        """What the request asks to make events of, in any form that a handler of the service takes.

        Raises:
            BadRequest: it has no sources, or they are wrong.
        """
        from .source_forms import event_sources

        return event_sources(await self.body(), self.headers.get("Content-Type", ""), self.query, self.headers)
