"""`luna serve`: one server process."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvloop

from engines.packs.errors import PackError
from server.application import application
from server.certificates import CertificateUnusable
from server.commands.logs import configure
from server.commands.schema import NoSchema, bring_up
from server.errors import EngineFailure
from server.inference.remote import EngineUnreachable
from server.metrics import PortTaken
from server.settings import NotConfigured, Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    configure(settings.log_level)
    try:
        uvloop.run(_serve(settings))
    except (
        NotConfigured,
        CertificateUnusable,
        PackError,
        EngineFailure,
        EngineUnreachable,
        PortTaken,
        NoSchema,
    ) as error:
        sys.exit(str(error))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await bring_up(settings)
    async with application(settings) as app:
        await app.start()
        log.info("serving gRPC on port %d", app.port)
        watch = asyncio.create_task(app.watch())
        await asyncio.wait([watch, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        watch.cancel()
        log.info("draining")
        await app.drain(settings.grpc.drain_seconds)
