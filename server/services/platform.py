"""luna.v6.Platform."""

from __future__ import annotations

import time

from luna.v6 import platform_pb2 as pb
from luna.v6 import platform_pb2_grpc

from server.health import Health
from server.version import API, VERSION


class PlatformService(platform_pb2_grpc.PlatformServicer):
    """The service itself."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def GetVersion(self, request: pb.GetVersionRequest, context: object) -> pb.GetVersionResponse:
        """The version of every part; all parts are one program."""
        major, minor, patch = VERSION
        part = pb.ServiceVersion(api=API, major=major, minor=minor, patch=patch)
        response = pb.GetVersionResponse(platform=pb.ServiceVersion(major=major, minor=minor, patch=patch))
        for field in response.DESCRIPTOR.fields:
            if field.name != "platform":
                getattr(response, field.name).CopyFrom(part)
        return response

    async def CheckHealth(self, request: pb.CheckHealthRequest, context: object) -> pb.CheckHealthResponse:
        """Ask every part."""
        began = time.perf_counter()
        await self._health.check()
        return pb.CheckHealthResponse(execution_time=time.perf_counter() - began)
