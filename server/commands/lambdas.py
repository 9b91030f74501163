"""`luna lambdas`: the lambda host, which builds and runs users' lambdas and takes their calls."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvloop

from server.certificates import CertificateUnusable
from server.commands.logs import configure
from server.commands.schema import NoSchema, bring_up
from server.lambda_application import CannotHost, lambda_application
from server.metrics import PortTaken
from server.settings import NotConfigured, Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Run lambdas until SIGTERM or SIGINT, then drain and stop them."""
    configure(settings.log_level)
    try:
        uvloop.run(_host(settings))
    except (NotConfigured, CannotHost, CertificateUnusable, PortTaken, NoSchema) as error:
        sys.exit(str(error))


async def _host(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await bring_up(settings)
    async with lambda_application(settings) as app:
        log.info("running lambdas, and taking their calls on %s:%d", settings.lambdas.host, app.port)
        await stop.wait()
        log.info("draining")
        await app.drain(settings.grpc.drain_seconds)
