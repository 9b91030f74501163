"""luna.v6.Handlers."""

from __future__ import annotations

from uuid import UUID

from luna.v6 import handlers_pb2 as pb
from luna.v6 import handlers_pb2_grpc

from server.domain.faces import Page
from server.domain.handler_registry import HandlerRegistry, HandlerWish
from server.domain.handlers import Handler, HandlerFilter, HandlerStore, HandlerType
from server.domain.liveness import LivenessThresholds
from server.errors import HandlerNotFound
from server.rpc.calls import current
from server.services.messages import optional_uuid, timestamp
from server.services.policies import policies_from, policies_message

TYPES = {
    pb.HANDLER_TYPE_STATIC: HandlerType.STATIC,
    pb.HANDLER_TYPE_DYNAMIC: HandlerType.DYNAMIC,
    pb.HANDLER_TYPE_LAMBDA: HandlerType.LAMBDA,
}
_TYPE_OF = {value: key for key, value in TYPES.items()}


class HandlersService(handlers_pb2_grpc.HandlersServicer):
    """Handlers.

    Args:
        registry: the rules of handlers.
        handlers: where they are kept.
        liveness: what absent thresholds of liveness are.
    """

    def __init__(self, registry: HandlerRegistry, handlers: HandlerStore, liveness: LivenessThresholds) -> None:
        self._registry = registry
        self._handlers = handlers
        self._liveness = liveness

    async def CreateHandler(self, request: pb.CreateHandlerRequest, context: object) -> pb.CreateHandlerResponse:
        """Create a handler."""
        new = await self._registry.create(current().principal, self._wish(request))
        return pb.CreateHandlerResponse(handler_id=str(new.handler_id), url=f"/6/handlers/{new.handler_id}")

    async def ListHandlers(self, request: pb.ListHandlersRequest, context: object) -> pb.ListHandlersResponse:
        """A page of handlers."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._handlers.find(scope, _where(request), Page(request.page, request.page_size))
        return pb.ListHandlersResponse(handlers=[handler_message(one) for one in found])

    async def CountHandlers(self, request: pb.CountHandlersRequest, context: object) -> pb.CountHandlersResponse:
        """How many handlers pass a filter."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        return pb.CountHandlersResponse(handlers_count=await self._handlers.count(scope, _where(request)))

    async def ValidatePolicies(
        self, request: pb.ValidatePoliciesRequest, context: object
    ) -> pb.ValidatePoliciesResponse:
        """Say whether policies are valid."""
        await self._registry.check(current().principal, policies_from(request.policies, self._liveness))
        return pb.ValidatePoliciesResponse()

    async def GetHandler(self, request: pb.GetHandlerRequest, context: object) -> pb.Handler:
        """One handler."""
        found = await self._handlers.get(current().principal.reads(), UUID(request.handler_id))
        if found is None:
            raise HandlerNotFound(handler_id=request.handler_id)
        return handler_message(found)

    async def ReplaceHandler(self, request: pb.ReplaceHandlerRequest, context: object) -> pb.ReplaceHandlerResponse:
        """Replace a handler."""
        await self._registry.replace(current().principal, UUID(request.handler_id), self._wish(request))
        return pb.ReplaceHandlerResponse()

    async def DeleteHandler(self, request: pb.DeleteHandlerRequest, context: object) -> pb.DeleteHandlerResponse:
        """Delete a handler."""
        if not await self._handlers.remove(current().principal.writes, UUID(request.handler_id)):
            raise HandlerNotFound(handler_id=request.handler_id)
        return pb.DeleteHandlerResponse()

    def _wish(self, request: pb.CreateHandlerRequest | pb.ReplaceHandlerRequest) -> HandlerWish:
        return HandlerWish(
            description=request.description,
            policies=policies_from(request.policies, self._liveness) if request.HasField("policies") else None,
            handler_type=TYPES.get(request.handler_type),
            is_dynamic=request.is_dynamic if request.HasField("is_dynamic") else None,
            lambda_id=optional_uuid(request.lambda_id),
        )


def handler_message(value: Handler) -> pb.Handler:
    """A handler."""
    return pb.Handler(
        handler_id=str(value.handler_id),
        account_id=str(value.account_id),
        description=value.description,
        policies=None if value.policies is None else policies_message(value.policies),
        handler_type=_TYPE_OF[value.handler_type],
        is_dynamic=value.handler_type is HandlerType.DYNAMIC,
        lambda_id="" if value.lambda_id is None else str(value.lambda_id),
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
        version=value.version,
    )


def _where(request: pb.ListHandlersRequest | pb.CountHandlersRequest) -> HandlerFilter:
    chosen = TYPES.get(request.handler_type)
    if chosen is None and request.HasField("is_dynamic"):
        if request.is_dynamic:
            chosen = HandlerType.DYNAMIC
        else:
            return HandlerFilter(not_type=HandlerType.DYNAMIC, description=request.description or None)
    return HandlerFilter(handler_type=chosen, description=request.description or None)
