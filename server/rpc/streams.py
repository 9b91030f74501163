"""The one way that every call with a stream for an answer goes, native or by WebSocket.

is there a place -> who calls, and may they -> defaults and limits -> the servicer -> its messages

A stream lasts. So who calls is asked again from time to time, and a process that stops ends its streams at once: their
clients go on elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial

from google.protobuf.message import Message

from server.domain import deadline
from server.domain.access import Principal
from server.domain.cancellation import ended
from server.errors import Busy, DeadlineExceeded, Internal, LunaError, Unauthenticated, Unavailable
from server.rpc.authorization import Authorizer, permit
from server.rpc.calls import Call, RestOrigin, enter
from server.rpc.dispatcher import Told
from server.rpc.methods import StreamMethod
from server.rpc.validation import validate

RETRY_AFTER = 5
"""Seconds that a client is told to wait where there is no place."""

log = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[Principal | None]]
"""Asks who calls; raises a `LunaError` where nobody may."""


class Ending:
    """Ends the waiting of one stream from outside."""

    def __init__(self) -> None:
        self._error: LunaError | None = None
        self._task: asyncio.Task[object] | None = None

    def tell(self, error: LunaError) -> None:
        """End the stream with an error; the first one counts."""
        if self._error is None:
            self._error = error
            if self._task is not None:
                self._task.cancel()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """What is awaited inside ends where the stream is ended.

        Raises:
            LunaError: what it was ended with.
        """
        if (error := self._told()) is not None:
            raise error
        task = asyncio.current_task()
        if task is None:
            message = "a stream is read in a task"
            raise RuntimeError(message)
        cancelling, self._task = task.cancelling(), task
        try:
            yield
        except asyncio.CancelledError:
            error = self._told()
            if error is not None and task.uncancel() <= cancelling:
                raise error from None
            raise
        finally:
            self._task = None

    def _told(self) -> LunaError | None:
        return self._error


class Streams:
    """Calls the methods of `luna.v6` that answer with a stream.

    Args:
        methods: by full name.
        authorizer: tells who calls.
        most: so many streams may be open.
        recheck_seconds: how often it is asked again who calls.
        told: is told of each stream that has ended.
    """

    def __init__(
        self,
        methods: Mapping[str, StreamMethod],
        authorizer: Authorizer,
        *,
        most: int,
        recheck_seconds: float,
        told: Told | None = None,
    ) -> None:
        self.methods = methods
        self._authorizer = authorizer
        self._most = most
        self._recheck_seconds = recheck_seconds
        self._told = told
        self._open: set[Ending] = set()
        self._stopping = False

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._open)

    @property
    def stopping(self) -> bool:
        """True where no stream is opened any more."""
        return self._stopping

    def stop(self) -> None:
        """End every stream, and open none any more."""
        self._stopping = True
        for ending in tuple(self._open):
            ending.tell(_stopping())

    @asynccontextmanager
    async def opened(
        self,
        method: StreamMethod,
        request: Message,
        *,
        headers: Mapping[str, str],
        request_id: str,
        address: str,
        remaining: float | None = None,
        rest: RestOrigin | None = None,
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """A stream for the length of the block. The request is changed: its defaults are filled in.

        Args:
            method: what is called.
            request: its request.
            headers: of the call, in lower case.
            request_id: id of the call.
            address: the client's.
            remaining: seconds that the client waits for the end of the stream; None: for ever.
            rest: where the request stood, if it came from REST.

        Raises:
            LunaError: whatever went wrong, also inside of the block, and nothing else but cancellation.
        """
        began, code, ending = time.perf_counter(), "CANCELLED", Ending()
        try:
            with self._place(ending):
                ask = partial(self._caller, method, request, headers, address)
                async with deadline.within(remaining):
                    caller = await ask()
                    enter(Call(method.name, request_id, address, headers, caller))
                    validate(request, rest)
                    messages = await method.behaviour(request, None)
                async with aclosing(messages), self._watched(ask, caller, remaining, ending):
                    yield _heeding(messages, ending)
            code = "OK"
        except LunaError as error:
            code = error.grpc.name
            raise
        except TimeoutError as error:
            code = DeadlineExceeded.grpc.name
            raise DeadlineExceeded from error
        except Exception as error:
            code = Internal.grpc.name
            log.exception("request %s failed in %s", request_id, method.name)
            raise Internal(request_id=request_id) from error
        finally:
            if self._told is not None:
                self._told(method.name, code, time.perf_counter() - began)

    @contextmanager
    def _place(self, ending: Ending) -> Iterator[None]:
        if self._stopping:
            raise _stopping()
        if len(self._open) >= self._most:
            raise Busy(message=f"{len(self._open)} streams are open", retry_after=RETRY_AFTER)
        self._open.add(ending)
        try:
            yield
        finally:
            self._open.discard(ending)

    async def _caller(
        self, method: StreamMethod, request: Message, headers: Mapping[str, str], address: str
    ) -> Principal | None:
        access = method.access
        caller = await self._authorizer.caller(headers, access, address)
        if caller is not None and access is not None:
            permit(caller, access, request)
        return caller

    @asynccontextmanager
    async def _watched(
        self, ask: Ask, caller: Principal | None, remaining: float | None, ending: Ending
    ) -> AsyncIterator[None]:
        """End the stream where its deadline passes, or where its caller may not have it any more."""
        watch = asyncio.create_task(self._recheck(ask, caller, ending), name="recheck a stream")
        timer = None
        if remaining is not None:
            timer = asyncio.get_running_loop().call_later(remaining, ending.tell, DeadlineExceeded())
        try:
            yield
        finally:
            await ended(watch)
            if timer is not None:
                timer.cancel()

    async def _recheck(self, ask: Ask, caller: Principal | None, ending: Ending) -> None:
        while True:
            await asyncio.sleep(self._recheck_seconds)
            try:
                if await ask() != caller:
                    ending.tell(Unauthenticated(message="what the caller may see has changed since the stream began"))
            except (Unavailable, Busy, DeadlineExceeded):
                continue  # nobody knows just now; it is asked again
            except LunaError as error:
                ending.tell(Unauthenticated(message=error.detail))
            except Exception:
                log.exception("who follows a stream cannot be asked again")


async def _heeding(messages: AsyncGenerator[Message, None], ending: Ending) -> AsyncIterator[Message]:
    """The messages, as long as the stream is not ended."""
    while True:
        with ending.heeded():
            try:
                message = await anext(messages)
            except StopAsyncIteration:
                return
        yield message


def _stopping() -> LunaError:
    return Unavailable(component="A server that is stopping")
