"""Looking at archives of lambdas in processes of their own, a few at a time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

from server.errors import Busy
from server.lambda_archives.reading import ArchiveRules

MODULE: Final = "server.lambda_archives"
SECONDS: Final = 20.0
"""Longest look: an honest archive of the largest size takes about two seconds."""
RETRY_AFTER: Final = 1
NOT_READ: Final = "the archive cannot be read within the limits of time and memory"


class ArchiveProcesses:
    """Implements `server.domain.lambdas.ArchiveChecks`.

    Args:
        rules: what archives may be.
        at_once: processes at the same time.
        waiting: archives that wait for them; further ones are refused.
        seconds: the longest look at one.
    """

    def __init__(self, rules: ArchiveRules, *, at_once: int, waiting: int, seconds: float = SECONDS) -> None:
        self._rules = rules
        self._places = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._seconds = seconds
        self._count = 0

    async def problems(self, archive: bytes) -> list[str]:
        """What is wrong with an archive. See `ArchiveChecks.problems`."""
        if len(archive) > self._rules.bytes:
            return [f"the archive has {len(archive)} bytes, and may have {self._rules.bytes}"]
        async with self._place():
            return await self._look(archive)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._count >= self._most:
            raise Busy(message=f"{self._count} archives of lambdas are looked at", retry_after=RETRY_AFTER)
        self._count += 1
        try:
            async with self._places:
                yield
        finally:
            self._count -= 1

    async def _look(self, archive: bytes) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-s", "-m", MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
        )
        said = json.dumps(asdict(self._rules)).encode() + b"\n"
        try:
            async with asyncio.timeout(self._seconds):
                output, _ = await process.communicate(said + archive)
        except TimeoutError:
            return [NOT_READ]
        finally:
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())
        if process.returncode != 0:
            return [NOT_READ]
        return [str(problem) for problem in json.loads(output)]
