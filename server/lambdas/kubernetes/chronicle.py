"""What pods write and tell of builds, kept for when they are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.lambdas import ImageStatus

from .held import Held
from .manifests import MAIN, PREPARE
from .programs import Program
from .records import MOST_LOG, Record, Report, lines_of

if TYPE_CHECKING:
    from .cluster import Cluster

LOG_LINES = 10_000
"""Most lines of a log that are asked for."""


class Chronicle:
    """Reads logs, and keeps how builds ended.

    Args:
        cluster: the API.
        log_bytes: of each log, the newest.
    """

    def __init__(self, cluster: Cluster, log_bytes: int) -> None:
        self._cluster = cluster
        self._most = log_bytes

    async def logs(self, held: Held, lines: int) -> tuple[str, ...]:
        """The last lines of all pods of a lambda in the order in which they were written; of ended containers, too.

        Raises:
            ClusterError: they cannot be had.
        """
        found: list[tuple[str, str]] = []
        for pod in sorted(held.pods.values(), key=lambda pod: pod.name):
            for previous in (True, False) if pod.main.restarts else (False,):
                data = await self._cluster.log(
                    pod.name, MAIN, lines=min(lines, LOG_LINES), most=self._most, previous=previous, stamped=True
                )
                found += (stamped(line) for line in lines_of(data, self._most))
        found.sort(key=lambda one: one[0])
        return bounded([line for _, line in found][-lines:] if lines else [], self._most)

    async def learn(self, held: Held) -> None:
        """Keep how the build of the newest version ended, once it has; until then, what it has written so far.

        Raises:
            ClusterError: the cluster does not answer, or refuses it.
        """
        program = held.program
        if program is None:
            return
        image, recorded = held.image, held.recorded
        report = held.report[1] if held.report is not None and held.report[0] == program.version else None
        if image is ImageStatus.IN_PROGRESS:
            held.live_log = await self._build_log(held)
        elif recorded is None or recorded.status is not image:
            lines = await self._build_log(held)
            if image is ImageStatus.ERROR and held.trouble:
                lines = (*lines, held.trouble)
            await self._record(held, program, Record(program.version, image, lines, report or Report()))
        elif report is not None and recorded.report != report:
            await self._record(held, program, Record(program.version, image, recorded.log, report))

    async def _record(self, held: Held, program: Program, record: Record) -> None:
        await self._cluster.applied(record.manifest(program))
        held.record = record

    async def _build_log(self, held: Held) -> tuple[str, ...]:
        """What the build of the newest version wrote: of the pod that is furthest."""
        pods = sorted(held.newest, key=lambda pod: (pod.built, pod.prepare.exit_code is not None, pod.prepare.running))
        if not pods:
            return ()
        last, most = pods[-1], min(self._most, MOST_LOG)
        again = last.prepare.running and last.prepare.exit_code is not None
        data = await self._cluster.log(last.name, PREPARE, lines=LOG_LINES, most=most, previous=again)
        return lines_of(data, most)


def stamped(line: str) -> tuple[str, str]:
    """A line's time, as it sorts, and its text. The API writes RFC 3339 in UTC, with as many digits as it needs."""
    moment, _, text = line.partition(" ")
    whole, _, part = moment.rstrip("Z").partition(".")
    return f"{whole}.{part:0<9}", text


def bounded(lines: list[str], most: int) -> tuple[str, ...]:
    """The last lines within so many bytes."""
    kept, size = 0, 0
    for line in reversed(lines):
        size += len(line.encode(errors="replace")) + 1
        if size > most:
            break
        kept += 1
    return tuple(lines[len(lines) - kept :])
