"""luna.v6.Lambdas."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NoReturn
from uuid import UUID

from google.protobuf.message import Message
from luna.v6 import lambdas_pb2 as pb
from luna.v6 import lambdas_pb2_grpc

from server.domain.faces import Page
from server.domain.http_calls import HttpCall
from server.domain.lambda_registry import LambdaRegistry, last
from server.domain.lambdas import ArchiveChecks, LambdaHost, LambdaStore
from server.errors import LambdaOff
from server.rpc.calls import current
from server.services.http_calls import call_from, pieces_from
from server.services.lambda_docs import LambdaDocuments
from server.services.lambda_messages import (
    IMAGE_STATUSES,
    STATUSES,
    change_from,
    lambda_message,
    where_from,
    wish_from,
)
from server.services.messages import optional_uuid


class LambdasService(lambdas_pb2_grpc.LambdasServicer):
    """Lambdas.

    Args:
        registry: the rules of lambdas.
        lambdas: where they are kept.
        host: the process that runs them.
        archives: looks at what anybody sends to be validated.
        documents: what is told of lambdas.
    """

    def __init__(
        self,
        registry: LambdaRegistry,
        lambdas: LambdaStore,
        host: LambdaHost,
        archives: ArchiveChecks,
        documents: LambdaDocuments,
    ) -> None:
        self._registry = registry
        self._lambdas = lambdas
        self._host = host
        self._archives = archives
        self._documents = documents

    async def CreateLambda(self, request: pb.CreateLambdaRequest, context: object) -> pb.CreateLambdaResponse:
        """Create a lambda."""
        new = await self._registry.create(current().principal, wish_from(request))
        return pb.CreateLambdaResponse(lambda_id=str(new.lambda_id), url=f"/6/lambdas/{new.lambda_id}")

    async def ListLambdas(self, request: pb.ListLambdasRequest, context: object) -> pb.ListLambdasResponse:
        """A page of lambdas."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._lambdas.find(scope, where_from(request), Page(request.page, request.page_size))
        states = await self._lambdas.states([one.lambda_id for one in found])
        return pb.ListLambdasResponse(lambdas=[lambda_message(one, states.get(one.lambda_id)) for one in found])

    async def ValidateLambda(self, request: pb.ValidateLambdaRequest, context: object) -> pb.ValidateLambdaResponse:
        """Say what is wrong with an archive."""
        return pb.ValidateLambdaResponse(errors=await self._archives.problems(request.archive))

    async def ReplaceLambda(self, request: pb.ReplaceLambdaRequest, context: object) -> pb.ReplaceLambdaResponse:
        """Replace a lambda."""
        version = await self._registry.replace(current().principal, UUID(request.lambda_id), wish_from(request))
        return pb.ReplaceLambdaResponse(version=version)

    async def PatchLambda(self, request: pb.PatchLambdaRequest, context: object) -> pb.PatchLambdaResponse:
        """Change the texts of a lambda."""
        await self._registry.patch(current().principal, UUID(request.lambda_id), change_from(request))
        return pb.PatchLambdaResponse()

    async def GetLambda(self, request: pb.GetLambdaRequest, context: object) -> pb.Lambda:
        """One lambda."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._registry.one(scope, UUID(request.lambda_id))
        states = await self._lambdas.states([found.lambda_id])
        return lambda_message(found, states.get(found.lambda_id))

    async def DeleteLambda(self, request: pb.DeleteLambdaRequest, context: object) -> pb.DeleteLambdaResponse:
        """Delete a lambda."""
        await self._registry.remove(current().principal, UUID(request.lambda_id))
        return pb.DeleteLambdaResponse()

    async def UpdateLambda(self, request: pb.UpdateLambdaRequest, context: object) -> pb.UpdateLambdaResponse:
        """Build a lambda anew."""
        version = await self._registry.rebuild(current().principal, UUID(request.lambda_id))
        return pb.UpdateLambdaResponse(version=version)

    async def GetLambdaImageStatus(
        self, request: pb.GetLambdaImageStatusRequest, context: object
    ) -> pb.GetLambdaImageStatusResponse:
        """How far the build of a lambda is."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        state = await self._registry.state(scope, UUID(request.lambda_id))
        return pb.GetLambdaImageStatusResponse(status=IMAGE_STATUSES[state.image_status])

    async def GetLambdaImageLogs(
        self, request: pb.GetLambdaImageLogsRequest, context: object
    ) -> pb.GetLambdaImageLogsResponse:
        """What the build of a lambda wrote."""
        state = await self._registry.state(current().principal.reads(), UUID(request.lambda_id))
        count = request.tail_lines if request.HasField("tail_lines") else None
        return pb.GetLambdaImageLogsResponse(logs=last(state.image_logs, count))

    async def GetLambdaStatus(self, request: pb.GetLambdaStatusRequest, context: object) -> pb.GetLambdaStatusResponse:
        """Whether a lambda runs."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        state = await self._registry.state(scope, UUID(request.lambda_id))
        return pb.GetLambdaStatusResponse(status=STATUSES[state.status])

    async def GetLambdaLogs(self, request: pb.GetLambdaLogsRequest, context: object) -> pb.GetLambdaLogsResponse:
        """What a lambda wrote lately."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        count = request.tail_lines if request.HasField("tail_lines") else None
        return pb.GetLambdaLogsResponse(logs=await self._registry.logs(scope, UUID(request.lambda_id), count))

    async def GetLambdaDocs(self, request: pb.GetLambdaDocsRequest, context: object) -> pb.LambdaDocs:
        """The description of a lambda."""
        media = self._documents.chosen(current().headers.get("accept", ""))
        text = await self._registry.documentation(UUID(request.lambda_id))
        return await self._documents.answer(request.lambda_id, text, media)

    async def CallLambda(self, request: pb.CallLambdaRequest, context: object) -> AsyncGenerator[Message, None]:  # type: ignore[override] # streams are awaited first, see `server.rpc.methods`
        """Call a lambda."""
        found = await self._registry.one(current().principal.reads(), UUID(request.lambda_id))
        return self._called(found.lambda_id, call_from(request.request, found.account_id, current().request_id))

    async def _called(self, lambda_id: UUID, call: HttpCall) -> AsyncGenerator[Message, None]:
        async with self._host.called(lambda_id, call) as reply:
            async for piece in pieces_from(reply):
                yield piece


class LambdasOff:
    """Stands where the service would be that is switched off: each of its methods says so."""

    def __getattr__(self, name: str) -> Callable[[Message, object], Awaitable[NoReturn]]:
        if name not in pb.DESCRIPTOR.services_by_name["Lambdas"].methods_by_name:
            raise AttributeError(name)
        return _off


async def _off(_request: Message, _context: object) -> NoReturn:
    raise LambdaOff
