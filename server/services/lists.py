"""luna.v6.Lists."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from luna.v6 import lists_pb2 as pb
from luna.v6 import lists_pb2_grpc

from server.domain.faces import FaceList, ListFilter, ListStore, Page
from server.domain.ids import uuid7
from server.errors import ListNotFound, ListsNotFound
from server.rpc.calls import current
from server.services.messages import face_list, moment, optional_uuid, uuids


class ListsService(lists_pb2_grpc.ListsServicer):
    """Lists."""

    def __init__(self, lists: ListStore) -> None:
        self._lists = lists

    async def CreateList(self, request: pb.CreateListRequest, context: object) -> pb.CreateListResponse:
        """Create a list."""
        now = datetime.now(UTC)
        new = FaceList(uuid7(), current().principal.account_id, request.user_data, now, now)
        await self._lists.create(new)
        return pb.CreateListResponse(list_id=str(new.list_id), url=f"/6/lists/{new.list_id}")

    async def ListLists(self, request: pb.ListListsRequest, context: object) -> pb.ListListsResponse:
        """A page of lists."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._lists.find(scope, _where(request), Page(request.page, request.page_size))
        return pb.ListListsResponse(lists=[face_list(one) for one in found])

    async def DeleteLists(self, request: pb.DeleteListsRequest, context: object) -> pb.DeleteListsResponse:
        """Delete several lists."""
        _permit_faces(with_faces=request.with_faces)
        await self._lists.remove(
            current().principal.writes, set(uuids(request.list_ids)), with_faces=request.with_faces
        )
        return pb.DeleteListsResponse()

    async def CountLists(self, request: pb.CountListsRequest, context: object) -> pb.CountListsResponse:
        """How many lists pass a filter."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        return pb.CountListsResponse(lists_count=await self._lists.count(scope, _where(request)))

    async def GetList(self, request: pb.GetListRequest, context: object) -> pb.List:
        """One list."""
        found = await self._lists.get(current().principal.reads(), UUID(request.list_id))
        if found is None:
            raise ListNotFound(list_id=request.list_id)
        return face_list(found)

    async def UpdateList(self, request: pb.UpdateListRequest, context: object) -> pb.UpdateListResponse:
        """Change a list."""
        user_data = request.user_data if request.HasField("user_data") else None
        scope = current().principal.writes
        if not await self._lists.change(scope, UUID(request.list_id), user_data, datetime.now(UTC)):
            raise ListNotFound(list_id=request.list_id)
        return pb.UpdateListResponse()

    async def DeleteList(self, request: pb.DeleteListRequest, context: object) -> pb.DeleteListResponse:
        """Delete a list."""
        _permit_faces(with_faces=request.with_faces)
        list_id = UUID(request.list_id)
        try:
            await self._lists.remove(current().principal.writes, [list_id], with_faces=request.with_faces)
        except ListsNotFound:
            raise ListNotFound(list_id=list_id) from None
        return pb.DeleteListResponse()

    async def UpdateListFaces(self, request: pb.UpdateListFacesRequest, context: object) -> pb.UpdateListFacesResponse:
        """Put faces into a list or take them out."""
        change = self._lists.attach if request.action == pb.LIST_ACTION_ATTACH else self._lists.detach
        await change(current().principal.writes, UUID(request.list_id), uuids(request.face_ids), datetime.now(UTC))
        return pb.UpdateListFacesResponse()


def _permit_faces(*, with_faces: bool) -> None:
    """Deleting the faces too needs the permission to delete faces."""
    if with_faces:
        current().principal.require("face", "deletion")


def _where(request: pb.ListListsRequest | pb.CountListsRequest) -> ListFilter:
    return ListFilter(
        list_ids=uuids(request.list_ids) if request.list_ids else None,
        user_data=request.user_data or None,
        user_data_eq=request.user_data_eq or None,
        create_time_gte=moment(request.create_time_gte) if request.HasField("create_time_gte") else None,
        create_time_lt=moment(request.create_time_lt) if request.HasField("create_time_lt") else None,
        last_update_time_gte=(
            moment(request.last_update_time_gte) if request.HasField("last_update_time_gte") else None
        ),
        last_update_time_lt=moment(request.last_update_time_lt) if request.HasField("last_update_time_lt") else None,
        list_id_gte=optional_uuid(request.list_id_gte),
        list_id_lt=optional_uuid(request.list_id_lt),
    )
