"""Lambdas that stand in for handlers."""

from __future__ import annotations

from uuid import UUID

from luna.v6 import http_calls_pb2 as pb

from server.domain.lambdas import MAIN_PATH, LambdaHost, LambdaStore
from server.errors import LambdaNotFound, LambdaOff
from server.rpc.calls import current
from server.services.http_calls import answer_from, call_from


class HandlerLambdas:
    """Calls them.

    Args:
        store: where lambdas are.
        host: the process that runs them; None where they are off.
        most: bytes of the largest answer.
    """

    def __init__(self, store: LambdaStore, host: LambdaHost | None, most: int) -> None:
        self._store = store
        self._host = host
        self._most = most

    async def answer(self, lambda_id: UUID, request: pb.HttpRequest) -> pb.HttpAnswer:
        """What the main function of a lambda of the caller's answers.

        Raises:
            LambdaOff: lambdas are off.
            LambdaNotFound: it is gone.
            BadBody: the request cannot be said in HTTP.
            LunaError: as for `LambdaHost.called`.
        """
        if self._host is None:
            raise LambdaOff
        found = await self._store.get(current().principal.writes, lambda_id)
        if found is None:
            raise LambdaNotFound(lambda_id=lambda_id)
        call = call_from(request, found.account_id, current().request_id, MAIN_PATH)
        async with self._host.called(lambda_id, call) as reply:
            return await answer_from(reply, self._most)
