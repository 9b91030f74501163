"""What servers ask the lambda host, guarded by a secret.

    GET  /internal/check                            204 where lambdas are taken
    GET  /internal/lambdas/{lambda_id}/logs         {"logs": ["..."]}
    any  /internal/lambdas/{lambda_id}/call/{path}  what the lambda answers

The header `luna-lambdas` tells what an answer is: `answer`, a lambda's own; `done`, the host's; `error`, a LunaError.
"""

from __future__ import annotations

import hmac
import re
from uuid import UUID

import orjson
from aiohttp import web

from server.domain.http_calls import HttpCall
from server.domain.lambdas import LambdaRunner
from server.errors import Forbidden, InvalidInput, LunaError, PathNotFound
from server.lambdas.calls import LambdaCalls
from server.lambdas.failures import written
from server.lambdas.headers import sent_on
from server.lambdas.proxy import Arrival, Exchange, body_of

ROOT = "/internal/"
SECRET = "luna-lambdas-secret"  # noqa: S105 - a name
SECONDS = "luna-lambdas-seconds"
"""Header of a call: how long its caller waits."""
KIND = "luna-lambdas"
ANSWER, DONE, ERROR = "answer", "done", "error"

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LOGS = re.compile(f"{ROOT}lambdas/({_UUID})/logs")
_CALL = re.compile(f"{ROOT}lambdas/({_UUID})/call/(.*)", re.DOTALL)


class Internal:
    """Answers servers.

    Args:
        runner: runs lambdas.
        calls: calls them.
        secret: what servers prove themselves with.
    """

    def __init__(self, runner: LambdaRunner, calls: LambdaCalls, secret: str) -> None:
        self._runner = runner
        self._calls = calls
        self._secret = secret.encode()

    async def answer(self, arrival: Arrival, exchange: Exchange) -> web.StreamResponse:
        """Answer a request.

        Raises:
            LunaError: it is refused, or fails.
        """
        request = arrival.request
        sent = arrival.headers.get(SECRET, "").encode(errors="surrogatepass")
        if not hmac.compare_digest(sent, self._secret):
            raise Forbidden(message="LUNA_LAMBDAS__SECRET of the caller is not this process's")
        target, _, query = request.raw_path.partition("?")
        if target == f"{ROOT}check":
            await self._runner.check()
            return web.Response(status=204, headers={KIND: DONE})
        if (found := _LOGS.fullmatch(target)) is not None:
            lines = await self._runner.logs(UUID(found[1]), _tail(request.query.get("tail_lines")))
            return web.Response(body=orjson.dumps({"logs": lines}), headers={KIND: DONE})
        if (found := _CALL.fullmatch(target)) is not None:
            call = HttpCall(request.method, found[2], query, _headers(arrival), body_of(request))
            async with self._calls.called(UUID(found[1]), call, _seconds(arrival)) as reply:
                return await exchange.send(reply.status, (*reply.headers, (KIND, ANSWER)), reply.body)
        raise PathNotFound(path=target)


def refusal(error: LunaError) -> web.Response:
    """An error as a server reads it."""
    return web.Response(status=error.status, body=written(error), headers={KIND: ERROR})


def _headers(arrival: Arrival) -> tuple[tuple[str, str], ...]:
    """Those of the call. The account is the server's word here: a client's never comes this far."""
    account = arrival.headers.get("luna-account-id")
    more = (("luna-account-id", account),) if account is not None else ()
    return sent_on(arrival.request.headers.items(), *more)


def _tail(given: str | None) -> int | None:
    return int(given) if given is not None and given.isascii() and given.isdecimal() else None


def _seconds(arrival: Arrival) -> float | None:
    given = arrival.headers.get(SECONDS)
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        raise InvalidInput(message=f"{SECONDS} is no number") from None
