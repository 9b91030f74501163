"""luna.v6.Images and luna.v6.Objects."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from luna.v6 import blobs_pb2 as pb
from luna.v6 import blobs_pb2_grpc

from server.domain.engine import Engine
from server.domain.ids import uuid7
from server.domain.media import Media, MediaKind, MediaStore
from server.errors import BadBody, ImageNotFound, MissingContentType, ObjectNotFound
from server.rpc.calls import current

_META_NAME = re.compile(r"[a-z0-9-]{1,64}")
_META_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")
_META_MOST = 32
_MIME = re.compile(r"[\x20-\x7e]{1,255}")


class ImagesService(blobs_pb2_grpc.ImagesServicer):
    """Images."""

    def __init__(self, engine: Engine, media: MediaStore) -> None:
        self._engine = engine
        self._media = media

    async def CreateImage(self, request: pb.CreateImageRequest, context: object) -> pb.CreateImageResponse:
        """Keep an image."""
        meta = _meta(request.meta)
        data = await self._engine.to_jpeg(request.data)
        image = _new(MediaKind.IMAGES, "image/jpeg", data, meta)
        await self._media.add(image, data)
        return pb.CreateImageResponse(image_id=str(image.media_id), url=f"/6/images/{image.media_id}")

    async def GetImage(self, request: pb.GetImageRequest, context: object) -> pb.ImageContent:
        """The bytes of an image."""
        image = await self._media.get(current().principal.reads(), MediaKind.IMAGES, UUID(request.image_id))
        data = None if image is None else await self._media.read(image)
        if image is None or data is None:
            raise ImageNotFound(image_id=request.image_id)
        return pb.ImageContent(
            data=data, content_type=image.content_type, meta=image.meta if request.with_meta else None
        )

    async def DeleteImage(self, request: pb.DeleteImageRequest, context: object) -> pb.DeleteImageResponse:
        """Delete an image."""
        if not await self._media.remove(current().principal.writes, MediaKind.IMAGES, UUID(request.image_id)):
            raise ImageNotFound(image_id=request.image_id)
        return pb.DeleteImageResponse()


class ObjectsService(blobs_pb2_grpc.ObjectsServicer):
    """Objects."""

    def __init__(self, media: MediaStore) -> None:
        self._media = media

    async def CreateObject(self, request: pb.CreateObjectRequest, context: object) -> pb.CreateObjectResponse:
        """Keep bytes of any kind."""
        if not request.content_type:
            raise MissingContentType
        if not _MIME.fullmatch(request.content_type):
            raise BadBody(field="content_type", message="printable ASCII is needed")
        kept = _new(MediaKind.OBJECTS, request.content_type, request.data, {})
        await self._media.add(kept, request.data)
        return pb.CreateObjectResponse(object_id=str(kept.media_id), url=f"/6/objects/{kept.media_id}")

    async def GetObject(self, request: pb.GetObjectRequest, context: object) -> pb.ObjectContent:
        """The bytes of an object."""
        kept = await self._media.get(current().principal.reads(), MediaKind.OBJECTS, UUID(request.object_id))
        data = None if kept is None else await self._media.read(kept)
        if kept is None or data is None:
            raise ObjectNotFound(object_id=request.object_id)
        ending = mimetypes.guess_extension(kept.content_type.partition(";")[0].strip()) or ".bin"
        return pb.ObjectContent(data=data, content_type=kept.content_type, filename=f"{kept.media_id}{ending}")

    async def DeleteObject(self, request: pb.DeleteObjectRequest, context: object) -> pb.DeleteObjectResponse:
        """Delete an object."""
        if not await self._media.remove(current().principal.writes, MediaKind.OBJECTS, UUID(request.object_id)):
            raise ObjectNotFound(object_id=request.object_id)
        return pb.DeleteObjectResponse()


def _new(kind: MediaKind, content_type: str, data: bytes, meta: Mapping[str, str]) -> Media:
    return Media(
        media_id=uuid7(),
        account_id=current().principal.account_id,
        kind=kind,
        content_type=content_type,
        size=len(data),
        sha256=hashlib.sha256(data).digest(),
        create_time=datetime.now(UTC),
        meta=meta,
    )


def _meta(given: Mapping[str, str]) -> dict[str, str]:
    """The texts of an image, as headers can carry them.

    Raises:
        BadBody: there are too many, or a name or a value is not allowed.
    """
    if len(given) > _META_MOST:
        raise BadBody(field="meta", message=f"{len(given)} entries, at most {_META_MOST} are allowed")
    for name, value in given.items():
        if not _META_NAME.fullmatch(name):
            raise BadBody(field=f"meta.{name[:64]}", message="a name is 1 to 64 of a-z, 0-9 and '-'")
        if not _META_VALUE.fullmatch(value):
            raise BadBody(field=f"meta.{name}", message="a value is at most 1024 characters without control characters")
    return dict(given)
