"""luna.v6.Documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from luna.v6 import documents_pb2 as pb
from luna.v6 import documents_pb2_grpc

from server.errors import NotAcceptable, PathNotFound
from server.rpc.accept import choose
from server.rpc.calls import current

YAML = "application/x-yaml"
HTML = "text/html"


class DocumentsService(documents_pb2_grpc.DocumentsServicer):
    """The service's own documentation. Making it takes a moment, so that it is made outside of the event loop.

    Args:
        specification: the OpenAPI description as YAML.
        specification_page: the same as a page of HTML.
        page: bytes and media type of the page of the manual at a path; None where there is none.
    """

    def __init__(
        self,
        specification: Callable[[], bytes],
        specification_page: Callable[[], bytes],
        page: Callable[[str], tuple[bytes, str] | None],
    ) -> None:
        self._specification = specification
        self._specification_page = specification_page
        self._page = page

    async def GetSpecification(self, request: pb.GetSpecificationRequest, context: object) -> pb.Document:
        """The OpenAPI description: as YAML where anything will do."""
        accept = current().headers.get("accept", "")
        wanted = choose(accept, (YAML, HTML))
        if wanted is None:
            raise NotAcceptable(content_type=accept, allowed=f"{YAML}, {HTML}")
        if wanted == YAML:
            return pb.Document(data=await asyncio.to_thread(self._specification), content_type=YAML)
        return pb.Document(
            data=await asyncio.to_thread(self._specification_page), content_type=f"{HTML}; charset=utf-8"
        )

    async def GetManual(self, request: pb.GetManualRequest, context: object) -> pb.Document:
        """A page of the manual."""
        found = await asyncio.to_thread(self._page, request.page)
        if found is None:
            raise PathNotFound(path=f"/docs/dev/{request.page}")
        data, content_type = found
        return pb.Document(data=data, content_type=content_type)
