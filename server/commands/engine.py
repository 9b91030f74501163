"""`luna engine`: the inference engine as a process of its own, which several servers share."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvloop

from engines.packs.errors import PackError
from server.certificates import CertificateUnusable
from server.commands.logs import configure
from server.engine_application import SecretMissing, engine_application
from server.metrics import PortTaken
from server.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    configure(settings.log_level)
    try:
        uvloop.run(_serve(settings))
    except (SecretMissing, CertificateUnusable, PackError, PortTaken) as error:
        sys.exit(str(error))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with engine_application(settings) as app:
        await app.start()
        log.info("serving the engine on %s:%d", settings.engine.host, app.port)
        await stop.wait()
        log.info("draining")
        await app.drain(settings.grpc.drain_seconds)
