"""The one way that every unary call goes, native or from REST.

who calls -> open the call -> defaults and limits -> the servicer, all under the call's deadline -> errors of one kind
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import grpc
from google.protobuf.message import Message

from server.domain.access import Principal
from server.errors import DeadlineExceeded, Internal, LunaError
from server.rpc.authorization import Authorizer
from server.rpc.calls import Call, RestOrigin, enter
from server.rpc.methods import Method
from server.rpc.validation import validate

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Message, Message]


class Dispatcher:
    """Calls the methods of `luna.v6`."""

    def __init__(self, methods: Mapping[str, Method], authorizer: Authorizer) -> None:
        self.methods = methods
        self._authorizer = authorizer

    async def call(
        self,
        method: Method,
        request: Message,
        context: Context,
        *,
        headers: Mapping[str, str],
        request_id: str,
        rest: RestOrigin | None = None,
    ) -> Message:
        """Serve one call. The request is changed: its defaults are filled in.

        Raises:
            LunaError: whatever went wrong, and nothing else but cancellation.
        """
        try:
            async with asyncio.timeout(context.time_remaining()):
                caller = await self._caller(method, headers)
                enter(Call(method.name, request_id, headers, caller))
                validate(request, rest)
                return await method.behaviour(request, context)
        except LunaError:
            raise
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except Exception as error:
            log.exception("request %s failed in %s", request_id, method.name)
            raise Internal(request_id=request_id) from error

    async def _caller(self, method: Method, headers: Mapping[str, str]) -> Principal | None:
        return await self._authorizer.caller(headers, method.access)
