"""Health: every part that the service cannot do without is asked, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from server.errors import LunaError, Unavailable

Probe = Callable[[], Awaitable[bool]]
"""True where a part answers."""


class Health:
    """Asks the parts of the service."""

    def __init__(self, probes: Mapping[str, Probe], *, timeout_seconds: float = 5.0) -> None:
        self._probes = dict(probes)
        self._timeout = timeout_seconds

    async def check(self) -> None:
        """Return once every part has answered.

        Raises:
            Unavailable: a part did not answer in time; it is named.
        """
        await asyncio.gather(*(self._ask(name, probe) for name, probe in self._probes.items()))

    async def _ask(self, name: str, probe: Probe) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                answers = await probe()
        except (LunaError, OSError, TimeoutError) as error:
            raise Unavailable(component=name) from error
        if not answers:
            raise Unavailable(component=name)
