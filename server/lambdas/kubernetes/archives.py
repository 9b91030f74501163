"""What pods of lambdas ask the lambda host while they build, each with the ticket of its lambda.

GET /archives/{lambda_id}/{version}     the archive
PUT /archives/{lambda_id}/{version}     what the build says of itself, as JSON
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from uuid import UUID

import orjson
from aiohttp import web

from server.domain.lambdas import WantedLambdas
from server.errors import InvalidInput, LambdaNotFound, PathNotFound, RequestTooLarge, Unauthenticated
from server.lambdas.proxy import Arrival

from .records import MOST_DOCUMENTATION, Report
from .tickets import accepted

ROOT = "/archives/"
TYPE = "application/zip"
REPORT_BYTES = 4 * MOST_DOCUMENTATION
"""Of a report as JSON, which may write a character in several."""
AT_ONCE = 4
"""Archives in memory at the same time; further pods wait."""
_PATH = re.compile(f"{ROOT}([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})/([0-9]{{1,9}})")


class Archives:
    """Answers pods.

    Args:
        wanted: where archives are.
        secret: of the host, which tickets are derived from.
        reported: is told what a build says: the lambda, its version, and that.
    """

    def __init__(self, wanted: WantedLambdas, secret: str, reported: Callable[[UUID, int, Report], None]) -> None:
        self._wanted = wanted
        self._secret = secret.encode()
        self._reported = reported
        self._places = asyncio.Semaphore(AT_ONCE)

    async def answer(self, arrival: Arrival) -> web.StreamResponse:
        """Answer a request.

        Raises:
            LunaError: it is refused, or fails.
        """
        found = _PATH.fullmatch(arrival.request.raw_path)
        if found is None:
            raise PathNotFound(path=arrival.request.path)
        lambda_id, version = UUID(found[1]), int(found[2])
        scheme, _, ticket = arrival.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not accepted(self._secret, lambda_id, ticket):
            raise Unauthenticated(message="the ticket is not of this lambda")
        match arrival.request.method:
            case "GET":
                return await self._archive(lambda_id, version)
            case "PUT":
                self._reported(lambda_id, version, await _report(arrival.request))
                return web.Response(status=204)
            case _:
                raise PathNotFound(path=arrival.request.path)

    async def _archive(self, lambda_id: UUID, version: int) -> web.StreamResponse:
        async with self._places:
            deployment = await self._wanted.deployment(lambda_id)
            if deployment is None or deployment.version != version:
                # there is one archive of a lambda: that of its newest version
                raise LambdaNotFound(lambda_id=lambda_id)
            return web.Response(body=deployment.archive, content_type=TYPE)


async def _report(request: web.BaseRequest) -> Report:
    data = bytearray()
    async for piece in request.content.iter_any():
        data += piece
        if len(data) > REPORT_BYTES:
            raise RequestTooLarge(limit=REPORT_BYTES)
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        said = None
    match said:
        case {"base": str(base), "python": str(python), "documentation": str(documentation)}:
            if len(documentation.encode()) > MOST_DOCUMENTATION:
                raise RequestTooLarge(limit=MOST_DOCUMENTATION)
            return Report(base[:100], python[:100], documentation)
    raise InvalidInput(message="base, python and documentation are needed, each a text")
