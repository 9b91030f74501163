"""The one way that every unary call goes, native or from REST.

who calls, and may they -> defaults and limits -> the servicer -> the audit trail, all under the call's deadline
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from server.domain import deadline
from server.domain.audit import AuditEntry, AuditTrail
from server.errors import DeadlineExceeded, Internal, LunaError
from server.rpc.audit import entry_of
from server.rpc.authorization import Authorizer, permit
from server.rpc.calls import Call, Context, RestOrigin, address_of, enter
from server.rpc.methods import Method
from server.rpc.validation import validate

log = logging.getLogger(__name__)

Told = Callable[[str, str, float], None]
"""Is told of each call that has ended: full name of the method, name of the gRPC code, seconds."""


class Dispatcher:
    """Calls the methods of `luna.v6`."""

    def __init__(
        self, methods: Mapping[str, Method], authorizer: Authorizer, audit: AuditTrail, told: Told | None = None
    ) -> None:
        self.methods = methods
        self._authorizer = authorizer
        self._audit = audit
        self._told = told
        self._remembering: set[asyncio.Task[None]] = set()

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
        began = time.perf_counter()
        code = "CANCELLED"
        try:
            response = await self._serve(method, request, context, headers, request_id, rest)
            code = "OK"
            return response
        except LunaError as error:
            code = error.grpc.name
            raise
        finally:
            if self._told is not None:
                self._told(method.name, code, time.perf_counter() - began)

    async def _serve(
        self,
        method: Method,
        request: Message,
        context: Context,
        headers: Mapping[str, str],
        request_id: str,
        rest: RestOrigin | None,
    ) -> Message:
        address = address_of(context, headers, rest)
        try:
            async with deadline.within(context.time_remaining()):
                access = method.access
                caller = await self._authorizer.caller(headers, access, address)
                if caller is not None and access is not None:
                    permit(caller, access, request)
                enter(Call(method.name, request_id, address, headers, caller))
                validate(request, rest)
                response = await method.behaviour(request, context)
                if access is not None and access.changes:
                    await self._remember(entry_of(method, request, response, caller, address, request_id))
                return response
        except LunaError:
            raise
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except Exception as error:
            log.exception("request %s failed in %s", request_id, method.name)
            raise Internal(request_id=request_id) from error

    async def _remember(self, entry: AuditEntry) -> None:
        """Keep an entry, also where the caller goes away or the deadline ends: the change stays, and so must its trace.

        A short deadline would otherwise be a way to change data unseen.
        """
        task = asyncio.create_task(self._audit.add(entry))
        self._remembering.add(task)
        task.add_done_callback(self._remembering.discard)
        await asyncio.shield(task)
