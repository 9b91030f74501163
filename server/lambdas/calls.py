"""A call of a lambda as the host makes it, whoever asked: its limits, and what of the answer is believed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import unquote
from uuid import UUID

from server.domain import deadline
from server.domain.http_calls import HttpCall, HttpReply
from server.domain.lambdas import LambdaRunner
from server.errors import DeadlineExceeded, LambdaFailed, PathNotFound
from server.lambdas.headers import FAILED, VERSION, answered, first

RESERVED = ".luna"
"""First segment of the paths that are the runner's own way to ask a program how it is."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The verbs that lambdas are called with."""

_OK, _LAST, _FAILED = 200, 599, 500
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_VERSION = re.compile(r"[0-9]{1,10}")


class LambdaCalls:
    """Calls lambdas, held to a time.

    Args:
        runner: runs them.
        seconds: longest call, until the last byte of its answer has been taken.
    """

    def __init__(self, runner: LambdaRunner, seconds: float) -> None:
        self._runner = runner
        self._seconds = seconds

    @asynccontextmanager
    async def called(self, lambda_id: UUID, call: HttpCall, seconds: float | None = None) -> AsyncIterator[HttpReply]:
        """The answer of a lambda, for the length of the block. Its headers are those that callers may have.

        Raises:
            PathNotFound: the path is not the lambda's own.
            LambdaFailed: its code raised an exception, or what it answered cannot be handed on.
            DeadlineExceeded: it took longer than `seconds`, or than any call may.
            LunaError: as for `LambdaRunner.called`.
        """
        _check(call.path)
        limit = self._seconds if seconds is None else min(seconds, self._seconds)
        try:
            async with deadline.within(limit), self._runner.called(lambda_id, call) as reply:
                yield _believed(reply)
        except TimeoutError as error:
            raise DeadlineExceeded from error


def _check(path: str) -> None:
    """Refuse paths that would mean another one than they say.

    Raises:
        PathNotFound: a segment goes up, or the path is reserved.
    """
    segments = [unquote(segment) for segment in unquote(path).replace("\\", "/").split("/")]
    named = [segment for segment in segments if segment]
    if {".", ".."} & set(named) or named[:1] == [RESERVED]:
        raise PathNotFound(path=path)


def _believed(reply: HttpReply) -> HttpReply:
    """An answer without what only the service says.

    Raises:
        LambdaFailed: the lambda says so, or its status is none of an answer.
    """
    failed = first(reply.headers, FAILED)
    if failed is not None and reply.status == _FAILED:
        raise LambdaFailed(message=failed if _NAME.fullmatch(failed) else "it raised an exception")
    if not _OK <= reply.status <= _LAST:
        raise LambdaFailed(message=f"it answered with status {reply.status}")
    version = first(reply.headers, VERSION) or ""
    own = ((VERSION, version),) if _VERSION.fullmatch(version) else ()
    return replace(reply, headers=(*answered(reply.headers), *own))
