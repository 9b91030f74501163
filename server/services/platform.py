"""luna.v6.Platform."""

from __future__ import annotations

import time
from collections.abc import Collection

from google.protobuf import json_format
from luna.v6 import platform_pb2 as pb
from luna.v6 import platform_pb2_grpc

from server.domain.engine import Engine
from server.domain.vision import Estimation
from server.health import Health
from server.version import API, VERSION


class PlatformService(platform_pb2_grpc.PlatformServicer):
    """The service itself.

    Args:
        health: asks the parts.
        engine: knows what can be estimated.
        settings: as anyone may see them.
        components: the parts that are served, by the fields of `ComponentFeatures`.
    """

    def __init__(
        self, health: Health, engine: Engine, settings: dict[str, object], components: Collection[str]
    ) -> None:
        self._health = health
        self._engine = engine
        self._settings = settings
        self._components = components

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

    async def GetConfig(self, request: pb.GetConfigRequest, context: object) -> pb.GetConfigResponse:
        """The settings, secrets hidden."""
        response = pb.GetConfigResponse()
        json_format.ParseDict(self._settings, response.settings)
        return response

    async def GetFeatures(self, request: pb.GetFeaturesRequest, context: object) -> pb.GetFeaturesResponse:
        """What this server can do."""
        served = {one.value for one in Estimation if self._engine.needs(one) is None}
        known = pb.EstimationFeatures.DESCRIPTOR.fields_by_name
        estimations = pb.EstimationFeatures(**{name: True for name in served if name in known})
        # the checks of /6/iso are those of face_quality with other thresholds
        estimations.iso = Estimation.FACE_QUALITY.value in served
        estimations.body_attributes = any(
            one.of_body and one.value in served for one in Estimation if one is not Estimation.BODY_DESCRIPTOR
        )
        return pb.GetFeaturesResponse(
            license=True,
            estimations=estimations,
            components=pb.ComponentFeatures(**dict.fromkeys(self._components, True)),
        )
