"""The one way that every unary call goes, native or from REST.

is there a place -> who calls -> the request, where it is still to be read -> may they -> defaults and limits ->
the servicer, with its change announced -> what the audit trail still lacks

All under the call's deadline.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from server.domain import deadline
from server.domain.audit import AuditTrail, Change, announced
from server.errors import DeadlineExceeded, Internal, LunaError
from server.rpc.admission import Admission
from server.rpc.audit import change_of, made_by
from server.rpc.authorization import Authorizer, permit
from server.rpc.calls import Call, Context, RestOrigin, address_of, enter
from server.rpc.methods import Method
from server.rpc.validation import validate

log = logging.getLogger(__name__)

Fill = Callable[[Message], None]
"""Sets the fields of a request from what was sent; raises what is wrong with it."""
Told = Callable[[str, str, float], None]
"""Is told of each call that has ended: full name of the method, name of the gRPC code, seconds."""


ANSWER_SECONDS = 0.2
"""What is left of a call's time for its answer, or a tenth of it: an error that comes too late says nothing."""


class Dispatcher:
    """Calls the methods of `luna.v6`.

    Args:
        methods: by full name.
        authorizer: tells who calls.
        audit: remembers changes.
        admission: bounds the calls with images; without it there is no bound.
        told: is told of each call that has ended.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        authorizer: Authorizer,
        audit: AuditTrail,
        admission: Admission | None = None,
        told: Told | None = None,
    ) -> None:
        self.methods = methods
        self._authorizer = authorizer
        self._audit = audit
        self._admission = admission or Admission(sys.maxsize)
        self._told = told
        self._completing: set[asyncio.Task[None]] = set()

    async def call(
        self,
        method: Method,
        request: Message,
        context: Context,
        *,
        headers: Mapping[str, str],
        request_id: str,
        rest: RestOrigin | None = None,
        fill: Fill | None = None,
    ) -> Message:
        """Serve one call. The request is changed: its defaults are filled in.

        With `fill` the request is empty, and is read once it is known who calls: reading it is work that nobody may
        cause who is nobody here.

        Raises:
            LunaError: whatever went wrong, and nothing else but cancellation.
        """
        began = time.perf_counter()
        code = "CANCELLED"
        try:
            response = await self._serve(method, request, context, headers, request_id, rest, fill)
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
        fill: Fill | None,
    ) -> Message:
        address = address_of(context, headers)
        try:
            with self._admission.admitted(method):
                async with deadline.within(_for_work(context.time_remaining())):
                    access = method.access
                    caller = await self._authorizer.caller(headers, access, address)
                    if fill is not None:
                        fill(request)
                    if caller is not None and access is not None:
                        permit(caller, access, request)
                    enter(Call(method.name, request_id, address, headers, caller))
                    validate(request, rest)
                    if access is None or not access.changes:
                        return await method.behaviour(request, context)
                    change = change_of(method, request, caller, address, request_id)
                    with announced(change):
                        response = await method.behaviour(request, context)
                    await self._complete(change, response)
                    return response
        except LunaError:
            raise
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except Exception as error:
            log.exception("request %s failed in %s", request_id, method.name)
            raise Internal(request_id=request_id) from error

    async def _complete(self, change: Change, response: Message) -> None:
        """Give the trail what it does not have yet: seldom anything, since what commits a change commits its entry.

        A success that changed nothing in the database has no entry yet, and one that was written ahead does not know
        of the success. That is also seen to where the caller goes away or the deadline ends meanwhile.
        """
        missing = made_by(change, response)
        if change.safe and not change.ahead and not missing:
            return
        task = asyncio.create_task(self._audit.complete(change, missing))
        self._completing.add(task)
        task.add_done_callback(self._completing.discard)
        await asyncio.shield(task)


def _for_work(remaining: float | None) -> float | None:
    """The seconds that a call may work for; None: as long as it likes."""
    return None if remaining is None else remaining - min(ANSWER_SECONDS, remaining / 10)
